"""`storemount unmount`: take the mount away, then wait until everything is in the store (S8).

What it is: the order of the three steps: reach the daemon, unmount, follow its queue.
What it is not: the draining; the daemon does that, whether or not somebody watches. How it is shown is in `progress`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from storemount.cli.progress import changes, last_answer, named, to_go
from storemount.cli.user import places, registry
from storemount.cli.values import DURATION, duration_text
from storemount.control.client import socket_path
from storemount.errors import ExitCode, Refusal
from storemount.kernel.mountinfo import Mounted, mounted_at
from storemount.kernel.mountpoint import detach, is_dead, located
from storemount.running.draining import Drain, reach

LAST_WORDS = 10.0
"""Seconds that a daemon may need to end after its queue is empty."""

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
        _take_away(there, lazy, served=drain is not None)
    if drain is not None and not drain.is_elsewhere:
        follow(path, drain, timeout)
    elif drain is not None:
        click.echo(f"{path} is unmounted in this mount namespace; its daemon (process {drain.pid}) serves another one")


def _take_away(there: Mounted, lazy: bool, *, served: bool) -> None:
    path = there.mountpoint
    dead = not served and is_dead(path)
    detach(path, lazy=lazy or dead)
    if dead:
        click.echo(f"{path} was a dead mount (its daemon is gone); cleaned it")
        _name_what_stayed(there.source)
    elif not served:
        click.echo(f"{path} is unmounted; its daemon is another user's, and saves by itself")


def _name_what_stayed(store: str) -> None:
    """Raises Refusal(NOT_DRAINED): the daemon that died had changes that the store may not have."""
    from storemount.cli.leftovers import unfinished  # With a database's library, which no other command needs.

    count = unfinished(places(), registry(), store)
    if count:
        raise Refusal(
            ExitCode.NOT_DRAINED,
            f"its daemon died with {changes(count)} that the store may not have; the next mount of {store} takes {_them(count)} up",
        )


def _them(count: int) -> str:
    return "it" if count == 1 else "them"


def follow(path: str, drain: Drain, timeout: float | None) -> None:
    """Until the daemon says what is left, and is gone. Raises Refusal(NOT_DRAINED)."""
    last = last_answer(_within(drain.answers, path, timeout))
    if not last.get("done"):
        raise Refusal(ExitCode.NOT_DRAINED, f"the daemon of {path} ended before it said that everything is in the store; see its log")
    if left := last["left"]:
        count = len(left)
        message = f"{path} is unmounted, but {changes(count)} did not reach the store; the next mount of the store takes {_them(count)} up:"
        raise Refusal(ExitCode.NOT_DRAINED, message + named(left))
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
                message = f"{path} is unmounted; {to_go(answer)} after {duration_text(timeout or 0)}, still going up in the background"
                raise Refusal(ExitCode.NOT_DRAINED, message)
    except TimeoutError:
        raise Refusal(ExitCode.NOT_DRAINED, f"the daemon of {path} does not answer any more; see its log") from None
    except ConnectionError:
        return
