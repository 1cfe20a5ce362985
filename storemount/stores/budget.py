"""Uploads: how many bytes may be on their way to a store at once.

What it is: what keeps the memory of parallel uploads bounded (S15), whatever their number and size.
What it is not: a limit on requests (a thread limiter and the client's connection pool are).
Invariants: never more than a budget's `total` is held; whoever asked first is served first, so a large upload is not starved by small
ones. A write that is one request never waits for one in parts, which takes as long as its file is large. While one waits, its deadline
does not come nearer (S14).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext

import trio

from storemount.config import MIB
from storemount.stores.base import Source
from storemount.stores.parts import SINGLE_PUT

SINGLE_BYTES = 24 * MIB
PARTS_BYTES = 40 * MIB
"""What the uploads of one store may hold in memory: those of one request, and those in parts (one of them at a time)."""


class ByteBudget:
    """`total` bytes that uploads share."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._turn = trio.Lock()  # fair: its holder is the first in line
        self._returned = trio.Event()

    @asynccontextmanager
    async def hold(self, count: int, waiting: Callable[[], AbstractContextManager[object]] = nullcontext) -> AsyncIterator[None]:
        """Wait for `count` bytes (within `waiting`) and have them inside the block; more than the total counts as the total."""
        count = min(count, self._total)
        with waiting():
            async with self._turn:
                while self._free < count:
                    await self._returned.wait()
                self._free -= count
        try:
            yield
        finally:
            self._free += count
            self._returned.set()
            self._returned = trio.Event()


class Uploads:
    """Of one store, whichever of its engines makes them."""

    def __init__(self) -> None:
        self._single = ByteBudget(SINGLE_BYTES)
        self._parts = ByteBudget(PARTS_BYTES)

    def hold(self, source: Source, count: int) -> AbstractAsyncContextManager[None]:
        """Wait until the write of `source` may hold `count` bytes, and have them inside the block."""
        return (self._single if source.size <= SINGLE_PUT else self._parts).hold(count, source.waiting)
