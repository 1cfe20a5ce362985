"""Room: how much of the disk staged files may have (S15).

What it is: the bytes that are staged, the cap on them, the room that is left alone on the disk, and the wait of a write that finds none.
What it is not: an eviction: what is staged is never given up, so only uploads make room.
Invariants: the disk cache is under the same cap, and gives way before a write has to wait for an upload. A write waits for a bounded time,
then hears ENOSPC, before the disk itself is full. The first half of the cap is for whoever comes first, the second for one file at a time:
where many are written at once and none could be finished, one of them always can, and then the next; a file of up to half the cap always
gets through, however many others are being written. An upload that has to bring the rest of a file from the store goes over the cap, as it
is what makes room, but does not fill the disk: the journal needs some of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from storemount.config import MIB
from storemount.disk import Budget, spare
from storemount.errors import NoSpace

LOOKED_AT = 32 * MIB
"""Bytes that may be staged between two looks at the disk; and seconds, below."""
LOOKED_AFTER = 1.0

AGAIN = 0.5
"""Seconds until a waiting write looks at the disk again: others make room there, too."""


IDLE = 1.0
"""Seconds without a write after which a file that is still open has lost its turn at the second half of the cap."""


class Room:
    """On the file system of `folder`. `patience`: seconds that a write may wait. `hurry`: called when there is a wait, to have uploads
    start. `give_way`: has others on this disk do without, and says whether one did."""

    def __init__(
        self, folder: Path, budget: Budget, patience: float, hurry: Callable[[], None], give_way: Callable[[], Awaitable[bool]]
    ) -> None:
        self._budget = budget
        self._folder = folder
        self._patience = patience
        self._hurry = hurry
        self._give_way = give_way
        self._left = 0
        self._looked = -LOOKED_AFTER
        self._given = trio.Event()
        self._turn: object = None
        self._turn_until = 0.0

    @property
    def taken(self) -> int:
        """Bytes that are staged."""
        return self._budget.staged

    def take(self, count: int) -> None:
        self._budget.staged += count
        self._left -= count

    def give(self, count: int) -> None:
        self._budget.staged -= count
        self._left += count
        self._given.set()

    def finished(self, file: object) -> None:
        """This file is not written any more; if it had its turn, it is the next one's."""
        if self._turn is file:
            self._turn = None
            self._given.set()

    def fits(self, count: int, file: object) -> bool:
        """Whether so many bytes more of this file may be staged."""
        cap, wanted = self._budget.cap, self._budget.staged + self._budget.cached + count
        return (cap is None or wanted <= cap // 2 or (wanted <= cap and self._has_turn(file))) and self.bears(count)

    def _has_turn(self, file: object) -> bool:
        now = trio.current_time()
        if self._turn not in (None, file) and now < self._turn_until:
            return False
        self._turn, self._turn_until = file, now + IDLE
        return True

    def bears(self, count: int) -> bool:
        """Whether the disk has so many bytes, whatever the cap says."""
        if self._left < count or trio.current_time() > self._looked + LOOKED_AFTER:
            self._look()
        return self._left >= count

    def _look(self) -> None:
        self._looked = trio.current_time()
        self._left = min(spare(self._folder), LOOKED_AT)

    async def wait(self, count: int, file: object) -> None:
        """Until so many bytes more of this file fit. Raises NoSpace after `patience`."""
        with trio.move_on_after(self._patience) as limit:
            while not self.fits(count, file):
                self._hurry()
                if await self._give_way():
                    self._look()
                    continue
                if self._given.is_set():
                    self._given = trio.Event()
                with trio.move_on_after(AGAIN):
                    await self._given.wait()
        if limit.cancelled_caught:
            raise NoSpace(f"{self._folder} has no room for more staged files, and uploads make none")
