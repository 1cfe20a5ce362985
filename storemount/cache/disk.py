"""DiskCache: blocks that persist across restarts and reboots, shared by all mounts of one user.

What it is: the way from a missing block to the store, past the disk; what is brought is kept, and what is kept too long goes.
What it is not: on the way of a block that is in memory (`blocks`), the format of its files (`blockfile`), or aware of names.
Invariants:
- What comes off the disk is what the store gave, or it is not taken: checksums decide, so nothing is ever synced but by hand.
- It stays under its size and under the mount's cap for the disk, and leaves the disk's floor alone (S15); for a write that waits for room
  it gives way. What is pinned (its file is read-only) never goes, and is made whole again when it is found damaged.
- It never fails a read: a disk that is full, or broken, or another user's, costs a line in the log, and the store is asked.
- Nothing waits for its writes; what comes faster than the disk is not kept.
- The loop waits for the disk in no call: what the kernel does not have at hand is a thread's.
- A version that tells nothing (the store has neither tags nor times) may be any bytes, and is not kept.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import trio

from storemount.cache.blockfile import Buffer, Span, read
from storemount.cache.blocks import LARGEST, SIZES, Fetch
from storemount.cache.shelf import Shelf
from storemount.config import MIB
from storemount.disk import Budget, spare, sync_file_system
from storemount.errors import Corrupt, NoSpace, Unsupported
from storemount.stores.base import Artifact
from storemount.stores.parallel import for_each

MOST_WRITING = 64 * MIB
"""Bytes of blocks that are being written; what comes beyond is not kept."""

BRINGING = 8
"""Blocks that are brought at once by what warms files, each of them in memory meanwhile."""

MARGIN = 32 * MIB
"""Left to staged files between two looks, of the cap and of the disk."""

LOOK = 1.0
"""Seconds between two looks at the limit."""

COUNT = 60.0
COUNT_SHARE = 10
"""What other mounts do is seen by counting all files: after so many seconds, or when a tenth of `size` was written here."""

ROOM_SHARE = 10
"""A tenth of the limit is made free when a block had no room."""

RESPITE = 60.0
"""Seconds without a write after one has failed."""

FRUITLESS = 10.0
"""Seconds for which nobody looks for what could go after nothing could."""

USED = 60.0
"""Seconds for which a use of a block need not be noted again."""

NONE, UNREAD, UNWRITTEN = "there is no disk cache in {}", "the disk cache in {} cannot be read", "the disk cache in {} cannot be written"
UNTRIMMED = "the disk cache in {} cannot be trimmed"

log = logging.getLogger(__name__)


class DiskCache:
    """Over `fetch`, for the store that `store` names, in `folder`. `size`: bytes at most. `nursery`: where blocks are written. The
    caller runs `run`."""

    def __init__(self, fetch: Fetch, store: str, folder: Path, size: int, budget: Budget, nursery: trio.Nursery) -> None:
        self._fetch = fetch
        self._store = store
        self._shelf = Shelf(folder)
        self._budget = budget
        self._nursery = nursery
        self._writing = 0
        self._written = 0
        # One at a time: several take the processor from what is read (350 against 500 MiB/s cold, the S3 server on the same two cores).
        self._writers = trio.CapacityLimiter(1)
        self._bringing = trio.CapacityLimiter(BRINGING)
        self._used: set[Span] = set()
        self._trouble = False
        self._lacking = 0
        self._rest_until = -RESPITE
        self._looking = trio.Lock()
        self._counted_at = -COUNT
        self._counted_with = 0
        self._nothing_goes_until = -FRUITLESS
        self._disk_has = size
        self._ours = False
        self.size = size
        self.hits = 0
        self.misses = 0
        try:
            self._shelf.claim()
            self._ours = True
        except OSError as error:
            self._fails(NONE, error)

    @property
    def held(self) -> int:
        """Bytes on the disk, of all stores."""
        return self._budget.cached

    def keeps(self, size: int) -> bool:
        """Whether a file of so many bytes would stay, as far as the last look goes: it may have half of what there may be."""
        return size <= self._limit() // 2

    # reading

    async def fetch(self, artifact: Artifact, start: int, stop: int) -> Buffer:
        """The bytes [start, stop): from the disk, else from the store, and then kept. Raises what the store raises."""
        if not artifact.version:
            return await self._fetch(artifact, start, stop)
        span = Span(self._store, artifact, start, stop)
        data, torn = await self._load(span)
        if data is not None:
            self.hits += 1
            return data
        self.misses += 1
        wanted = torn or span
        fetched = await self._fetch(artifact, wanted.start, wanted.stop)
        self._keep(wanted, fetched, pinned=torn is not None)
        return memoryview(fetched)[start - wanted.start : stop - wanted.start]

    async def _load(self, wanted: Span) -> tuple[Buffer | None, Span | None]:
        """The bytes, if they are there; the damaged block that is pinned, if there is one in their place."""
        if not self._ours:
            return None, None
        spans = self._spans(wanted)
        try:
            while (found := await self._opened(spans)) is not None:
                span, fd = found
                try:
                    data = await read(fd, span, wanted.start, wanted.stop)
                    if data is not None:
                        self._note_use(span, fd)
                        return data, None
                    log.warning("a block of %r on the disk is damaged; it is fetched again", span.artifact.key)
                    if self._shelf.pinned(fd):
                        return None, span
                finally:
                    os.close(fd)
                await self._remove([span])
        except OSError as error:
            self._fails(UNREAD, error)
        return None, None

    async def _opened(self, spans: Iterator[Span]) -> tuple[Span, int] | None:
        """The next of the blocks that is there, and its descriptor."""
        for span in spans:
            try:
                return span, self._shelf.open_cached(span)
            except FileNotFoundError:
                continue
            except OSError:
                return await trio.to_thread.run_sync(self._shelf.first, itertools.chain([span], spans))
        return None

    def _spans(self, wanted: Span) -> Iterator[Span]:
        """The blocks that may hold these bytes, the largest first: it answers for all that lie in it, also that it is not there (the kernel
        remembers that, and only the first who asks goes to a thread)."""
        for size in SIZES:
            first = wanted.start // size * size
            last = min(first + size, wanted.artifact.size)
            if wanted.stop <= last and (first, last) != (wanted.start, wanted.stop):
                yield Span(self._store, wanted.artifact, first, last)
        yield wanted

    def _note_use(self, span: Span, fd: int) -> None:
        if self._shelf.is_old(fd, USED):
            self._used.add(span)

    # keeping

    def _keep(self, span: Span, data: Buffer, *, pinned: bool) -> None:
        """Write it, unless the disk is behind, or has no room. What is pinned has its room."""
        length = len(data)
        if length != span.stop - span.start or self._writing + length > MOST_WRITING or trio.current_time() < self._rest_until:
            return
        if not pinned and self.held + self._writing + length > self._limit():
            self._lacking = max(self._lacking, length)
        else:
            self._writing += length
            self._nursery.start_soon(partial(self._write, span, data, pinned=pinned), name=f"keep {span.artifact.key} {span.start}")

    async def _write(self, span: Span, data: Buffer, *, pinned: bool) -> None:
        try:
            await self._put(span, data, pinned=pinned)
            self._trouble = False
        except OSError as error:
            self._fails(UNWRITTEN, error)
        finally:
            self._writing -= len(data)

    async def _put(self, span: Span, data: Buffer, *, pinned: bool) -> None:
        count = await trio.to_thread.run_sync(partial(self._shelf.put, span, data, pinned=pinned), limiter=self._writers)
        self._written += count
        self._budget.cached += count

    async def _remove(self, spans: Iterator[Span] | list[Span]) -> None:
        count = await trio.to_thread.run_sync(self._shelf.remove, spans)
        self._budget.cached = max(0, self._budget.cached - count)

    def _fails(self, what: str, error: OSError) -> None:
        """One line, until it goes well again."""
        if not self._trouble:
            log.warning("%s: %s; the store is asked instead", what.format(self._shelf.folder), error)
        self._trouble = True
        if trio.current_time() >= self._rest_until:
            self._rest_until = trio.current_time() + RESPITE

    # giving way

    def _limit(self) -> int:
        """Bytes that it may have now, as far as the last look goes."""
        if not self._ours:
            return 0
        cap = self._budget.cap
        under_cap = self.size if cap is None else cap // 2 - self._budget.staged - min(MARGIN, cap // 8)
        return max(0, min(self.size, under_cap, self._disk_has))

    async def run(self) -> None:
        """Note what is used, count what there is, and stay under the limit, until cancelled."""
        while True:
            try:
                await self._note_uses()
            except OSError as error:
                self._fails(UNWRITTEN, error)
            if self._count_is_old():
                await self._count()
            # Room for what comes next: what was not used for longest goes before it.
            lacking, self._lacking = self._lacking, 0
            await self.give_way(max(lacking, min(MOST_WRITING, self._limit() // ROOM_SHARE)) if lacking else 0)
            await trio.sleep(LOOK)

    async def _note_uses(self) -> None:
        used, self._used = self._used, set()
        if used:
            await trio.to_thread.run_sync(self._shelf.touch, used)

    def _count_is_old(self) -> bool:
        now = trio.current_time()
        much = self._written - self._counted_with > self.size // COUNT_SHARE
        return now >= self._rest_until and (much or now >= self._counted_at + COUNT)

    async def _count(self) -> None:
        """Also of a folder that was not there, or not ours, and now is."""
        self._counted_at = trio.current_time()
        try:
            await trio.to_thread.run_sync(self._shelf.claim)
            self._ours = True
            await self._learn(self._shelf.count)
        except OSError as error:
            self._ours = False
            self._fails(NONE, error)

    async def _learn(self, work: Callable[[], int]) -> None:
        """How much there is, as `work` finds it; what is written meanwhile counts, whether `work` saw it or not."""
        written = self._written
        there = await trio.to_thread.run_sync(work)
        self._budget.cached = there + self._written - written
        self._counted_with = written

    async def give_way(self, wanted: int = 0) -> bool:
        """Have it stay under its limit, as that is now, with room for `wanted` bytes; whether something went."""
        before = self.held
        try:
            async with self._looking:
                await self._look(wanted)
        except OSError as error:
            self._fails(UNTRIMMED, error)
        return self.held < before

    async def _look(self, wanted: int) -> None:
        if not self._ours:
            return
        room = await trio.to_thread.run_sync(spare, self._shelf.folder)
        self._disk_has = self.held + room - MARGIN
        limit = max(0, self._limit() - wanted)
        if self.held <= limit or trio.current_time() < self._nothing_goes_until:
            return
        before = self.held
        await self._learn(partial(self._shelf.trim, limit))
        if self.held >= before:
            self._nothing_goes_until = trio.current_time() + FRUITLESS

    # by hand

    async def have(self, artifact: Artifact, *, pinned: bool, came: Callable[[int], None] = lambda size: None) -> None:
        """Have all of this version on the disk; `pinned`: for good. `came` hears how many bytes more are there. Raises what the store
        raises, OSError, NoSpace (its limit does not allow for it), and Unsupported (the version tells nothing)."""
        if not artifact.version:
            raise Unsupported(f"{artifact.key}: its store tells no version of it, so it cannot be kept")

        async def block(start: int) -> None:
            span = Span(self._store, artifact, start, min(start + LARGEST, artifact.size))
            async with self._bringing:
                if pinned:
                    await trio.to_thread.run_sync(self._shelf.pin, span)
                data, _ = await self._load(span)
                if data is None:
                    await self._bring(span, pinned=pinned)
            came(span.stop - span.start)

        await for_each(range(0, artifact.size, LARGEST), BRINGING, block)

    async def _bring(self, span: Span, *, pinned: bool) -> None:
        data = await self._fetch(span.artifact, span.start, span.stop)
        length = span.stop - span.start
        if len(data) != length:
            raise Corrupt(f"{span.artifact.key}: {len(data)} bytes came for {length} at {span.start}")
        if self.held + length > self._limit():
            await self.give_way(length)
        if self.held + length > (limit := self._limit()):
            raise NoSpace(f"{self._shelf.folder} may not hold more than {limit} bytes, and what it has is pinned, or needed")
        await self._put(span, data, pinned=pinned)

    async def has(self, artifact: Artifact) -> bool:
        """Whether all of this version is there, as far as names go."""
        return await trio.to_thread.run_sync(lambda: all(map(self._shelf.has, self._all(artifact, SIZES[:1]))))

    async def drop(self, artifact: Artifact) -> None:
        """Take this version off the disk. Raises OSError."""
        await self._remove(self._all(artifact, SIZES))

    async def unpin(self, artifact: Artifact) -> None:
        """What is there of this version may go when there is need. Raises OSError."""
        await trio.to_thread.run_sync(self._shelf.unpin, self._all(artifact, SIZES[:1]))
        self._nothing_goes_until = -FRUITLESS

    async def sync(self) -> None:
        """Have what is there survive a power cut. Raises OSError."""
        await trio.to_thread.run_sync(sync_file_system, self._shelf.folder)

    def _all(self, artifact: Artifact, sizes: tuple[int, ...]) -> Iterator[Span]:
        for size in sizes:
            for start in range(0, artifact.size, size):
                yield Span(self._store, artifact, start, min(start + size, artifact.size))
