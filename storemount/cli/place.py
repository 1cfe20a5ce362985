"""From a path that somebody typed to the mount that it is in.

What it is: what `mounted` finds, and a question put to the daemon that serves it.
What it is not: the search itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storemount.api.mounted import mount_of
from storemount.cli.user import places
from storemount.control.client import ask, socket_path
from storemount.errors import ExitCode, Refusal


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
    return Place(*mount_of(given))


def asked(socket: Path, mountpoint: str, what: str, /, **arguments: Any) -> Iterator[dict[str, Any]]:
    """The answers of the daemon behind `socket`. Raises Refusal when it is another user's, or gone, or says nothing."""
    try:
        yield from ask(socket, what, **arguments)
    except (ConnectionError, FileNotFoundError):
        message = f"nobody answers for {mountpoint}: its daemon is gone, or is another user's; see: storemount status"
        raise Refusal(ExitCode.NOT_MOUNTED, message) from None
    except TimeoutError:
        raise Refusal(ExitCode.UNEXPECTED, f"the daemon of {mountpoint} does not answer; see its log, and end it if need be") from None
