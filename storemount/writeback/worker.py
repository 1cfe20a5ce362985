"""The worker: takes the journal's rows in the order they allow, and applies them.

What it is: scheduling, limits and back-off.
What it is not: aware of what a row does; it is handed one function per kind.
Invariants: at most `uploads` puts and `NAMESPACE` other changes are in flight. A failed put is tried again, for ever, ever more
slowly (S16); any other change has somebody waiting for it, who is told of the first failure.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Mapping

import trio

from storemount.writeback.journal import Change, Journal, Kind

NAMESPACE = 32
FIRST_DELAY = 0.5
LONGEST_DELAY = 60.0

Apply = Callable[[Change], Awaitable[None]]

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
    """Applies rows with `appliers`, in a nursery of its own, until cancelled."""

    def __init__(self, journal: Journal, bell: Bell, appliers: Mapping[Kind, Apply], uploads: int) -> None:
        self._journal = journal
        self._bell = bell
        self._appliers = appliers
        self._room = {True: uploads, False: NAMESPACE}

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                next_due = self._start_ready(nursery)
                await self._bell.wait_until(next_due)

    def _start_ready(self, nursery: trio.Nursery) -> float:
        """Start what may start; when to look again."""
        next_due = float("inf")
        for puts in (True, False):
            while self._room[puts]:
                change = self._journal.next(puts=puts)
                if isinstance(change, float):
                    next_due = min(next_due, change)
                    break
                self._room[puts] -= 1
                self._journal.start(change)
                nursery.start_soon(self._apply, change, puts, name=f"{change.kind.value} {change.key}")
        return next_due

    async def _apply(self, change: Change, puts: bool) -> None:
        try:
            await self._appliers[change.kind](change)
        except Exception as error:
            self._failed(change, error)
        else:
            if change.tries:
                log.info("%s of %r succeeded after %d failures", change.kind.value, change.key, change.tries)
            self._journal.finish(change)
        finally:
            self._room[puts] += 1
            self._bell.ring()

    def _failed(self, change: Change, error: Exception) -> None:
        if change.kind is not Kind.PUT:
            self._journal.finish(change, error)
            return
        if self._journal.waiting_put(change.node) is not None:
            self._journal.cancel(change)
            return
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(change.tries, 10)) * random.uniform(0.5, 1.0)
        log.warning("upload of %r failed (%s: %s); it is kept, next try in %.1f s", change.key, type(error).__name__, error, delay)
        self._journal.postpone(change, error, delay)
