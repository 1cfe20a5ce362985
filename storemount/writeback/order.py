"""Order: which changes have to wait for which, by their keys.

What it is: an index of unfinished changes by key and enclosing directory, and two queues of those that may start.
What it is not: the life of a change (`journal`).
Invariants: a change waits for every earlier one that touches the same key, an enclosing directory, or anything below its own key (a mkdir
and a change of metadata take nothing from below themselves, and do not wait for it). All others are independent. A change in a queue waits
for nothing but its time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

import trio

from storemount.writeback.change import Change, Kind, State


def above(key: str) -> Iterator[str]:
    """The directories that enclose `key`, the root included."""
    while key:
        key = key.rpartition("/")[0]
        yield key


class Order:
    """The unfinished changes. `wake` is called when one may have become ready."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._at: dict[str, set[Change]] = {}
        self._below: dict[str, set[Change]] = {}
        self._queues: dict[bool, list[tuple[float, int, Change]]] = {True: [], False: []}

    def at(self, key: str) -> set[Change]:
        """Those of this very key."""
        return self._at.get(key, set())

    def under(self, key: str) -> set[Change]:
        """Those at or below this key; not for the root."""
        return self._at.get(key, set()) | self._below.get(key, set())

    def enter(self, change: Change) -> None:
        for key in change.keys:
            for other in self._related(key):
                first, then = (other, change) if other.id < change.id else (change, other)
                if then.state in (State.WAITING, State.REFUSED) and _waits(then, first):
                    then.after.add(first)
                    first.before.add(then)
        for key in change.keys:
            self._at.setdefault(key, set()).add(change)
            for folder in above(key):
                self._below.setdefault(folder, set()).add(change)
        self.queue(change)

    def _related(self, key: str) -> set[Change]:
        related = self._at.get(key, set()) | self._below.get(key, set())
        for folder in above(key):
            related |= self._at.get(folder, set())
        return related

    def queue(self, change: Change) -> None:
        """Offer it to the workers, once for each due time it gets; `next` passes over offers that no longer hold."""
        if not change.after and change.state is State.WAITING:
            heapq.heappush(self._queues[change.kind is Kind.PUT], (change.due, change.id, change))
            self._wake()

    def next(self, *, puts: bool, only: Sequence[Kind] = tuple(Kind), early: bool = False) -> Change | float:
        """The next row of this lane that may start now, or the time at which there may be one. `only`: of these kinds; `early`: one that is
        not due yet will do."""
        queue = self._queues[puts]
        while queue:
            due, number, change = queue[0]
            if change.state is not State.WAITING or change.due != due or change.after or change.id != number:
                heapq.heappop(queue)
            elif due > trio.current_time() and not (early and due < float("inf")):
                return due
            elif change.kind not in only:
                return float("inf")
            else:
                heapq.heappop(queue)
                return change
        return float("inf")

    def leave(self, change: Change) -> None:
        for key in change.keys:
            _discard(self._at, key, change)
            for folder in above(key):
                _discard(self._below, folder, change)
        for other in change.before:
            other.after.discard(change)
            self.queue(other)
        for other in change.after:
            other.before.discard(change)
        change.before, change.after = set(), set()


def _waits(change: Change, earlier: Change) -> bool:
    """Whether the change must let the earlier one go first, given that their keys are related."""
    return change.kind not in (Kind.MKDIR, Kind.ANNOTATE) or any(f"{change.key}/".startswith(f"{key}/") for key in earlier.keys)


def _discard(index: dict[str, set[Change]], key: str, change: Change) -> None:
    rows = index.get(key)
    if rows is not None:
        rows.discard(change)
        if not rows:
            del index[key]
