"""Window: where a file has been read -> what to fetch, and what to fetch ahead.

What it is: arithmetic over offsets, one window per inode (programs that share a descriptor, or read one file from many, are one stream).
What it is not: I/O; it names blocks, and somebody else brings them.
Invariants: a random read asks for the smallest block, until there have been many for the file's size and a cache that can hold it; a
sequential stream doubles what it asks ahead, up to `MAX_AHEAD`.
Kernel read-ahead sends its requests out of order, so "sequential" means: within `SLACK` of where one of the last reads ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from storemount.cache.blocks import LARGEST, SIZES, SMALLEST
from storemount.config import MIB

SLACK = MIB
MAX_AHEAD = 64 * MIB
FIRST_AHEAD = 2 * MIB
STREAMS = 4

DENSE = 8 * MIB
"""When random reads have come to one for every so many bytes of a file, the rest of it will be wanted too: it comes in the background,
in the largest blocks, a few with each read (measured at 20 ms from the store: 570 reads a second instead of 92)."""


class Window:
    """The streams of an inode; `size` is the artifact's, in bytes. `in_memory`, `on_disk`: whether that cache could hold it all."""

    def __init__(self, size: int, *, in_memory: bool = True, on_disk: bool = False) -> None:
        self._size = size
        self._in_memory = in_memory
        self._fits = in_memory or on_disk
        self._ends: deque[int] = deque(maxlen=STREAMS)
        self._ahead = 0
        self._frontier = 0
        self._jumps = 0
        self._whole = 0

    @property
    def _dense(self) -> bool:
        return self._fits and self._jumps * DENSE >= self._size

    def note(self, start: int, stop: int) -> int:
        """A read of [start, stop) came: the block size to fetch it with."""
        sequential = self._advance(start, stop)
        if self._size <= LARGEST:
            return LARGEST
        if not sequential:
            self._jumps += 1
            # From the disk, little is read at a time: memory would keep little of what is large.
            return LARGEST if self._dense and self._in_memory else SMALLEST
        return LARGEST if self._ahead >= 2 * LARGEST and start % LARGEST < SLACK else SIZES[1]

    def _advance(self, start: int, stop: int) -> bool:
        for index, end in enumerate(self._ends):
            if end - SLACK <= start <= end + SLACK:
                self._ends[index] = max(end, stop)
                if stop > end:
                    self._ahead = min(MAX_AHEAD, max(FIRST_AHEAD, self._ahead + (stop - end) * 2))
                return True
        self._ends.append(stop)
        if len(self._ends) == 1 and start == 0:
            return True
        self._ahead //= 2
        return False

    def ahead(self, stop: int, room: int) -> Iterator[tuple[int, int]]:
        """The (size, number) of the blocks to set on their way after a read that ended at `stop`, at most `room` bytes of them."""
        if self._jumps and self._dense:
            while self._whole * LARGEST < self._size and room >= LARGEST:
                room -= LARGEST
                self._whole += 1
                yield LARGEST, self._whole - 1
        if not self._ahead:
            return
        until = min(self._size, stop + self._ahead)
        offset = self._frontier if stop <= self._frontier <= until + LARGEST else stop
        while offset < until:
            size = LARGEST if self._ahead >= 2 * LARGEST and offset % LARGEST == 0 else SIZES[1]
            number = offset // size
            length = min(size, self._size - number * size)
            if length > room:
                return
            room -= length
            yield size, number
            offset = number * size + size
            self._frontier = offset
