"""How far a mount is with its queue, shown while somebody waits.

What it is: a bar on a terminal, now and then a line elsewhere; and how what is left is named.
What it is not: the waiting; whoever asked the mount hands its answers through here.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import click

from storemount.cli.table import cells, shortened
from storemount.cli.values import printable, size_text
from storemount.config import MIB

REPORT = 5.0
"""Seconds between two lines of progress where there is no terminal."""

NARROWEST, WIDEST = 8, 36
"""Characters of a bar."""

REQUEST = MIB
"""What a change counts beside its bytes: as long as its request takes, so many bytes go over an ordinary line."""

SHOWN = 20
"""Changes that a message names of those that are left; `status` has them all."""


def last_answer(answers: Iterator[dict[str, Any]], label: str = "Saving", unit: str = "change") -> dict[str, Any]:
    """Show progress while there is any; what was said last, nothing when nobody said anything. `unit`: of what there is so much to go."""
    shown = _bar(answers, label, unit) if sys.stderr.isatty() else _lines(answers, unit)
    last = deque(shown, maxlen=1)
    return last.pop() if last else {}


def to_go(answer: dict[str, Any], unit: str = "change") -> str:
    return f"{counted(answer['pending'], unit)} ({size_text(answer['pending_bytes'])}) to go"


def changes(count: int) -> str:
    return counted(count, "change")


def counted(count: int, unit: str) -> str:
    return f"{count} {unit}{'' if count == 1 else 's'}"


def named(rows: Iterable[dict[str, Any]], folder: str = "") -> str:
    """Each on a line of its own, with the reason; `folder` stands before the paths."""
    lines = [f"\n  {folder}{failure_text(row)}" for row in rows]
    more = [f"\n  and {len(lines) - SHOWN} more; see: storemount status"] if len(lines) > SHOWN else []
    return "".join([*lines[:SHOWN], *more])


def failure_text(row: dict[str, Any]) -> str:
    """A line of its own, whatever the name holds."""
    path, error = row["path"], row["error"]
    return printable(str(error) if error.startswith(f"{path}:") else f"{path}: {error}")


def _bar(answers: Iterator[dict[str, Any]], label: str, unit: str) -> Iterator[dict[str, Any]]:
    """Shown only when there is something to wait for."""
    first = next((answer for answer in answers if answer["pending"] or answer.get("done")), None)
    if first is None or not first["pending"]:
        yield from () if first is None else (first,)
        return
    show, most = partial(_to_go_or_nothing, unit=unit), first["pending"]
    bar = click.progressbar(length=_work(first), show_percent=True, file=sys.stderr, item_show_func=show)

    def fit() -> None:
        columns = shutil.get_terminal_size().columns
        bar.label, bar.width, told = fitted(label, counted(most, unit), columns)
        bar.item_show_func = show if told else None
        bar.max_width = None if bar.max_width is None else min(bar.max_width, columns - 1)

    fit()
    bar.current_item = first
    with bar:
        for answer in chain([first], answers):
            most = max(most, answer["pending"])
            fit()  # The terminal may have another size by now.
            left = _work(answer)
            bar.length = max(bar.length or 1, left)
            bar.update(max(bar.length - left - bar.pos, 0), answer)  # What has to be sent again does not take it back.
            bar.render_progress()  # Also where nothing has moved, as what is to go is shown, too.
            yield answer


def _work(answer: dict[str, Any]) -> int:
    """What is to go, in bytes."""
    return int(answer["pending_bytes"] + answer["pending"] * REQUEST)


def fitted(label: str, most: str, columns: int) -> tuple[str, int, bool]:
    """The label, the width of the bar in characters, and whether there is room for what is to go, `most` of it: all in one line of a
    terminal, as one that is wrapped cannot be drawn over. A label that is too long keeps what is done, and the end of where."""
    room = columns - 1 - cells(f"{label}  []  100%  00:00:00")
    rest = len(f"  {most} (1.234 GiB) to go")
    told = room - rest >= NARROWEST
    if room < NARROWEST:
        label = shortened(label, max(cells(label) - NARROWEST + room, 0))
    return label, min(max(room - rest * told, NARROWEST), WIDEST), told


def _lines(answers: Iterator[dict[str, Any]], unit: str) -> Iterator[dict[str, Any]]:
    said = time.monotonic()
    for answer in answers:
        if answer["pending"] and time.monotonic() - said > REPORT:
            said = time.monotonic()
            click.echo(to_go(answer, unit), err=True)
        yield answer


def _to_go_or_nothing(answer: dict[str, Any] | None, unit: str) -> str | None:
    return to_go(answer, unit) if answer and answer["pending"] else None
