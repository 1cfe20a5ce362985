"""Measures: what is counted while a mount works, in plain numbers.

What it is: durations by name (a histogram each) with the failures, and what programs did through the mount.
What it is not: a metric with a name, a unit and a help text (`metrics`), or a figure of the queue or the cache (`figures`).
Invariant: counting is an addition or two: no lock, no checkpoint, nothing that may fail. It is read in the same thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

QUICK = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds for what memory answers, and the store only now and then."""

SLOW = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds in seconds for what a store answers; a large file takes minutes."""


class Histogram:
    """How often something took how long. `counts`: one for each of `bounds` (at most so many seconds), one for what took longer."""

    __slots__ = ("bounds", "counts", "seconds")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.seconds += seconds

    @property
    def count(self) -> int:
        return sum(self.counts)


class Timings:
    """Durations by name, and failures by name and reason."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.durations: dict[str, Histogram] = {}
        self.failures: Counter[tuple[str, str]] = Counter()
        self._bounds = bounds

    def ended(self, name: str, seconds: float, failure: str | None) -> None:
        """`name` was done in so many seconds, or failed for this reason."""
        histogram = self.durations.get(name)
        if histogram is None:
            histogram = self.durations[name] = Histogram(self._bounds)
        histogram.add(seconds)
        if failure is not None:
            self.failures[name, failure] += 1


@dataclass(slots=True)
class Usage:
    """What programs did through the mount: operations of the kernel, bytes of the files that they read and wrote, handles that are open."""

    operations: Timings = field(default_factory=lambda: Timings(QUICK))
    read_bytes: int = 0
    written_bytes: int = 0
    open_files: int = 0
