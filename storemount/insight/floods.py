"""Floods: the same event over and over is told a few times, and then counted.

What it is: a log handler in front of another; what it holds back it tells as one line with the number when the window is over.
What it is not: a level, or a loss: the first lines of every kind come through at once.
Invariants: events are of one kind when they have the same logger, level and words, whatever values stand in them. Events of the level
debug all come through. What was held back is told at the latest when the handler is closed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

FIRST = 10
"""Events of one kind that are told in each window."""

WINDOW = 10.0
"""Seconds."""

Later = Callable[[float, Callable[[], None]], object]
"""Has something called after so many seconds, by whatever thread."""


@dataclass(slots=True)
class _Kind:
    began: float
    count: int = 0
    last: logging.LogRecord | None = None


def by_timer(seconds: float, call: Callable[[], None]) -> None:
    """A thread that keeps no process alive."""
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()


class Floods(logging.Handler):
    """In front of `target`. `clock` gives seconds; `later` is called once for each window in which something is held back."""

    def __init__(self, target: logging.Handler, clock: Callable[[], float], later: Later) -> None:
        super().__init__()
        self._target = target
        self._clock = clock
        self._later = later
        self._kinds: dict[tuple[str, int, str], _Kind] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self._tell_what_is_over(self._clock())
        if record.levelno <= logging.DEBUG or self._comes_through(record):
            self._target.handle(record)

    def _comes_through(self, record: logging.LogRecord) -> bool:
        name = (record.name, record.levelno, str(record.msg))
        kind = self._kinds.setdefault(name, _Kind(self._clock()))
        kind.count += 1
        if kind.count <= FIRST:
            return True
        if kind.last is None:
            self._later(WINDOW, self._window_is_over)
        kind.last = record
        return False

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """As the standard library's `handle` has it around `emit`."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def _window_is_over(self) -> None:
        with self._locked():
            self._tell_what_is_over(self._clock())

    def _tell_what_is_over(self, now: float) -> None:
        for name, kind in [(name, kind) for name, kind in self._kinds.items() if now >= kind.began + WINDOW]:
            del self._kinds[name]
            self._tell(kind)

    def _tell(self, kind: _Kind) -> None:
        if kind.last is not None:
            record = logging.makeLogRecord(kind.last.__dict__)
            record.msg = f"\N{HORIZONTAL ELLIPSIS} repeated {kind.count - FIRST} times in {WINDOW:.0f} s, last: {kind.last.getMessage()}"
            record.args, record.exc_info, record.exc_text = None, None, None
            self._target.handle(record)

    def close(self) -> None:
        with self._locked():
            kinds, self._kinds = list(self._kinds.values()), {}
            for kind in kinds:
                self._tell(kind)
        self._target.close()
        super().close()
