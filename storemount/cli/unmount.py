"""`storemount unmount`: take the mount away, then wait until everything is in the store (S8).

What it is: the order of the three steps (reach the daemon, unmount, follow its queue) and how drain is shown.
What it is not: the draining; the daemon does that, whether or not somebody watches.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Any

import click

from storemount.cli.user import places
from storemount.cli.values import DURATION, duration_text, size_text
from storemount.control import socket_path
from storemount.draining import Drain, reach
from storemount.errors import ExitCode, Refusal
from storemount.mountinfo import mounted_at
from storemount.mountpoint import detach, is_dead, located

LAST_WORDS = 10.0
"""Seconds that a daemon may need to end after its queue is empty."""

REPORT = 5.0
"""Seconds between two lines of progress where there is no terminal."""

_EPILOG = """\b
Examples:
  storemount unmount ~/artifacts
  storemount unmount /mnt/artifacts --timeout 10m
"""


@click.command(epilog=_EPILOG)
@click.argument("mountpoint")
@click.option(
    "--timeout", type=DURATION, help="How long to wait; what is left then still goes up in the background.  [default: until it is done]"
)
@click.option("--lazy", is_flag=True, help="Do not mind programs that still use it.")
def unmount(mountpoint: str, timeout: float | None, lazy: bool) -> None:
    """Unmount a store, and return when everything written to it is in the store."""
    path = located(mountpoint)
    drain = reach(socket_path(places(), path))
    there = mounted_at(path)
    if there and not there.ours:
        raise Refusal(ExitCode.NOT_MOUNTED, f"{path} is not a storemount mount ({there.kind})")
    if not there and drain is None:
        raise Refusal(ExitCode.NOT_MOUNTED, f"nothing is mounted on {path}; see: storemount status")
    if there:
        _take_away(path, lazy, served=drain is not None)
    if drain is not None:
        follow(path, drain, timeout)


def _take_away(path: str, lazy: bool, *, served: bool) -> None:
    dead = not served and is_dead(path)
    detach(path, lazy=lazy or dead)
    if dead:
        click.echo(f"{path} was a dead mount (its daemon is gone); cleaned it")
        _name_what_stayed(path)
    elif not served:
        click.echo(f"{path} is unmounted; its daemon is another user's, and saves by itself")


def _name_what_stayed(path: str) -> None:
    """Raises Refusal(NOT_DRAINED): the daemon that died had staged files."""
    stem = socket_path(places(), path).stem
    for folder in sorted(places().state.glob(f"staging/{stem}-*")):
        if files := len(list(folder.iterdir())):
            raise Refusal(
                ExitCode.NOT_DRAINED, f"its daemon died with {files} files staged, which the store may not have; they are in {folder}"
            )


def follow(path: str, drain: Drain, timeout: float | None) -> None:
    """Until the daemon says what is left, and is gone. Raises Refusal(NOT_DRAINED)."""
    last = _last_answer(_within(drain.answers, path, timeout))
    if not last.get("done"):
        raise Refusal(ExitCode.NOT_DRAINED, f"the daemon of {path} ended before it said that everything is in the store; see its log")
    if left := last["left"]:
        kept = next((os.path.dirname(row["kept"]) for row in left if row.get("kept")), "this machine")
        names = "".join(f"\n  {_failure(row)}" for row in left)
        raise Refusal(
            ExitCode.NOT_DRAINED, f"{path} is unmounted, but {_changes(len(left))} did not reach the store; kept in {kept}:{names}"
        )
    if not drain.ended(LAST_WORDS):
        raise Refusal(
            ExitCode.UNEXPECTED, f"everything is in the store, but the daemon of {path} (process {drain.pid}) does not end; see its log"
        )


def _within(answers: Iterator[dict[str, Any]], path: str, timeout: float | None) -> Iterator[dict[str, Any]]:
    """`answers`, for so many seconds."""
    end = None if timeout is None else time.monotonic() + timeout
    try:
        for answer in answers:
            yield answer
            if end is not None and time.monotonic() > end and not answer.get("done"):
                message = f"{path} is unmounted; {_to_go(answer)} after {duration_text(timeout or 0)}, still going up in the background"
                raise Refusal(ExitCode.NOT_DRAINED, message)
    except TimeoutError:
        raise Refusal(ExitCode.NOT_DRAINED, f"the daemon of {path} does not answer any more; see its log") from None
    except ConnectionError:
        return


def _last_answer(answers: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Show progress while there is any; what was said last."""
    show = _bar if sys.stderr.isatty() else _lines
    last = deque(show(answers), maxlen=1)
    return last.pop() if last else {}


def _bar(answers: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Shown only when there is something to wait for."""
    first = next((answer for answer in answers if answer["pending"] or answer.get("done")), None)
    if first is None or not first["pending"]:
        yield from () if first is None else (first,)
        return
    with click.progressbar(
        length=first["pending"], label="Saving", show_pos=True, file=sys.stderr, item_show_func=_to_go_or_nothing
    ) as bar:
        for answer in chain([first], answers):
            pending = answer["pending"]
            bar.length = max(bar.length or 1, pending)
            bar.update(bar.length - pending - bar.pos, answer)
            yield answer


def _lines(answers: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    said = time.monotonic()
    for answer in answers:
        if answer["pending"] and time.monotonic() - said > REPORT:
            said = time.monotonic()
            click.echo(_to_go(answer), err=True)
        yield answer


def _to_go_or_nothing(answer: dict[str, Any] | None) -> str | None:
    return _to_go(answer) if answer and answer["pending"] else None


def _to_go(answer: dict[str, Any]) -> str:
    return f"{_changes(answer['pending'])} ({size_text(answer['pending_bytes'])}) to go"


def _failure(row: dict[str, Any]) -> str:
    path, error = row["path"], row["error"]
    return str(error) if error.startswith(f"{path}:") else f"{path}: {error}"


def _changes(count: int) -> str:
    return f"{count} change{'' if count == 1 else 's'}"
