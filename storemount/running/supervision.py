"""A daemon that is started again when it dies.

What it is: a process that does nothing but wait for the daemon, and start it again where it died of a signal.
What it is not: a service manager (systemd does the same, and more); a daemon that ended by itself, whatever its exit code, has ended.
Invariants: the waiting process has no thread and no event loop, so each fork is as good as the first one. A signal to it is passed on. The
dead mount stays until the next daemon takes its place.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from types import FrameType

from storemount.errors import ExitCode

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0
"""Seconds before a daemon is started again; a daemon that lived longer than the longest one starts with the first again."""

Serve = Callable[[Callable[[], None]], ExitCode]

log = logging.getLogger(__name__)


class Supervised:
    """Calls `first` in a child, and `again` in another one whenever a child has died.

    Made to be called like them: in a child it returns what they return (or raises), in the waiting process the last child's exit code.
    """

    def __init__(self, first: Serve, again: Serve) -> None:
        self._first = first
        self._again = again
        self._child = 0
        self._told_to_stop = False

    def __call__(self, ready: Callable[[], None]) -> ExitCode:
        serve, pause = self._first, FIRST_PAUSE
        while True:
            begun = time.monotonic()
            self._child = os.fork()
            if self._child == 0:
                for number in PASSED_ON:
                    signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
                return serve(ready)
            if serve is self._first:
                self._settle_down()
            code = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
            if code >= 0 or self._told_to_stop:
                return ExitCode(code) if code >= 0 else ExitCode.UNEXPECTED
            pause = FIRST_PAUSE if time.monotonic() - begun > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
            name = signal.Signals(-code).name
            log.error("the daemon (process %d) died of %s; starting it again in %.1f s", self._child, name, pause)
            self._child = 0
            serve = self._again
            self._rest(pause)
            if self._told_to_stop:
                return ExitCode.UNEXPECTED

    def _settle_down(self) -> None:
        os.setsid()
        for number in PASSED_ON:
            signal.signal(number, self._pass_on)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._told_to_stop = self._told_to_stop or number != signal.SIGHUP
        if self._child:
            os.kill(self._child, number)

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._told_to_stop and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
