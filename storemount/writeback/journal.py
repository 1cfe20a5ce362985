"""The journal: every change that the store does not have yet, and in which order they may go.

What it is: rows (put, delete, move, mkdir, rmdir), their order, and `settle`, the one way to wait for them.
What it is not: durable yet (the rows live as long as the daemon), or able to apply a row (`worker` is).
Invariants:
- A change waits for every earlier unfinished one that touches the same key, an enclosing directory, or anything below its own key
  (a mkdir takes nothing from below itself, and does not wait for it). All others are independent.
- A node has at most one put that has not started: later closes fold into it.
- Synchronous but for `settle` and `wait`: what is written between two awaits is seen at once by everybody.
"""

from __future__ import annotations

import enum
import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import trio

from storemount.errors import may_pass
from storemount.tree import Node
from storemount.writeback.staging import StagedFile

LATEST = 5.0
"""Seconds after which a put starts though its file is closed again and again."""


class Kind(enum.Enum):
    PUT = "put"
    DELETE = "delete"
    MOVE = "move"
    MKDIR = "mkdir"
    RMDIR = "rmdir"


class State(enum.Enum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True, eq=False)
class Change:
    """A row. `key` and `to` are directory keys without the trailing slash where the change is about a directory.

    due: when it may start (trio time). sealed: the frozen file that a put sends. turn: set at the end of every attempt.
    """

    id: int
    kind: Kind
    key: str
    node: Node
    due: float
    to: str | None = None
    target: Node | None = None
    state: State = State.WAITING
    tries: int = 0
    error: Exception | None = None
    sealed: StagedFile | None = None
    turn: trio.Event = field(default_factory=trio.Event)
    born: float = field(default_factory=trio.current_time)
    after: set[Change] = field(default_factory=set)
    before: set[Change] = field(default_factory=set)

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key,) if self.to is None else (self.key, self.to)

    @property
    def finished(self) -> bool:
        return self.state in (State.DONE, State.FAILED, State.CANCELLED)


def _above(key: str) -> Iterator[str]:
    """The directories that enclose `key`, the root included."""
    while key:
        key = key.rpartition("/")[0]
        yield key


