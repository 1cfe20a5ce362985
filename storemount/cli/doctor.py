"""`storemount doctor`: what keeps a mount from working, before it is tried, or after it failed.

What it is: the checks in their order, each printed as soon as its answer is there, and the verdict.
What it is not: any check (`storemount.doctor`), or a repair.
"""

from __future__ import annotations

import json
import os
import resource
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from storemount.cli.user import places, registry
from storemount.cli.values import DURATION, duration_text
from storemount.config import MountSettings, environment
from storemount.doctor.confinement import Surroundings, confinement
from storemount.doctor.finding import Finding, Level
from storemount.doctor.machine import machine
from storemount.doctor.mounts import mountpoint as at_mountpoint
from storemount.doctor.mounts import stale_mounts
from storemount.errors import ExitCode
from storemount.kernel.mountinfo import mounted_at
from storemount.kernel.mountpoint import Host, located
from storemount.running.launch import look_up
from storemount.stores.flavors import StoreSpec

VERSION = 1
MANY = 100_000
DEADLINE = MountSettings("").deadline
_EPILOG = """\b
Examples:
  storemount doctor
  storemount doctor s3_store /mnt/artifacts
  storemount doctor s3_store --read-only --keys 1000000
  storemount doctor /mnt/artifacts --json
\b
Each line is OK, WARN (it works, and something could be better) or FAIL, with what to do. Exit code 14: something FAILed.
Into the store it writes objects .storemount-doctor-..., which it removes again.
"""


@click.command(epilog=_EPILOG)
@click.argument("store", metavar="[NAME|URI]", required=False)
@click.argument("mountpoint", required=False)
@click.option("--read-only", is_flag=True, help="Write nothing: it is to be mounted with --read-only.")
@click.option("--keys", type=click.IntRange(min=0), default=MANY, show_default=True, help="How many keys to look at for names; 0: none.")
@click.option("--engine", type=click.Choice(["auto", "native", "fsspec"]), default="auto", show_default=True, help="As in a mount.")
@click.option(
    "--deadline",
    type=DURATION,
    default=DEADLINE,
    help=f"How long one request to the store may take.  [default: {duration_text(DEADLINE)}]",
)
@click.option("--staging-dir", type=click.Path(), help="As in a mount.  [default: below ~/.local/state/storemount]")
@click.option("--json", "as_json", is_flag=True, help="For programs: one object, its findings in a list.")
def doctor(
    store: str | None,
    mountpoint: str | None,
    read_only: bool,
    keys: int,
    engine: str,
    deadline: float,
    staging_dir: str | None,
    as_json: bool,
) -> int:
    """Check this machine, a store, and the place to mount it on.

    Without NAME: this machine only. A mountpoint alone stands for the store that is mounted there.
    """
    store, mountpoint = _meant(store, mountpoint)
    spec = look_up(registry(), store).spec if store is not None else None
    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            click.echo(f"{finding.level:4}  {finding.subject:18}  {finding}")

    staging = Path(staging_dir).expanduser().absolute() if staging_dir else places().state / "staging"
    for finding in _here(mountpoint, staging):
        report(finding)
    if spec is not None:
        from storemount.doctor.examination import Examination  # With an event loop, which the help does not need.

        Examination(spec, engine, deadline, read_only, keys, environment()).run(report)
    return _verdict(findings, spec, as_json)


def _meant(store: str | None, mountpoint: str | None) -> tuple[str | None, str | None]:
    """Which store, and which mountpoint."""
    if store is not None and mountpoint is None and (there := mounted_at(located(store))) and there.ours:
        return there.source, there.mountpoint
    return store, located(mountpoint) if mountpoint is not None else None


def _here(mountpoint: str | None, staging: Path) -> Iterator[Finding]:
    """The checks of this machine."""
    from storemount.doctor.folders import folders  # With an event loop, too.

    uid = os.getuid()
    yield from machine(Host(uid), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    yield from confinement(Surroundings(uid, environment()))
    yield from folders(staging)
    yield from stale_mounts(uid)
    if mountpoint is not None:
        yield at_mountpoint(mountpoint, uid)


def _verdict(findings: list[Finding], spec: StoreSpec | None, as_json: bool) -> ExitCode:
    count = Counter(finding.level for finding in findings)
    if as_json:
        about = {"version": VERSION, "store": spec.name if spec is not None else None}
        told = [asdict(finding) for finding in findings]
        click.echo(json.dumps({**about, "failed": count[Level.FAIL], "warned": count[Level.WARN], "findings": told}, indent=2))
    else:
        click.echo(f"{len(findings)} findings: {count[Level.OK]} OK, {count[Level.WARN]} WARN, {count[Level.FAIL]} FAIL")
    return ExitCode.TROUBLE_FOUND if count[Level.FAIL] else ExitCode.OK
