"""Staged files: where writes land until the store has them.

What it is: a sparse temporary file with a map of what is in it, over an optional base from which the rest is fetched on demand.
What it is not: aware of stores, names or uploads.
Invariants:
- Every byte of [0, size) is either present in the file, or beyond `base_size` (and then zero), or equal to the base's byte.
- A frozen file never changes again: an upload reads it, and later writes go to a new layer that has it as its base.
- The file is closed and removed when the last holder lets go.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import trio

from storemount.cache.pages import read_file
from storemount.config import MIB

FILL_STEP = 8 * MIB
Buffer = bytes | bytearray | memoryview


class Base(Protocol):
    """The bytes under a staged file."""

    @property
    def size(self) -> int: ...

    async def fetch(self, start: int, stop: int) -> Buffer:
        """Exactly the bytes [start, stop)."""
        ...

    def drop(self) -> None:
        """The staged file needs this base no more."""
        ...


class Extents:
    """A set of byte ranges, kept sorted, disjoint and merged."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, stop: int) -> None:
        if start >= stop:
            return
        if self._stops and self._starts[-1] <= start <= self._stops[-1]:
            self._stops[-1] = max(self._stops[-1], stop)
            return
        first = bisect.bisect_left(self._stops, start)
        last = bisect.bisect_right(self._starts, stop)
        if first < last:
            start, stop = min(start, self._starts[first]), max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def cut(self, size: int) -> None:
        """Forget everything from `size` on."""
        last = bisect.bisect_left(self._starts, size)
        del self._starts[last:], self._stops[last:]
        if self._stops and self._stops[-1] > size:
            self._stops[-1] = size

    def gaps(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The parts of [start, stop) that are not in the set."""
        index = bisect.bisect_right(self._stops, start)
        while start < stop:
            if index >= len(self._starts) or self._starts[index] >= stop:
                yield start, stop
                return
            if self._starts[index] > start:
                yield start, self._starts[index]
            start = self._stops[index]
            index += 1


class StagedFile:
    """One staged file. The maker holds it once."""

    def __init__(self, path: str, base: Base | None = None) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.size = 0
        self.frozen = False
        self.flushed = False
        self._present = Extents()
        self._base = base
        self._base_size = 0
        self._holders = 1
        if base is not None and base.size:
            self._base_size = self.size = base.size
            os.ftruncate(self.fd, self.size)

    def hold(self) -> StagedFile:
        self._holders += 1
        return self

    def drop(self) -> None:
        self._holders -= 1
        if self._holders:
            return
        self._drop_base()
        os.close(self.fd)
        # The store may have taken the file itself (Source.movable).
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _drop_base(self) -> None:
        base, self._base = self._base, None
        if base is not None:
            base.drop()

    @property
    def whole(self) -> bool:
        """Whether every byte is here."""
        return not any(self._present.gaps(0, min(self.size, self._base_size)))

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        """The upload that it was frozen for is taken back; nothing lies over it."""
        self.frozen = False

    def write(self, offset: int, data: Buffer) -> int:
        """All of `data` at `offset`. Raises OSError (ENOSPC); what was written before it stays."""
        assert not self.frozen
        self.flushed = False
        self._put(offset, memoryview(data))
        return len(data)

    def _put(self, offset: int, view: memoryview) -> None:
        """All of `view`; after a failure what has been written counts, and nothing else."""
        start = offset
        try:
            while view:
                count = os.pwrite(self.fd, view, offset)
                view, offset = view[count:], offset + count
        finally:
            self._present.add(start, offset)
            self.size = max(self.size, offset)

    def truncate(self, size: int) -> None:
        """Cut, or extend with zeros."""
        assert not self.frozen
        os.ftruncate(self.fd, size)
        self._base_size = min(self._base_size, size)
        self._present.cut(size)
        self.size = size
        self.flushed = False

    async def read(self, offset: int, size: int) -> Buffer:
        """Up to `size` bytes at `offset`, fewer only at the end. Raises what the base raises, and OSError."""
        stop = min(offset + size, self.size)
        if stop <= offset:
            return b""
        self.hold()
        try:
            if self._base is not None:
                await self._bring(offset, stop)
            data = await read_file(self.fd, offset, stop - offset)
        finally:
            self.drop()
        return data

    async def fetch(self, start: int, stop: int) -> Buffer:
        """As the base of a newer layer."""
        return await self.read(start, stop - start)

    async def fill(self) -> None:
        """Bring everything that is still only in the base. Raises what the base raises."""
        if self._base is None:
            return
        self.hold()
        try:
            for start in range(0, min(self.size, self._base_size), FILL_STEP):
                await self._bring(start, min(start + FILL_STEP, self.size))
            self._drop_base()
        finally:
            self.drop()

    async def _bring(self, start: int, stop: int) -> None:
        for first, last in list(self._present.gaps(start, min(stop, self._base_size))):
            base = self._base
            if base is None:
                return
            data = memoryview(await base.fetch(first, last))
            # A write may have come meanwhile: only what is still missing is taken from the base.
            for begin, end in list(self._present.gaps(first, min(last, self._base_size))):
                self._put(begin, data[begin - first : end - first])


class Staging:
    """The folder of this mount's staged files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count(1)

    def create(self, base: Base | None = None) -> StagedFile:
        """A new file, with the content of `base`. Raises OSError (ENOSPC, EMFILE)."""
        return StagedFile(str(self.folder / f"{next(self._numbers):08x}"), base)

    async def aclose(self) -> None:
        """Remove the folder if nothing is left in it."""
        with contextlib.suppress(OSError):
            await trio.to_thread.run_sync(self.folder.rmdir)
