"""The journal: every change that the store does not have yet.

What it is: the life of each row (put, delete, move, mkdir, rmdir, annotate), and `settle`, the one way to wait for them.
What it is not: their order (`order`), the database (`ledger`), how a change is written down (`record`), or able to apply one (`worker` is).
Invariants:
- A node has at most one put that has not started: later closes fold into it.
- Whatever `commit` returned for survives the daemon's death (S7). Synchronous but for `settle` and its like: what is written between two
  awaits is seen at once by everybody, and committed together.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import trio

from storemount.errors import may_pass
from storemount.names.nodes import Node
from storemount.stores.base import Artifact
from storemount.writeback.change import Change, Kind, State
from storemount.writeback.discard import Discard, Pages
from storemount.writeback.order import Order, above
from storemount.writeback.staging import StagedFile

LATEST = 5.0
"""Seconds after which a put starts though its file is closed again and again."""


class Book(Pages, Protocol):
    """Where changes are written down."""

    def write(self, change: Change) -> None: ...

    def erase(self, change: Change) -> None: ...

    def commit(self) -> bool:
        """Whether there was something to write. Raises OSError (ENOSPC)."""
        ...


class Journal:
    """The unfinished changes. `wake` is called when one may have become ready."""

    def __init__(self, wake: Callable[[], None], book: Book, *, first: int = 1) -> None:
        self._order = Order(wake)
        self._book = book
        self._ids = itertools.count(first)
        self._rows: dict[int, Change] = {}
        self._puts: dict[Node, Change] = {}
        self._of: dict[Node, list[Change]] = {}
        self._moves: dict[int, Change] = {}
        self._discard = Discard(book)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Change]:
        return iter(list(self._rows.values()))

    def commit(self) -> bool:
        """What was changed until now survives the daemon's death; whether there was something. Raises OSError (ENOSPC)."""
        written = self._book.commit()
        self._discard.committed()
        return written

    def tidy(self) -> None:
        """Drop the files that nothing on the disk speaks of any more, not even after a power cut."""
        self._discard.tidy()

    def add(
        self,
        kind: Kind,
        node: Node,
        key: str,
        *,
        to: str | None = None,
        artifact: Artifact | None = None,
        hides: tuple[Node, str] | None = None,
        delay: float = 0.0,
    ) -> Change:
        """A new row, after everything that it depends on."""
        due = trio.current_time() + delay
        change = Change(next(self._ids), kind, key, node, due, to=to, artifact=artifact, hides=hides)
        self._register(change)
        return change

    def restore(self, change: Change) -> None:
        """A row that an earlier daemon wrote, under its own id; the oldest comes first."""
        change.doubtful = True
        self._register(change)

    def put(self, node: Node, staged: StagedFile, delay: float) -> Change:
        """The row that will send `staged` as it is now: the one of this node that has not started, or a new one."""
        change = self._puts.get(node)
        if change is None:
            change = self.add(Kind.PUT, node, node.key, delay=delay)
        elif change.state is State.REFUSED:
            self.retry(change)
        elif not change.tries and change.due > trio.current_time():
            change.due = min(trio.current_time() + delay, change.born + LATEST)
            self._order.queue(change)
        if change.synced and change.staged is not None:
            # Should the power go now, this is what there was: the newer promise is not safe yet.
            self._drop_safe(change)
            change.safe = change.staged, change.layers
        else:
            self._release(change)
        change.staged, change.synced = staged.hold(), False
        change.layers = change.made_of
        self._book.write(change)
        return change

    def rewritten(self, change: Change) -> None:
        """The staged file of this put is made up of other layers, which survive a power cut."""
        change.layers = change.made_of
        self.secured(change)
        self._book.write(change)

    def secured(self, change: Change) -> None:
        """What this put promised last survives a power cut."""
        change.synced = True
        self._drop_safe(change)
        self._forget_shelved(change)

    def release(self, files: Iterable[StagedFile]) -> None:
        """Drop these once the next commit, which is the first not to speak of them, survives a power cut."""
        self._discard.add(files)

    def _drop_safe(self, change: Change) -> None:
        if change.safe is not None:
            self._discard.add([change.safe[0]])
            change.safe = None

    def _forget_shelved(self, change: Change) -> None:
        while change.shelved:
            self._forget(change.shelved.pop())

    def _forget(self, change: Change) -> None:
        """Nothing of this row is needed any more."""
        self._book.erase(change)
        self._release(change)
        self._drop_safe(change)
        self._forget_shelved(change)
        while change.earlier:
            self._forget(change.earlier.pop())

    def _release(self, change: Change) -> None:
        if change.staged is not None:
            self._discard.add([change.staged])
            change.staged = None

    def follow(self, changes: Iterable[Change], pairs: Mapping[Artifact, Artifact]) -> None:
        """The store has the bytes of these artifacts as others now; rows that speak of them have to say so to whoever goes on with them."""
        for change in changes:
            if change.artifact is not None:
                change.artifact = pairs.get(change.artifact, change.artifact)
            self._book.write(change)

    def update(self, change: Change) -> None:
        """Something of this row has changed that has to be remembered."""
        self._book.write(change)

    # questions

    def origin(self, path: str) -> str:
        """Where the store has what the mount shows at or below this path of a directory: moves of directories are under way."""
        for change in reversed(self._moves.values()):
            if not change.moved and change.to is not None and (path == change.to or path.startswith(change.to + "/")):
                path = change.key + path[len(change.to) :]
        return path

    def moving(self, key: str) -> Change | None:
        """The move that is being applied just now from or to `key` or a directory that encloses it."""
        for folder in (key, *above(key)) if self._moves else ():
            for change in self._order.at(folder):
                if change.kind is Kind.MOVE and change.state is State.RUNNING:
                    return change
        return None

    def of(self, node: Node) -> list[Change]:
        """The unfinished rows of this node, oldest first."""
        return list(self._of.get(node, ()))

    def relocating(self, node: Node) -> list[Change]:
        """Changes that may have given the bytes of this node another place or version in the store, which we do not know: moves of it, or
        of a directory above it, and metadata of a file."""
        kinds = (Kind.MOVE,) if node.folder is not None else (Kind.MOVE, Kind.ANNOTATE)
        rows = [row for row in self.of(node) if row.kind in kinds]
        rows += self.moves_above(node.path) if node.attached else []
        return [row for row in rows if not row.moved and row.uncertain]

    def unmoved(self, change: Change) -> None:
        """This doubtful move of a directory has cleared nothing: all of it is under its old keys."""
        if change.doubtful:
            change.doubtful = False
            self._turn(change)

    async def attempted(self, rows: Sequence[Change], patience: float) -> None:
        """Until the next attempt at each of these rows has ended, well or not; for so many seconds at most."""
        with trio.move_on_after(patience):
            for row in rows:
                self.hurry(row)
                if not row.finished:
                    await row.turn.wait()

    def moves_above(self, path: str) -> list[Change]:
        """Unfinished moves that bring what is at `path` there, with a directory above it."""
        return [row for row in self._moves.values() if row.to is not None and path.startswith(row.to + "/")]

    def puts_of(self, node: Node) -> list[Change]:
        """The unfinished puts of this node, oldest first."""
        return [change for change in self._of.get(node, ()) if change.kind is Kind.PUT]

    def waiting_put(self, node: Node) -> Change | None:
        return self._puts.get(node)

    def supersedes(self, change: Change) -> bool:
        """Whether a put whose attempt has just failed need not be tried again: a newer one is there, or the file has no name any more."""
        newer = self._puts.get(change.node)
        if newer is not None:
            newer.doubtful = True
        return newer is not None or not change.node.attached

    def running_put(self, node: Node) -> Change | None:
        return next((change for change in self.puts_of(node) if change.state is State.RUNNING), None)

    def under(self, key: str) -> list[Change]:
        """The unfinished rows at or below `key`, oldest first."""
        rows = self._rows.values() if not key else self._order.under(key)
        return sorted(rows, key=lambda change: change.id)

    def at(self, key: str) -> list[Change]:
        """The unfinished rows of this very key, oldest first."""
        return sorted(self._order.at(key), key=lambda change: change.id)

    def next(self, *, puts: bool, only: Sequence[Kind] = tuple(Kind), early: bool = False) -> Change | float:
        """The next row of this lane that may start now, or the time at which there may be one. `only`: of these kinds; `early`: one that is
        not due yet will do."""
        return self._order.next(puts=puts, only=only, early=early)

    # the life of a row

    def _register(self, change: Change) -> None:
        self._rows[change.id] = change
        change.node.pending += 1
        self._of.setdefault(change.node, []).append(change)
        if change.kind is Kind.PUT and change.state is not State.RUNNING:
            self._puts[change.node] = change
        if change.kind is Kind.MOVE:
            self._moves[change.id] = change
        self._order.enter(change)
        self._book.write(change)

    def start(self, change: Change) -> None:
        change.state = State.RUNNING
        if self._puts.get(change.node) is change:
            del self._puts[change.node]

    def finish(self, changes: Iterable[Change]) -> None:
        """These rows are applied. They are committed as such, at the latest with the next change."""
        for change in changes:
            change.error = None
            self._end(change, State.DONE)

    def postpone(self, change: Change, error: Exception, delay: float) -> None:
        """The attempt failed; the row stays, for another one."""
        change.error = error
        change.tries += 1
        self._wait_again(change, delay)

    def park(self, change: Change) -> None:
        """It is too early for this row: somebody will say when it is not (`put`, `again`)."""
        self._wait_again(change, float("inf"))

    def again(self, change: Change) -> None:
        """Try this row now, whatever it waits for: its next attempt, or somebody to say so."""
        if change.state is State.REFUSED:
            self.retry(change)
        elif change.state is State.WAITING:
            change.due = trio.current_time()
            self._order.queue(change)

    def _wait_again(self, change: Change, delay: float) -> None:
        change.state = State.WAITING
        change.due = trio.current_time() + delay
        self._takes_closes(change)
        self._turn(change)
        self._order.queue(change)

    def _takes_closes(self, change: Change) -> None:
        """Later closes fold into this put again, unless there is a newer one."""
        newer = self._puts.get(change.node)
        if change.kind is Kind.PUT and (newer is None or newer.id < change.id):
            self._puts[change.node] = change

    def refuse(self, change: Change, error: Exception) -> None:
        """The store will not have it; it stays, and somebody may try it again."""
        change.error, change.state = error, State.REFUSED
        change.tries += 1
        self._takes_closes(change)
        self._book.write(change)
        self._turn(change)

    def retry(self, change: Change) -> None:
        """Try a refused row again, now."""
        if change.state is State.REFUSED:
            change.tries, change.error = 0, None
            self._wait_again(change, 0.0)
            self._book.write(change)

    def cancel(self, change: Change, by: Change | None = None) -> None:
        """Take back a row that is not running, or whose attempt just failed while a newer one waits to do its work.

        `by`: the put that makes it needless. Should the power go before the bytes of that one are on the disk, this is what there was; and
        an older put of the same file may be in the store already, where it must be known for ours."""
        if change.staged is not None and change.node.staged is change.staged:
            change.staged.thaw()
        if by is not None and change.kind is Kind.PUT and change.node is by.node:
            change.until = by
            by.earlier.append(change)
        elif by is not None and not by.synced:
            change.until = by
            by.shelved.append(change)
        self._end(change, State.CANCELLED)

    def _turn(self, change: Change) -> None:
        change.turn.set()
        change.turn = trio.Event()

    def _end(self, change: Change, state: State) -> None:
        change.state = state
        del self._rows[change.id]
        if self._puts.get(change.node) is change:
            del self._puts[change.node]
        self._of[change.node].remove(change)
        if not self._of[change.node]:
            del self._of[change.node]
        self._moves.pop(change.id, None)
        change.node.pending -= 1
        if change.until is None:
            self._forget(change)
        else:
            self._book.write(change)
        self._order.leave(change)
        change.turn.set()

    def rekey(self, change: Change, key: str) -> None:
        """A row that is not running gets another key, and comes after everything that is there now."""
        self._book.erase(change)
        self._order.leave(change)
        del self._rows[change.id]
        change.id, change.key = next(self._ids), key
        self._rows[change.id] = change
        self._order.enter(change)
        self._book.write(change)
        for other in (*change.shelved, *change.earlier):
            self._book.write(other)

    # waiting

    async def settle(self, key: str, patience: float) -> None:
        """Until nothing is pending at or below `key`.

        A row that fails is waited for as long as its failure may pass and `patience` (seconds, from now) lasts; then its error is raised.
        """
        while rows := self.under(key):
            await self.finished(rows, patience)

    async def finished(self, rows: Sequence[Change], patience: float) -> None:
        """Until each of these rows is over, however many come after them; failures as in `settle`."""
        give_up = trio.current_time() + patience
        self._hurry(rows)
        for change in rows:
            await self._outcome(change, give_up)

    async def _outcome(self, change: Change, give_up: float) -> None:
        while not change.finished:
            error = change.why_stuck
            if error is not None and not (may_pass(error) and trio.current_time() < give_up):
                raise error
            with trio.move_on_at(give_up if error is not None else float("inf")):
                await change.first.turn.wait()

    async def drained(self) -> None:
        """Until every row has gone, or those that are left were refused for good, or wait for such a row."""
        while waiting := [change for change in self if change.first.state is not State.REFUSED and change.first.due < float("inf")]:
            self._hurry(waiting)
            await waiting[0].first.turn.wait()

    def hurry_all(self) -> None:
        """Start everything that may start."""
        self._hurry(self)

    def hurry(self, change: Change) -> None:
        """Start it, and what it waits for, as soon as the order allows, unless it has failed and waits for its next try."""
        self._hurry([change])

    def _hurry(self, changes: Iterable[Change]) -> None:
        now = trio.current_time()
        waiting = list(changes)
        seen = set(waiting)
        while waiting:
            row = waiting.pop()
            waiting += row.after - seen
            seen |= row.after
            if not row.tries and row.state is State.WAITING and now < row.due < float("inf"):
                row.due = now
                self._order.queue(row)
