"""The worker: takes the journal's rows in the order they allow, and applies them.

What it is: scheduling, limits, back-off, and which removals go together.
What it is not: aware of what a row does; it is handed one function per kind.
Invariants:
- Nothing is done in the store before `secure` has let the row pass.
- At most `uploads` puts and `NAMESPACE` other requests are in flight.
- A change whose failure may pass is tried again, for ever, ever more slowly; one that the store refuses for good stays in the journal,
  and is left to somebody's `retry` (S16). Nothing is dropped.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

import trio

from storemount.errors import refused_for_good
from storemount.writeback.change import REMOVALS, Applied, Change, Kind
from storemount.writeback.journal import Journal

NAMESPACE = 32
REMOVED_AT_ONCE = 1000
"""Keys in one removal: what a bulk request of S3 takes."""

FIRST_DELAY = 0.5
LONGEST_DELAY = 60.0
Apply = Callable[[Change], Awaitable[Applied]]

Remove = Callable[[Sequence[Change]], Awaitable[None]]

log = logging.getLogger(__name__)


class Bell:
    """Wakes one sleeper; rung while nobody sleeps, the next sleep ends at once."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait_until(self, when: float) -> None:
        with trio.move_on_at(when):
            await self._event.wait()
        self._event = trio.Event()


class Worker:
    """Applies rows that `secure` has let pass, with `appliers`, removals with `remove`, in a nursery of its own, until cancelled.

    `may_start` is asked in the step in which a put starts; when it says no, somebody will say when (`Journal.again`). `failed` is told of
    every row that has to be tried again, by itself or by somebody's `retry`. `retries` counts the attempts that failed and are to be
    repeated by itself, `refusals` those that are not. finished, sent: how many rows have ended in the store, and the bytes of their files.
    """

    def __init__(
        self,
        journal: Journal,
        bell: Bell,
        secure: Callable[[Change], Awaitable[None]],
        appliers: Mapping[Kind, Apply],
        remove: Remove,
        may_start: Callable[[Change], bool],
        failed: Callable[[Change], None],
        uploads: int,
    ) -> None:
        self._journal = journal
        self._bell = bell
        self._secure = secure
        self._appliers = appliers
        self._remove = remove
        self._may_start = may_start
        self._on_failure = failed
        self._uploads = uploads
        self.retries = 0
        self.refusals = 0
        self._room = {True: uploads, False: NAMESPACE}
        self.finished = 0
        self.sent = 0

    def allow(self, uploads: int) -> None:
        """From now on so many puts at once; what is in flight beyond that comes to its end."""
        self._room[True] += uploads - self._uploads
        self._uploads = uploads
        self._bell.ring()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                next_due = self._start_ready(nursery)
                await self._bell.wait_until(next_due)

    def _start_ready(self, nursery: trio.Nursery) -> float:
        """Start what may start; when to look again."""
        next_due = float("inf")
        for puts in (True, False):
            while self._room[puts] > 0:
                change = self._journal.next(puts=puts)
                if isinstance(change, float):
                    next_due = min(next_due, change)
                    break
                if change.kind is Kind.PUT and not self._may_start(change):
                    self._journal.park(change)
                    continue
                self._room[puts] -= 1
                self._journal.start(change)
                if change.kind in REMOVALS:
                    nursery.start_soon(self._apply_removals, self._with_company(change), name=f"remove {change.key}")
                else:
                    nursery.start_soon(self._apply, change, puts, name=f"{change.kind.value} {change.key}")
        return next_due

    def _with_company(self, change: Change) -> list[Change]:
        """This removal, and those that may go with it in one request, due or not: `rm -rf` costs one for as many as come in a delay."""
        together = [change]
        while len(together) < REMOVED_AT_ONCE:
            other = self._journal.next(puts=False, only=REMOVALS, early=True)
            if isinstance(other, float):
                break
            self._journal.start(other)
            together.append(other)
        return together

    async def _apply(self, change: Change, puts: bool) -> None:
        try:
            await self._secure(change)
            came = await self._appliers[change.kind](change)
        except Exception as error:
            self._failed(change, error)
        else:
            self._go_on(change, came)
        finally:
            self._room[puts] += 1
            self._bell.ring()

    def _go_on(self, change: Change, came: Applied) -> None:
        if came is Applied.DONE:
            self._finish([change])
            return
        self._journal.park(change)
        self._journal.again(change)
        self._commit()

    async def _apply_removals(self, changes: list[Change]) -> None:
        try:
            for change in changes:
                await self._secure(change)
            await self._remove(changes)
        except Exception as error:
            if len(changes) == 1 or not refused_for_good(error):
                for change in changes:
                    self._failed(change, error)
            else:
                # One of them was refused; each is asked for by itself, so that only that one stays.
                for change in changes:
                    await self._remove_alone(change)
        else:
            self._finish(changes)
        finally:
            self._room[False] += 1
            self._bell.ring()

    async def _remove_alone(self, change: Change) -> None:
        try:
            await self._remove([change])
        except Exception as error:
            self._failed(change, error)
        else:
            self._finish([change])

    def _finish(self, changes: Sequence[Change]) -> None:
        self.finished += len(changes)
        self.sent += sum(change.staged.size for change in changes if change.staged is not None)
        for change in changes:
            if change.tries:
                log.info("%s of %r succeeded after %d failures", change.kind.value, change.key, change.tries)
        self._journal.finish(changes)
        self._commit()

    def _commit(self) -> None:
        """A full disk keeps nobody from going on: what could not be written is written with the next commit."""
        try:
            self._journal.commit()
        except OSError as error:
            log.error("%s", error)

    def _failed(self, change: Change, error: Exception) -> None:
        if change.kind is Kind.PUT and self._journal.supersedes(change):
            self._journal.cancel(change, by=self._journal.waiting_put(change.node))
        elif refused_for_good(error):
            log.error("%s of %r was refused (%s: %s); it is kept, see: storemount status", *_named(change), type(error).__name__, error)
            self.refusals += 1
            self._journal.refuse(change, error)
            self._tell(change)
        else:
            delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(change.tries, 10)) * random.uniform(0.5, 1.0)
            what = ("upload", change.key) if change.kind is Kind.PUT else _named(change)
            log.warning("%s of %r failed (%s: %s); it is kept, next try in %.1f s", *what, type(error).__name__, error, delay)
            self.retries += 1
            self._journal.postpone(change, error, delay)
            self._tell(change)
        self._commit()

    def _tell(self, change: Change) -> None:
        """What was refused, and cannot be set aside, is safe where it is."""
        try:
            self._on_failure(change)
        except OSError as error:
            log.error("%s of %r stays where it was staged: %s", *_named(change), error)


def _named(change: Change) -> tuple[str, str]:
    return change.kind.value, change.key
