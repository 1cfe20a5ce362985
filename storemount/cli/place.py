"""From a path that somebody typed to the mount that it is in.

What it is: the mountpoint, the path below it, and a question put to the daemon that serves it.
What it is not: a look into the mounted file system beyond following the symbolic links on the way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storemount.cli.user import places
from storemount.control import ask, socket_path
from storemount.errors import ExitCode, Refusal
from storemount.mountinfo import mounts


@dataclass(frozen=True, slots=True)
class Place:
    """`inner` is relative to the mountpoint; "" is all of the mount."""

    mountpoint: str
    inner: str

    def ask(self, what: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Put a question about this path to the mount's daemon. Raises Refusal when it does not answer."""
        return asked(socket_path(places(), self.mountpoint), self.mountpoint, what, path=self.inner, **arguments)


def place_of(given: str) -> Place:
    """Where `given` is. Raises Refusal(NOT_MOUNTED): in no mount of a store."""
    parent, name = os.path.split(os.path.abspath(os.path.expanduser(given)))
    path = os.path.join(os.path.realpath(parent), name)
    # The last segment may be a link in a mount, which is meant itself, or a link from outside into one.
    found = _within(path) or _within(os.path.realpath(path))
    if found is None:
        raise Refusal(ExitCode.NOT_MOUNTED, f"{given} is not in a mounted store; see: storemount status")
    return found


def asked(socket: Path, mountpoint: str, what: str, /, **arguments: Any) -> Iterator[dict[str, Any]]:
    """The answers of the daemon behind `socket`. Raises Refusal when it is another user's, or gone, or says nothing."""
    try:
        yield from ask(socket, what, **arguments)
    except (ConnectionError, FileNotFoundError):
        message = f"nobody answers for {mountpoint}: its daemon is gone, or is another user's; see: storemount status"
        raise Refusal(ExitCode.NOT_MOUNTED, message) from None
    except TimeoutError:
        raise Refusal(ExitCode.UNEXPECTED, f"the daemon of {mountpoint} does not answer; see its log, and end it if need be") from None


def _within(path: str) -> Place | None:
    """The innermost mount that has this path, when it is one of ours; one mounted later hides what was at or below its place."""
    holders = [each for each in mounts() if path == each.mountpoint or path.startswith(each.mountpoint.rstrip("/") + "/")]
    holder = max(reversed(holders), key=lambda each: len(each.mountpoint), default=None)
    if holder is None or not holder.ours:
        return None
    return Place(holder.mountpoint, path[len(holder.mountpoint) :].strip("/"))
