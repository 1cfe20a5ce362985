"""Extents: which bytes of a sparse file are there.

What it is: a set of byte ranges, kept sorted, disjoint and merged, and how many bytes they are.
What it is not: a file.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator


class Extents:
    """A set of byte ranges, kept sorted, disjoint and merged."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self.total = 0

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._starts, self._stops, strict=True)))

    def add(self, start: int, stop: int) -> int:
        """Put [start, stop) in; how many bytes of it are new."""
        if start >= stop:
            return 0
        before = self.total
        if self._stops and self._starts[-1] <= start <= self._stops[-1]:
            self.total += max(0, stop - self._stops[-1])
            self._stops[-1] = max(self._stops[-1], stop)
        else:
            self._merge(start, stop)
        return self.total - before

    def _merge(self, start: int, stop: int) -> None:
        first = bisect.bisect_left(self._stops, start)
        last = bisect.bisect_right(self._starts, stop)
        self.total -= sum(self._stops[first:last]) - sum(self._starts[first:last])
        if first < last:
            start, stop = min(start, self._starts[first]), max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]
        self.total += stop - start

    def cut(self, size: int) -> int:
        """Forget everything from `size` on; how many bytes that were."""
        before = self.total
        last = bisect.bisect_left(self._starts, size)
        self.total -= sum(self._stops[last:]) - sum(self._starts[last:])
        del self._starts[last:], self._stops[last:]
        if self._stops and self._stops[-1] > size:
            self.total -= self._stops[-1] - size
            self._stops[-1] = size
        return before - self.total

    def gaps(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The parts of [start, stop) that are not in the set."""
        index = bisect.bisect_right(self._stops, start)
        while start < stop:
            if index >= len(self._starts) or self._starts[index] >= stop:
                yield start, stop
                return
            if self._starts[index] > start:
                yield start, self._starts[index]
            start = self._stops[index]
            index += 1
