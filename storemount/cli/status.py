"""`storemount status`: what this user has mounted, and how it is doing.

What it is: each running daemon asked once, and mounts that no daemon answers for.
What it is not: a monitor; nothing is kept or repeated.
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

from storemount.cli.table import print_sheet, print_table
from storemount.cli.user import places
from storemount.cli.values import duration_text, size_text
from storemount.control import ask, socket_path, sockets
from storemount.errors import ExitCode, Refusal
from storemount.mountinfo import mounted_at, mounts
from storemount.mountpoint import is_dead, located

VERSION = 1
MOUNTED, DRAINING, SILENT, DEAD = "mounted", "draining", "not answering", "dead"

_EPILOG = """\b
Examples:
  storemount status
  storemount status /mnt/artifacts --json
"""


@click.command(epilog=_EPILOG)
@click.argument("mountpoint", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs: one object, its mounts in a list.")
def status(mountpoint: str | None, as_json: bool) -> None:
    """Show what is mounted, and what is not in the store yet."""
    rows = _all() if mountpoint is None else [_one(located(mountpoint))]
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


def _all() -> list[dict[str, Any]]:
    """Every daemon that has a socket here, and every mount of this user that none of them serves."""
    rows = [row for path in sockets(places()) if (row := _asked(path))]
    served = {row["mountpoint"] for row in rows}
    gone = (mount for mount in mounts() if mount.ours and mount.owner == os.getuid() and mount.mountpoint not in served)
    return sorted([*rows, *(_unserved(mount.mountpoint, mount.source) for mount in gone)], key=lambda row: str(row["mountpoint"]))


def _one(path: str) -> dict[str, Any]:
    if row := _asked(socket_path(places(), path)):
        return row
    there = mounted_at(path)
    if there is None or not there.ours:
        raise Refusal(ExitCode.NOT_MOUNTED, f"no store is mounted on {path}; see: storemount status")
    return _unserved(path, there.source)


def _asked(socket: Path) -> dict[str, Any] | None:
    """What the daemon says, and its state; None when no daemon listens."""
    try:
        row = next(ask(socket, "status"))
    except (ConnectionError, FileNotFoundError, StopIteration):
        return None
    except TimeoutError:
        return {"mountpoint": str(socket), "store": "?", "state": SILENT}
    there = mounted_at(row["mountpoint"])
    return {**row, "state": MOUNTED if there and there.ours else DRAINING}


def _unserved(path: str, store: str) -> dict[str, Any]:
    return {"mountpoint": path, "store": store, "state": DEAD if is_dead(path) else SILENT}


def _cells(row: dict[str, Any]) -> list[str]:
    shown = _sheet(row)
    return [
        shown.get(name, "-") for name in ("mountpoint", "store", "state", "engine", "pending", "failed", "refused", "cache", "memory", "up")
    ]


def _sheet(row: dict[str, Any]) -> dict[str, str]:
    basic: dict[str, str] = {name: str(row[name]) for name in ("mountpoint", "store", "uri", "state", "engine", "pid") if name in row}
    if row["state"] in (DEAD, SILENT):
        return basic
    limits = {"limits": "; ".join(row["limits"])} if row["limits"] else {}
    return (
        basic
        | limits
        | {
            "up": duration_text(max(time.time() - row["started"], 1)),
            "pending": f"{row['pending']} ({size_text(row['pending_bytes'])})" if row["pending"] else "0",
            "uploading": str(row["uploading"]),
            "oldest": duration_text(row["oldest_pending_seconds"]) if row["pending"] else "-",
            "failed": str(len(row["failed"])),
            "refused": str(row["refused"]),
            "conflicts": str(len(row["conflicts"])),
            "taken up": str(row["taken_up"]),
            "staged": size_text(row["staged_bytes"]),
            "cache": f"{size_text(row['cache_bytes'])} of {size_text(row['cache_cap'])}",
            "hits": f"{row['hits']} of {row['hits'] + row['misses']}",
            "memory": size_text(row["rss_bytes"]),
        }
    )


def _name_failures(rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        folder = row["mountpoint"]
        for failure in row.get("failed", ()):
            click.echo(f"{folder}/{failure['path']}: {failure['error']}{_remedy(folder, failure) if failure['refused'] else ''}")
        for conflict in row.get("conflicts", ()):
            click.echo(f"{folder}/{conflict['path']}: was changed in the store meanwhile; yours is {folder}/{conflict['ours']}")
        if row["state"] == DEAD:
            click.echo(f"{folder}: its daemon is gone; clean it: storemount unmount {folder}")


def _remedy(folder: str, failure: dict[str, Any]) -> str:
    return f" (refused, and kept; mend the cause, then: storemount retry {quote(folder + '/' + failure['path'])})"
