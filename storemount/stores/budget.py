"""ByteBudget: how many bytes may be on their way to a store at once.

What it is: what keeps the memory of parallel uploads bounded (S15), whatever their number and size.
What it is not: a limit on requests (a thread limiter and the client's connection pool are).
Invariants: never more than `total` is held; whoever asked first is served first, so a large upload is not starved by small ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class ByteBudget:
    """`total` bytes that uploads share."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._turn = trio.Lock()  # fair: its holder is the first in line
        self._returned = trio.Event()

    @asynccontextmanager
    async def hold(self, count: int) -> AsyncIterator[None]:
        """Wait for `count` bytes and have them inside the block; more than the total counts as the total."""
        count = min(count, self._total)
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
