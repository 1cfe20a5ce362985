"""`storemount flush`: wait until the store has a file, a folder, or everything (S7).

What it is: the question to one mount or to all of them, and the verdict over what they say.
What it is not: the sending; the daemons do that, whether or not somebody waits.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from typing import Any

import click

from storemount.cli.place import Place, place_of
from storemount.cli.progress import changes, failure_text, last_answer, named
from storemount.cli.user import places, registry
from storemount.cli.values import DURATION, duration_text
from storemount.control.client import ask, sockets
from storemount.errors import ExitCode, Refusal
from storemount.kernel.mountinfo import mounts_of

_EPILOG = """\b
Examples:
  storemount flush
  storemount flush ~/artifacts/run-7
  storemount flush /mnt/artifacts/model.bin --timeout 10m
"""


@click.command(epilog=_EPILOG)
@click.argument("path", required=False)
@click.option("--timeout", type=DURATION, help="How long to wait.  [default: until it is done]")
def flush(path: str | None, timeout: float | None) -> None:
    """Return when the store has everything that was closed at and below PATH.

    Without PATH: in every mount of this user.
    """
    asked = [place_of(path)] if path is not None else list(everywhere())
    left = [said for place in asked if (said := _flushed(place, timeout))]
    if path is None:
        left += _dead({place.mountpoint for place in asked})
    if left:
        raise Refusal(ExitCode.NOT_DRAINED, "\n".join(left))


def _dead(served: Collection[str]) -> Iterator[str]:
    """What is to be said of this user's mounts whose daemon is gone, and has left something."""
    from storemount.cli.leftovers import unfinished  # With a database's library, which is needed for this only.

    gone = [mount for mount in mounts_of(os.getuid()) if mount.mountpoint not in served]
    for mount in gone:
        if count := unfinished(places(), registry(), mount.source):
            yield f"{mount.mountpoint}: its daemon is gone, and {changes(count)} may not be in the store; mount {mount.source} again"


def everywhere() -> Iterator[Place]:
    """Every mount of this user whose daemon answers, those that are on their way out included."""
    for socket in sockets(places()):
        try:
            status = next(ask(socket, "status"))
        except (ConnectionError, FileNotFoundError, StopIteration):
            continue  # What a killed daemon leaves; `status` names dead mounts.
        except TimeoutError:
            raise Refusal(ExitCode.UNEXPECTED, f"the daemon behind {socket} does not answer; see its log, and end it if need be") from None
        yield Place(status["mountpoint"], "")


def _flushed(place: Place, timeout: float | None) -> str:
    """What is to be said of this place because it is not all in the store; nothing when it is."""
    answer = last_answer(place.ask("flush", timeout=timeout), f"Saving {place.mountpoint}")
    if not answer.get("done"):
        return f"the daemon of {place.mountpoint} ended before it said that everything is in the store; see its log"
    if "error" in answer:
        return f"{place.mountpoint}/{failure_text({'path': place.inner, **answer})}"
    left: list[dict[str, Any]] = answer["left"]
    if answer["timed_out"]:
        return f"{changes(answer['pending'])} not in the store after {duration_text(timeout or 0)}:" + named(left, place.mountpoint + "/")
    return f"{changes(len(left))} refused by the store:" + named(left, place.mountpoint + "/") if left else ""
