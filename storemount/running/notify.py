"""Telling the service manager how it goes: sd_notify(3)'s datagrams.

What it is: the words of the protocol, sent to the socket that `NOTIFY_SOCKET` names (a path, or after `@` an abstract name).
What it is not: a decision of what to tell when (`service`).
Invariants: nobody listening is the usual case, and nothing is sent then. A word that cannot be delivered is logged, and disturbs nobody.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notifier:
    """`path`: of the manager's socket, None for nobody. `watchdog`: seconds within which it wants to be told that all is well, None for
    never."""

    def __init__(self, path: str | None = None, watchdog: float | None = None) -> None:
        self._address = path and (b"\0" + path[1:].encode() if path.startswith("@") else path.encode())
        self.watchdog = watchdog

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> Notifier:
        """As the manager said in the environment; a watchdog that is meant for another process than `pid` is none of ours."""
        microseconds = environ.get("WATCHDOG_USEC", "")
        ours = microseconds.isdecimal() and environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        return cls(environ.get("NOTIFY_SOCKET"), int(microseconds) / 1e6 if ours and int(microseconds) else None)

    @property
    def is_heard(self) -> bool:
        return bool(self._address)

    def ready(self, status: str) -> None:
        """The service is up, or has read its settings again."""
        self._tell("READY=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._tell(f"STATUS={text}")

    def alive(self) -> None:
        """What the watchdog waits for."""
        self._tell("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """Starting or stopping takes at least so many seconds more, counted from now."""
        self._tell(f"EXTEND_TIMEOUT_USEC={seconds * 1e6:.0f}")

    def reloading(self) -> None:
        """The settings are about to be read again; `ready` says that they are."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def _tell(self, *words: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as speaker:
                speaker.sendto("\n".join(words).encode(errors="replace"), self._address)
        except OSError as error:
            log.warning("the service manager could not be told %s: %s", words[0].partition("=")[0], error)
