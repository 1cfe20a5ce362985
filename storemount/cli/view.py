"""What `status --watch` shows: how fast a mount works, from two readings of its figures.

What it is: text, made of what the daemons said now and what they said a moment before.
What it is not: the terminal, or the asking (`watch`).
Invariant: what cannot be told yet, or has not happened meanwhile, is a dash, never a zero.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storemount.cli.progress import failure_text
from storemount.cli.table import columns
from storemount.cli.values import duration_text, latency_text, printable, size_text

NONE = "-"
SHOWN = 5
"""Failures that are named; `status` has them all."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pace:
    """One mount between two readings; `before` is None at the first one, and for a mount that is new."""

    now: Row
    before: Row | None

    @property
    def seconds(self) -> float:
        return float(self.now["now"] - self.before["now"]) if self.before is not None else 0.0

    def gain(self, name: str) -> float:
        """By how much this counter has grown."""
        return float(self.now[name] - self.before[name]) if self.before is not None else 0.0

    def flow(self, name: str) -> str:
        """Bytes a second."""
        return f"{size_text(self.gain(name) / self.seconds)}/s" if self.seconds > 0 else NONE

    @property
    def hit_ratio(self) -> str:
        return _share(self.gain("hits"), self.gain("misses"))

    @property
    def processor(self) -> str:
        return f"{100 * self.gain('cpu_seconds') / self.seconds:.0f} %" if self.seconds > 0 else NONE

    def timings(self, name: str) -> list[list[str]]:
        """For each verb: how often a second, how long in the mean, how many failed, how many there were since the start."""
        lines = []
        for verb, sums in sorted(self.now[name].items()):
            earlier = (self.before or {}).get(name, {}).get(verb, {"count": 0, "seconds": 0.0})
            count, seconds = sums["count"] - earlier["count"], sums["seconds"] - earlier["seconds"]
            rate = f"{count / self.seconds:.3g}" if self.seconds > 0 and count else NONE
            mean = latency_text(seconds / count) if self.seconds > 0 and count else NONE
            failed = ", ".join(f"{reason} {times}" for reason, times in sums["failed"].items())
            lines.append([verb, rate, mean, str(sums["count"]), failed or NONE])
        return lines


def paces(rows: Sequence[Row], before: Sequence[Row]) -> list[Pace]:
    """Each mount with its earlier reading, if that is of the same daemon."""
    earlier = {(row["mountpoint"], row["pid"]): row for row in before if "pid" in row}
    return [Pace(row, earlier.get((row["mountpoint"], row.get("pid")))) for row in rows]


def screen(all_paces: Sequence[Pace], clock: str, late: int = 0) -> list[str]:
    """The lines of a whole screen; with one mount also its requests and operations by type. `late`: so many seconds nobody has answered."""
    lines = [f"storemount, {clock}; q ends this{f'; no answer for {late}s, so these figures are old' if late else ''}", ""]
    if not all_paces:
        lines.append("Nothing is mounted.")
    for pace in all_paces:
        lines += [*_mount(pace), ""]
    if len(all_paces) == 1 and "now" in all_paces[0].now:
        for title, name in (("REQUEST", "requests"), ("OPERATION", "operations")):
            lines += [*columns((title, "A SECOND", "MEAN", "ALL", "FAILED"), all_paces[0].timings(name)), ""]
    return [printable(line) for line in lines]


def line(pace: Pace, clock: str) -> str:
    """One mount in one line, for a log or a pipe."""
    row = pace.now
    if "now" not in row:
        return printable(f"{clock} {row['mountpoint']} {row['state']}")
    return printable(
        f"{clock} {row['mountpoint']} {row['state']}: read {pace.flow('read_bytes')}, written {pace.flow('written_bytes')}, "
        f"fetched {pace.flow('fetched_bytes')}, uploaded {pace.flow('uploaded_bytes')}, hits {pace.hit_ratio}, pending {_pending(row)}, "
        f"oldest {_oldest(row)}, refused {row['refused']}, retries {row['retries']}, memory {size_text(row['rss_bytes'])}"
    )


def _mount(pace: Pace) -> list[str]:
    row = pace.now
    if "now" not in row:
        return [f"{row['mountpoint']}  {row['state']}  {row['store']}"]
    up = duration_text(max(row["now"] - row["started"], 1))
    return [
        f"{row['mountpoint']}  {row['state']} ({row['engine']}), up {up}  {row['uri']}",
        *columns(
            ("  programs", f"read {pace.flow('read_bytes')}", f"written {pace.flow('written_bytes')}", f"open files {row['open_files']}"),
            [
                ["  store", f"fetched {pace.flow('fetched_bytes')}", f"uploaded {pace.flow('uploaded_bytes')}", _running(row)],
                ["  cache", f"hits {pace.hit_ratio}", f"{_share(row['hits'], row['misses'])} since the start", _cache(row)],
                *_disk(pace),
                ["  queue", f"pending {_pending(row)}", f"oldest unsaved {_oldest(row)}", f"staged {size_text(row['staged_bytes'])}"],
                ["  errors", f"refused {row['refused']}", f"retries {row['retries']}", f"conflicts {row['conflicts_seen']}"],
                ["  daemon", f"memory {size_text(row['rss_bytes'])}", f"processor {pace.processor}", f"names {row['names']}"],
            ],
        ),
        *_failures(row),
    ]


def _disk(pace: Pace) -> list[list[str]]:
    """The cache on the disk, where there is one."""
    row = pace.now
    if "disk_cache_cap" not in row:
        return []
    reach = f"out of reach for {duration_text(row['offline_seconds'])}" if row["offline_seconds"] else "store in reach"
    held = f"{size_text(row['disk_cache_bytes'])} of {size_text(row['disk_cache_cap'])}"
    return [["  disk", f"hits {_share(pace.gain('disk_hits'), pace.gain('disk_misses'))}", reach, held]]


def _failures(row: Row) -> list[str]:
    failed = [f"  {failure_text(failure)}" for failure in row["failed"]]
    unnamed = row["failing"] - len(failed)
    return [*failed, f"  and {unnamed} more; see: storemount ls-pending"] if unnamed else failed


def _share(hits: float, misses: float) -> str:
    return f"{100 * hits / (hits + misses):.3g} %" if hits + misses else NONE


def _running(row: Row) -> str:
    return f"requests in work {row['running_requests']}"


def _cache(row: Row) -> str:
    return f"{size_text(row['cache_bytes'])} of {size_text(row['cache_cap'])}"


def _pending(row: Row) -> str:
    return f"{row['pending']} ({size_text(row['pending_bytes'])})" if row["pending"] else "0"


def _oldest(row: Row) -> str:
    return duration_text(round(row["oldest_pending_seconds"], 1)) if row["pending"] else NONE


def clock() -> str:
    return time.strftime("%H:%M:%S")
