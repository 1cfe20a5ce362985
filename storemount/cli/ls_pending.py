"""`storemount ls-pending`: what the store does not have yet, one change a line.

What it is: the question to one mount or to all of them, and a table.
What it is not: a wait for them (`flush`), or the mount's state (`status`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from storemount.cli.flush import everywhere
from storemount.cli.place import Place, place_of
from storemount.cli.table import print_table
from storemount.cli.values import duration_text, printable, size_text
from storemount.errors import ExitCode, Refusal

VERSION = 1
_EPILOG = """\b
Examples:
  storemount ls-pending
  storemount ls-pending ~/artifacts/run-7
  storemount ls-pending --json | jq -r '.changes[] | select(.refused) | .path'
"""


@click.command("ls-pending", epilog=_EPILOG)
@click.argument("path", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs: one object, its changes in a list.")
def ls_pending(path: str | None, as_json: bool) -> None:
    """List the changes at and below PATH that the store does not have yet, the oldest first.

    Without PATH: in every mount of this user.
    """
    rows = [row for place in ([place_of(path)] if path is not None else everywhere()) for row in _rows(place)]
    if as_json:
        click.echo(json.dumps({"version": VERSION, "changes": rows}, indent=2))
    elif rows:
        print_table(("PATH", "CHANGE", "SIZE", "AGE", "STATE", "TRIES", "WHY"), [_cells(row) for row in rows])
    else:
        click.echo("The store has everything.", err=True)


def _rows(place: Place) -> Iterator[dict[str, Any]]:
    for answer in place.ask("ls-pending"):
        yield from ({"mountpoint": place.mountpoint, **row} for row in answer.get("rows", ()))
        if answer.get("done") and "error" not in answer:
            return
    raise Refusal(ExitCode.UNEXPECTED, f"the daemon of {place.mountpoint} did not name all of its changes; see its log")


def _cells(row: dict[str, Any]) -> list[str]:
    folder = row["mountpoint"].rstrip("/")
    path = f"{folder}/{row['path']}" + (f" -> {folder}/{row['to']}" if row["to"] is not None else "")
    size = size_text(row["bytes"]) if row["kind"] == "put" else "-"
    age = duration_text(round(row["age_seconds"], 1))
    why = row["error"].removeprefix(f"{row['path']}: ")
    return [printable(cell) for cell in (path, row["kind"], size, age, row["state"], str(row["tries"]), why)]
