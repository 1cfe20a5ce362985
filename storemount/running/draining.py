"""Waiting for a daemon that is on its way out.

What it is: the daemon behind a mountpoint, reached through its socket, and held on to until its process has ended.
What it is not: the draining (`daemon`), or how progress is shown (`cli`).
Invariant: reached before the mount goes away, so that nothing of the drain is missed, and no other process is mistaken for it.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from storemount.control.client import ask
from storemount.errors import ExitCode, Refusal


class Drain:
    """`answers`: what the daemon says of its queue, the last one with `done` and what is `left`. `pid`: its process."""

    def __init__(self, pid: int, answers: Iterator[dict[str, Any]]) -> None:
        self.pid = pid
        self.answers = answers
        self._watch = os.pidfd_open(pid)

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is in another mount namespace, where an unmount of ours takes nothing away."""
        try:
            return os.readlink(f"/proc/{self.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
        except OSError:
            return False  # it has ended, or is another user's

    def ended(self, within: float) -> bool:
        """Whether the daemon has ended, or does within so many seconds."""
        return bool(select.select([self._watch], [], [], within)[0])

    def close(self) -> None:
        """Stop watching; the daemon goes on."""
        os.close(self._watch)


def reach(socket: Path) -> Drain | None:
    """The daemon that serves `socket`, asked to tell of its queue; None when there is none. Raises Refusal when it does not answer."""
    try:
        status = next(ask(socket, "status"))
        answers = ask(socket, "drain")
        next(answers)
        return Drain(status["pid"], answers)
    except (ConnectionError, FileNotFoundError, ProcessLookupError, StopIteration):
        return None
    except TimeoutError:
        raise Refusal(ExitCode.UNEXPECTED, f"the daemon behind {socket} does not answer; see its log, and end it if need be") from None
