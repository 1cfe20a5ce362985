"""`storemount status`: what this user has mounted, and how it is doing.

What it is: each running daemon asked once, and mounts that no daemon answers for; with `--watch` again and again.
What it is not: the live view (`watch`, `view`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from typing import Any

import click

from storemount.cli.progress import failure_text
from storemount.cli.table import print_sheet, print_table
from storemount.cli.user import places
from storemount.cli.values import duration_text, printable, size_text
from storemount.cli.view import SHOWN
from storemount.cli.watch import watch
from storemount.control.client import SILENCE, ask, socket_path, sockets
from storemount.errors import ExitCode, Refusal
from storemount.kernel.mountinfo import Mounted, mounted_at, mounts_of
from storemount.kernel.mountpoint import Deaths, located

VERSION = 1
GLIMPSE = 2.0
"""Seconds that a watch gives each mount to answer, as one that does not holds up the others."""

MOUNTED, DRAINING, SILENT, DEAD = "mounted", "draining", "not answering", "dead"

_EPILOG = """\b
Examples:
  storemount status
  storemount status /mnt/artifacts --json
  storemount status --watch
"""


@click.command(epilog=_EPILOG)
@click.argument("mountpoint", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs: one object, its mounts in a list; with --watch, one a line.")
@click.option("--watch", "live", is_flag=True, help="Show how fast it works, once a second, until q or Ctrl-C.")
def status(mountpoint: str | None, as_json: bool, live: bool) -> None:
    """Show what is mounted, and what is not in the store yet."""
    if live:
        point = None if mountpoint is None else located(mountpoint)
        deaths = Deaths()
        watch(lambda: _rows(point, deaths, SHOWN, GLIMPSE), as_json=as_json)
        return
    rows = _rows(None if mountpoint is None else located(mountpoint), Deaths())
    if as_json:
        click.echo(json.dumps({"version": VERSION, "mounts": rows}, indent=2))
    elif mountpoint is not None:
        print_sheet(_sheet(rows[0]))
    elif rows:
        print_table(
            ("MOUNTPOINT", "STORE", "STATE", "ENGINE", "PENDING", "FAILED", "REFUSED", "CACHE", "MEMORY", "UP"),
            [_cells(row) for row in rows],
        )
    else:
        click.echo("Nothing is mounted.")
    if not as_json:
        _name_failures(rows)


def _rows(point: str | None, deaths: Deaths, most: int | None = None, patience: float = SILENCE) -> list[dict[str, Any]]:
    """Of one mount, or of all; `most`: so many failures of each are named; `patience`: seconds that each has for its answer."""
    return _all(deaths, most, patience) if point is None else [_one(point, deaths, most, patience)]


def _all(deaths: Deaths, most: int | None, patience: float) -> list[dict[str, Any]]:
    """Every daemon that has a socket here, and every mount of this user that none of them serves."""
    ours = mounts_of(os.getuid())
    known = {socket_path(places(), mount.mountpoint): mount for mount in ours}
    rows = [row for path in sockets(places()) if (row := _asked(path, most, patience, known.get(path)))]
    served = {row["mountpoint"] for row in rows}
    gone = (mount for mount in ours if mount.mountpoint not in served)
    return sorted([*rows, *(_unserved(mount.mountpoint, mount.source, deaths) for mount in gone)], key=lambda row: str(row["mountpoint"]))


def _one(path: str, deaths: Deaths, most: int | None, patience: float) -> dict[str, Any]:
    there = mounted_at(path)
    if row := _asked(socket_path(places(), path), most, patience, there):
        return row
    if there is None or not there.ours:
        raise Refusal(ExitCode.NOT_MOUNTED, f"no store is mounted on {path}; see: storemount status")
    return _unserved(path, there.source, deaths)


def _asked(socket: Path, most: int | None, patience: float, mount: Mounted | None) -> dict[str, Any] | None:
    """What the daemon of this mount says, and its state; None when no daemon listens."""
    try:
        row = next(ask(socket, "status", patience=patience, most=most))
    except (ConnectionError, FileNotFoundError, StopIteration):
        return None
    except TimeoutError:
        return {"mountpoint": mount.mountpoint if mount else str(socket), "store": mount.source if mount else "?", "state": SILENT}
    there = mounted_at(row["mountpoint"])
    said = {name: value for name, value in row.items() if name not in ("v", "done")}
    return {**said, "state": MOUNTED if there and there.ours else DRAINING}


def _unserved(path: str, store: str, deaths: Deaths) -> dict[str, Any]:
    return {"mountpoint": path, "store": store, "state": DEAD if deaths.known(path) else SILENT}


def _cells(row: dict[str, Any]) -> list[str]:
    shown = _sheet(row)
    return [
        shown.get(name, "-") for name in ("mountpoint", "store", "state", "engine", "pending", "failed", "refused", "cache", "memory", "up")
    ]


def _sheet(row: dict[str, Any]) -> dict[str, str]:
    basic: dict[str, str] = {name: str(row[name]) for name in ("mountpoint", "store", "uri", "state", "engine", "pid") if name in row}
    if row["state"] in (DEAD, SILENT):
        return basic
    limits = {name: "; ".join(row[name]) for name in ("limits", "metrics") if row[name]}
    return (
        basic
        | limits
        | {
            "up": duration_text(max(time.time() - row["started"], 1)),
            "pending": f"{row['pending']} ({size_text(row['pending_bytes'])})" if row["pending"] else "0",
            "uploading": str(row["uploading"]),
            "oldest": duration_text(row["oldest_pending_seconds"]) if row["pending"] else "-",
            "failed": str(row["failing"]),
            "refused": str(row["refused"]),
            "conflicts": str(len(row["conflicts"])),
            "taken up": str(row["taken_up"]),
            "staged": size_text(row["staged_bytes"]),
            "cache": f"{size_text(row['cache_bytes'])} of {size_text(row['cache_cap'])}",
            "hits": f"{row['hits']} of {row['hits'] + row['misses']}",
            **_disk(row),
            "memory": size_text(row["rss_bytes"]),
        }
    )


def _disk(row: dict[str, Any]) -> dict[str, str]:
    """The cache on the disk, where there is one."""
    if "disk_cache_cap" not in row:
        return {}
    return {
        "disk cache": f"{size_text(row['disk_cache_bytes'])} of {size_text(row['disk_cache_cap'])}",
        "disk hits": f"{row['disk_hits']} of {row['disk_hits'] + row['disk_misses']}",
        **({"out of reach": f"for {duration_text(row['offline_seconds'])}; what was warmed is shown"} if row["offline_seconds"] else {}),
    }


def _name_failures(rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        folder = row["mountpoint"]
        lines = [f"{folder}/{failure_text(each)}{_remedy(folder, each) if each['refused'] else ''}" for each in row.get("failed", ())]
        for conflict in row.get("conflicts", ()):
            lines.append(f"{folder}/{conflict['path']}: was changed in the store meanwhile; yours is {folder}/{conflict['ours']}")
        if row["state"] == DEAD:
            lines.append(f"{folder}: its daemon is gone; clean it: storemount unmount {folder}")
        for line in lines:
            click.echo(printable(line))


def _remedy(folder: str, failure: dict[str, Any]) -> str:
    return f" (refused, and kept; mend the cause, then: storemount retry {quote(folder + '/' + failure['path'])})"
