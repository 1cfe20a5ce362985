"""BlockCache: an LRU of immutable blocks in memory; one fetch however many wait.

What it is: the way from (artifact, offset, size) to bytes, for stores on a network.
What it is not: a policy of what to fetch next (`readahead`), or a persistent tier.
Invariants:
- A block belongs to one artifact, one version of one object, so it is never invalidated, only evicted.
- Blocks that are held and blocks on their way stay under `capacity` together, in bytes and for the whole mount (S15).
- A hit takes no checkpoint and no lock. A failed fetch reaches everybody who waits for it and is not cached.
- Blocks come in three sizes, each aligned to itself; bytes may be held at more than one size. A file of at most the largest
  size is one block.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio
from cachetools import LRUCache

from storemount.config import KIB, MIB
from storemount.errors import Corrupt
from storemount.stores.base import Artifact

SIZES = (4 * MIB, MIB, 128 * KIB)
LARGEST = SIZES[0]
SMALLEST = SIZES[-1]

Buffer = bytes | bytearray | memoryview
Fetch = Callable[[Artifact, int, int], Awaitable[Buffer]]


@dataclass(frozen=True, slots=True)
class Block:
    """Which bytes: block `number` of `size` bytes of an artifact."""

    artifact: Artifact
    size: int
    number: int

    @property
    def start(self) -> int:
        return self.size * self.number

    @property
    def stop(self) -> int:
        return min(self.start + self.size, self.artifact.size)


@dataclass(slots=True, eq=False)
class _Arrival:
    """A block on its way: its bytes or its error, and the event that says which."""

    landed: trio.Event = field(default_factory=trio.Event)
    data: memoryview | None = None
    error: Exception | None = None


class BlockCache:
    """Blocks by (artifact, size, number).

    fetch: reads exactly [start, stop) of an artifact. capacity: bytes, a quarter of it for blocks on their way. nursery: where fetches
    live, so that a reader who gives up disturbs nobody. `hits`: reads that found all they asked for; `misses`: those that had to wait.
    """

    def __init__(self, fetch: Fetch, capacity: int, nursery: trio.Nursery) -> None:
        self._fetch = fetch
        self._nursery = nursery
        self.capacity = max(capacity, 4 * LARGEST)
        self._flight = self.capacity // 4
        self._blocks: LRUCache[Block, memoryview] = LRUCache(self.capacity - self._flight, getsizeof=lambda block: block.nbytes)
        self._arriving: dict[Block, _Arrival] = {}
        self._flying = 0
        self._landed = trio.Event()
        self.hits = 0
        self.misses = 0

    def resize(self, capacity: int) -> None:
        """Another cap; what is over it goes at once, the oldest first."""
        self.capacity = max(capacity, 4 * LARGEST)
        self._flight = self.capacity // 4
        kept = LRUCache[Block, memoryview](self.capacity - self._flight, getsizeof=lambda block: block.nbytes)
        for block, data in self._blocks.items():
            kept[block] = data
        self._blocks = kept

    @property
    def held(self) -> int:
        """Bytes in the cache."""
        return int(self._blocks.currsize)

    @property
    def room_ahead(self) -> int:
        """How many bytes may still be fetched before somebody asked for them."""
        return max(0, self._flight - self._flying)

    def take(self, artifact: Artifact, start: int, stop: int) -> memoryview | None:
        """The bytes [start, stop) when they lie in one block that is here; None otherwise. Never waits."""
        for size in SIZES:
            number, last = start // size, (stop - 1) // size
            if number == last:
                block = self._blocks.get(Block(artifact, size, number))
                if block is not None:
                    self.hits += 1
                    return block[start - number * size : stop - number * size]
        return None

    async def read(self, artifact: Artifact, start: int, stop: int, size: int) -> Buffer:
        """The bytes [start, stop), fetching what is missing in blocks of `size` (one of SIZES). Raises what the fetch raised."""
        parts = []
        waited = False
        while start < stop:
            block = self._here(artifact, start) or Block(artifact, size, start // size)
            end = min(stop, block.stop)
            data = self._blocks.get(block)
            if data is None:
                waited = True
                data = await self._wait(self._arrival(block))
            parts.append(data[start - block.start : end - block.start])
            start = end
        self.hits += not waited
        self.misses += waited
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _here(self, artifact: Artifact, offset: int) -> Block | None:
        """The largest block at this offset that is held or on its way."""
        for size in SIZES:
            block = Block(artifact, size, offset // size)
            if block in self._blocks or block in self._arriving:
                return block
        return None

    def set_out(self, artifact: Artifact, size: int, number: int) -> None:
        """Have this block brought, unless it is held or on its way (read-ahead)."""
        if self._here(artifact, size * number) is None:
            self._arrival(Block(artifact, size, number))

    def _arrival(self, block: Block) -> _Arrival:
        """Set the block on its way, or join those who wait for it."""
        arrival = self._arriving.get(block)
        if arrival is None:
            arrival = self._arriving[block] = _Arrival()
            self._nursery.start_soon(self._bring, block, arrival, name=f"fetch {block.artifact.key} {block.start}")
        return arrival

    async def _wait(self, arrival: _Arrival) -> memoryview:
        await arrival.landed.wait()
        if arrival.error is not None:
            raise arrival.error
        assert arrival.data is not None
        return arrival.data

    async def _bring(self, block: Block, arrival: _Arrival) -> None:
        length = block.stop - block.start
        while self._flying and self._flying + length > self._flight:
            await self._landed.wait()
        self._flying += length
        try:
            data = memoryview(await self._fetch(block.artifact, block.start, block.stop))
            if data.nbytes != length:
                raise Corrupt(f"{block.artifact.key}: {data.nbytes} bytes came for {length} at {block.start}")
            arrival.data = self._blocks[block] = data
        except Exception as error:
            arrival.error = error
        finally:
            self._flying -= length
            self._landed.set()
            self._landed = trio.Event()
            del self._arriving[block]
            if arrival.data is None and arrival.error is None:
                arrival.error = Corrupt(f"{block.artifact.key}: the mount is stopping")
            arrival.landed.set()
