"""`scripts/bench`: choose, measure in turn, report.

What it is: the command line and the order of the cells.
What it is not: a measurement. The package's docstring says what each figure means.
"""

from __future__ import annotations

import argparse
import datetime
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import benchmark
from benchmark import machine, server
from benchmark.report import BY_METHOD, Report
from benchmark.stage import Broken, Stage
from benchmark.stores import Folder, Store
from benchmark.subjects import Subject, every_subject
from benchmark.workloads import WORKLOADS, Amounts, plant
from storemount.config import parse_duration, parse_size


def words(known: Sequence[str]) -> type:
    """A type for argparse: a list of known words with commas between."""

    class Words(list[str]):
        def __init__(self, text: str) -> None:
            super().__init__(text.split(","))
            unknown = set(self) - set(known)
            if unknown:
                raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: choose from {', '.join(known)}")

    return Words


def options(arguments: list[str]) -> argparse.Namespace:
    names = [subject.name for subject in every_subject([])]
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=benchmark.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="256 MiB, 500 small files, 2000 entries, once")
    parser.add_argument("--only", type=words(list(WORKLOADS)), default=list(WORKLOADS), metavar="WORKLOAD,...")
    parser.add_argument("--subjects", type=words(names), default=names, metavar="NAME,...")
    parser.add_argument("--on", type=words(["local", "s3"]), default=["local", "s3"], metavar="local,s3")
    parser.add_argument("--size", type=parse_size, help="of a large file (default 1G)")
    parser.add_argument("--repeat", type=int, help="how often (default 3)")
    parser.add_argument("--latency", type=parse_duration, default=0.0, help="added to every exchange with the S3 server, such as 20ms")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), metavar="FILE", help="default bench.json")
    parser.add_argument("--storemount-option", action="append", default=[], metavar="OPTION", help="passed to storemount's mount command")
    return parser.parse_args(arguments)


def amounts_of(chosen: argparse.Namespace) -> Amounts:
    mib = 1024 * 1024
    if chosen.quick:
        return Amounts(chosen.size or 256 * mib, reads=500, files=500, entries=2000)
    return Amounts(chosen.size or 1024 * mib, reads=2000, files=5000, entries=10_000)


@contextmanager
def store_of(kind: str, work: Path, round_trip: float) -> Iterator[tuple[Store, server.RequestLog | None]]:
    """An empty store, and the log of its requests where it has one."""
    if kind == "local":
        root = work / "store"
        root.mkdir()
        yield Folder(root), None
    else:
        with server.bucket(work, round_trip) as bucket:
            log = bucket.endpoint.access_log
            yield bucket, server.RequestLog(log) if log else None


class Run:
    """Every subject through every workload, `repeat` times, on one store."""

    def __init__(self, store: Store, log: server.RequestLog | None, amounts: Amounts, report: Report, work: Path) -> None:
        self._store = store
        self._log = log
        self._amounts = amounts
        self._report = report
        self._work = work

    def repetition(self, number: int, subjects: list[Subject], workloads: list[str]) -> None:
        turn = number % len(subjects)
        for workload in workloads:
            for subject in subjects[turn:] + subjects[:turn]:
                self._cell(workload, subject, verify=number == 0)

    def _cell(self, workload: str, subject: Subject, *, verify: bool) -> None:
        where = (self._store.kind, workload, subject.name)
        print(" ".join(where), file=sys.stderr, flush=True)
        if self._log:
            self._log.take()
        stage = Stage(subject, self._store, self._work, verify=verify)
        try:
            with stage:
                figures = WORKLOADS[workload](stage, self._amounts)
        except (Broken, OSError, ValueError, subprocess.SubprocessError) as error:
            self._report.failed(*where, f"{type(error).__name__}: {error}")
            print(f"  failed: {error}", file=sys.stderr, flush=True)
            return
        self._report.add(*where, figures | self._costs(stage))

    def _costs(self, stage: Stage) -> dict[str, float]:
        costs = {"cpu": stage.usage.cpu, "rss": stage.usage.rss} if stage.usage.rss else {}
        if self._log:
            requests = self._log.take()
            costs["requests"] = float(requests.total())
            costs |= {f"{BY_METHOD}{method}": float(count) for method, count in requests.items()}
        return costs


def measure(chosen: argparse.Namespace, report: Report, work: Path) -> None:
    amounts = amounts_of(chosen)
    report.facts |= {"amounts": asdict(amounts), "latency": chosen.latency}
    every = [subject for subject in every_subject(chosen.storemount_option) if subject.name in chosen.subjects]
    for kind in chosen.on:
        with store_of(kind, work, chosen.latency) as (store, log):
            subjects = [subject for subject in every if subject.serves(store)]
            report.facts["versions"] |= {subject.name: subject.version() for subject in subjects}
            plant(store, amounts, chosen.only)
            run = Run(store, log, amounts, report, work)
            for number in range(chosen.repeat or (1 if chosen.quick else 3)):
                run.repetition(number, subjects, chosen.only)


def main(arguments: list[str]) -> int:
    chosen = options(arguments)
    # A polite end is the same as Ctrl-C: every context is left in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report = Report({"date": datetime.date.today().isoformat(), "machine": machine.kind(), "versions": {}})
    if not machine.may_drop_caches():
        print("not root: the page cache stays, so that cold reads of the local store are not cold", file=sys.stderr)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as work:
            measure(chosen, report, Path(work).resolve())
    except KeyboardInterrupt:
        print("stopped; this is what was measured until now", file=sys.stderr)
        report.interrupted = True
    print("\n".join(report.table()))
    report.save(chosen.json)
    return 130 if report.interrupted else 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
