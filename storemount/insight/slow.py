"""What takes long: operations and requests that are under way, and those that were over a threshold.

What it is: a note of each that has begun, and one line for each that is slow: at once when it ends, and while it still hangs.
What it is not: statistics, or a deadline (`stores.deadline`).
Invariant: beginning and ending are a dictionary entry each: no checkpoint, no lock, nothing is formatted unless it is slow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

import trio

from storemount.insight.logs import fields

log = logging.getLogger(__name__)

SHORTEST = 0.1
"""Seconds between two looks at what hangs, at least."""

Describe = Callable[[str, tuple[object, ...]], str]
"""What this verb with these arguments is about."""


@dataclass(eq=False, slots=True)
class Running:
    """`verb` with `subjects` (its arguments, or its key) since `began`. `told`: that it hangs is in the log."""

    verb: str
    subjects: tuple[object, ...]
    began: float
    told: bool = False


def plainly(verb: str, subjects: tuple[object, ...]) -> str:
    return " ".join(map(str, subjects)) or "/"


class SlowLog:
    """Of what takes `threshold` seconds and more; infinite: nothing. `kind` is what they are, `describe` says what one is about."""

    def __init__(self, kind: str, threshold: float, describe: Describe = plainly) -> None:
        self._kind = kind
        self._threshold = threshold
        self._describe = describe
        self._running: dict[Running, None] = {}

    def begin(self, verb: str, *subjects: object) -> Running:
        """It has begun: to be ended, whatever comes of it."""
        running = Running(verb, subjects, monotonic())
        self._running[running] = None
        return running

    def end(self, running: Running) -> float:
        """How many seconds it took."""
        del self._running[running]
        seconds = monotonic() - running.began
        if seconds >= self._threshold:
            self._tell(f"slow {self._kind}", running, seconds)
        return seconds

    @contextmanager
    def watch(self, verb: str, *subjects: object) -> Iterator[None]:
        """While the block runs."""
        running = self.begin(verb, *subjects)
        try:
            yield
        finally:
            self.end(running)

    async def run(self) -> None:
        """Name what hangs, once, until cancelled."""
        while self._threshold != float("inf"):
            await trio.sleep(max(self._threshold / 2, SHORTEST))
            self.tell_hanging()

    def tell_hanging(self) -> None:
        """Name what is over the threshold and has not been named yet."""
        now = monotonic()
        for running in list(self._running):
            if not running.told and now - running.began >= self._threshold:
                running.told = True
                self._tell(f"{self._kind} without an answer yet", running, now - running.began)

    def _tell(self, words: str, running: Running, seconds: float) -> None:
        about = self._describe(running.verb, running.subjects)
        log.warning(words, extra=fields(verb=running.verb, about=about, seconds=f"{seconds:.3f}"))