class Journal:
    """The unfinished changes. `wake` is called when one may have become ready."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._ids = itertools.count(1)
        self._rows: dict[int, Change] = {}
        self._at: dict[str, set[Change]] = {}
        self._below: dict[str, set[Change]] = {}
        self._puts: dict[Node, Change] = {}
        self._moves = 0
        self._queues: dict[bool, list[tuple[float, int, Change]]] = {True: [], False: []}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Change]:
        return iter(list(self._rows.values()))

    def add(self, kind: Kind, node: Node, key: str, *, to: str | None = None, target: Node | None = None, delay: float = 0.0) -> Change:
        """A new row, after everything that it depends on."""
        change = Change(next(self._ids), kind, key, node, trio.current_time() + delay, to, target)
        self._register(change)
        if kind is Kind.PUT:
            self._puts[node] = change
        return change

    def begin(self, kind: Kind, node: Node, key: str) -> Change | None:
        """A new row that its maker applies at once, without the worker's hop; None when it has to wait for others."""
        if any(self._related(key, below=kind is not Kind.MKDIR)):
            return None
        change = Change(next(self._ids), kind, key, node, trio.current_time(), state=State.RUNNING)
        self._register(change)
        return change

    def put(self, node: Node, delay: float) -> Change:
        """The row that will send this node's staged file: the one that has not started, or a new one."""
        change = self._puts.get(node)
        if change is None:
            return self.add(Kind.PUT, node, node.path, delay=delay)
        now = trio.current_time()
        if not change.tries and change.due > now:
            change.due = min(now + delay, change.born + LATEST)
            self._queue(change)
        return change

    def moving(self, key: str) -> Change | None:
        """The move that is under way from or to `key` or a directory that encloses it."""
        for folder in (key, *_above(key)) if self._moves else ():
            for change in self._at.get(folder, ()):
                if change.kind is Kind.MOVE:
                    return change
        return None

    def puts_of(self, node: Node) -> list[Change]:
        """The unfinished puts of this node, oldest first."""
        if not node.pending or not node.attached:
            return []
        return [change for change in self.under(node.path) if change.node is node and change.kind is Kind.PUT]

    def waiting_put(self, node: Node) -> Change | None:
        return self._puts.get(node)

    def _register(self, change: Change) -> None:
        self._rows[change.id] = change
        change.node.pending += 1
        self._moves += change.kind is Kind.MOVE
        self._enter(change)

    def _enter(self, change: Change) -> None:
        for key in change.keys:
            for other in self._related(key, below=True):
                first, then = (other, change) if other.id < change.id else (change, other)
                if then.state is State.WAITING and _waits(then, first):
                    then.after.add(first)
                    first.before.add(then)
        for key in change.keys:
            self._at.setdefault(key, set()).add(change)
            for folder in _above(key):
                self._below.setdefault(folder, set()).add(change)
        self._queue(change)

    def _queue(self, change: Change) -> None:
        """Offer it to the workers, once for each due time it gets; `next` passes over offers that no longer hold."""
        if not change.after and change.state is State.WAITING:
            heapq.heappush(self._queues[change.kind is Kind.PUT], (change.due, change.id, change))
            self._wake()

    def next(self, *, puts: bool) -> Change | float:
        """The next row of this lane that may start now, or the time at which there may be one."""
        queue = self._queues[puts]
        while queue:
            due, _, change = queue[0]
            if change.state is not State.WAITING or change.due != due or change.after:
                heapq.heappop(queue)
            elif due > trio.current_time():
                return due
            else:
                heapq.heappop(queue)
                return change
        return float("inf")

    def _leave(self, change: Change) -> None:
        for key in change.keys:
            _discard(self._at, key, change)
            for folder in _above(key):
                _discard(self._below, folder, change)
        for other in change.before:
            other.after.discard(change)
            self._queue(other)
        for other in change.after:
            other.before.discard(change)
        change.before, change.after = set(), set()

    def _related(self, key: str, *, below: bool) -> set[Change]:
        related = self._at.get(key, set()) | (self._below.get(key, set()) if below else set())
        for folder in _above(key):
            related |= self._at.get(folder, set())
        return related

    def under(self, key: str) -> list[Change]:
        """The unfinished rows at or below `key`, oldest first."""
        rows = self._rows.values() if not key else self._at.get(key, set()) | self._below.get(key, set())
        return sorted(rows, key=lambda change: change.id)

    # the life of a row

    def start(self, change: Change) -> None:
        change.state = State.RUNNING
        if self._puts.get(change.node) is change:
            del self._puts[change.node]

    def finish(self, change: Change, error: Exception | None = None) -> None:
        """The row is over: applied, or failed with nobody to try again."""
        change.error = error
        self._end(change, State.DONE if error is None else State.FAILED)

    def postpone(self, change: Change, error: Exception, delay: float) -> None:
        """The attempt failed; the row stays, for another one."""
        change.state, change.error = State.WAITING, error
        change.tries += 1
        change.due = trio.current_time() + delay
        change.turn.set()
        change.turn = trio.Event()
        self._queue(change)

    def cancel(self, change: Change) -> None:
        """Take back a row that is not running, or whose attempt just failed while a newer one waits to do its work."""
        if change.sealed is not None:
            if change.node.staged is change.sealed:
                change.sealed.thaw()
            change.sealed.drop()
            change.sealed = None
        self._end(change, State.CANCELLED)

    def _end(self, change: Change, state: State) -> None:
        change.state = state
        del self._rows[change.id]
        if self._puts.get(change.node) is change:
            del self._puts[change.node]
        change.node.pending -= 1
        self._moves -= change.kind is Kind.MOVE
        self._leave(change)
        change.turn.set()

    def rekey(self, old: str, new: str) -> None:
        """A directory has moved: what waits to be done below `old` will be done below `new`."""
        for change in self.under(old):
            if change.state is State.WAITING:
                self._leave(change)
                change.key = _moved(change.key, old, new)
                change.to = change.to and _moved(change.to, old, new)
                self._enter(change)

    # waiting

    async def wait(self, change: Change) -> None:
        """Until this row is over; raises its error."""
        self.hurry(change)
        await change.turn.wait()
        if change.error is not None:
            raise change.error

    async def settle(self, key: str, patience: float) -> None:
        """Until nothing is pending at or below `key`.

        A row that fails is waited for as long as its failure may pass and `patience` (seconds, from now) lasts; then its error is raised.
        """
        while rows := self.under(key):
            await self.finished(rows, patience)

    async def finished(self, rows: Sequence[Change], patience: float) -> None:
        """Until each of these rows is over, however many come after them; failures as in `settle`."""
        give_up = trio.current_time() + patience
        for change in rows:
            self.hurry(change)
        for change in rows:
            await self._outcome(change, give_up)

    async def _outcome(self, change: Change, give_up: float) -> None:
        while not change.finished:
            with trio.move_on_at(give_up if change.error is not None else float("inf")):
                await change.turn.wait()
            if not change.finished and change.error is not None and not (may_pass(change.error) and trio.current_time() < give_up):
                raise change.error
        if change.state is State.FAILED and change.error is not None:
            raise change.error

    def hurry(self, change: Change) -> None:
        """Start it as soon as its order allows, unless it has failed and waits for its next try."""
        for row in (change, *change.after):
            if not row.tries and row.state is State.WAITING:
                row.due = min(row.due, trio.current_time())
                self._queue(row)


def _waits(change: Change, earlier: Change) -> bool:
    """Whether the change must let the earlier one go first, given that their keys are related."""
    return change.kind is not Kind.MKDIR or any(f"{change.key}/".startswith(f"{key}/") for key in earlier.keys)


def _moved(key: str, old: str, new: str) -> str:
    return new + key[len(old) :] if key == old or key.startswith(old + "/") else key


def _discard(index: dict[str, set[Change]], key: str, change: Change) -> None:
    rows = index.get(key)
    if rows is not None:
        rows.discard(change)
        if not rows:
            del index[key]
