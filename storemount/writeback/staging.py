"""Staged files: where writes land until the store has them.

What it is: a sparse temporary file with a map of what is in it, over an optional base from which the rest is fetched on demand.
What it is not: aware of stores, names or uploads.
Invariants:
- Every byte of [0, size) is either present in the file, or beyond `base_size` (and then zero), or equal to the base's byte.
- A frozen file never changes again: an upload reads it, and later writes go to a new layer that has it as its base.
- What was promised (`protected`) is never overwritten: a daemon that is killed in the middle of a later write leaves the closed version.
- The file is closed and removed when the last holder lets go.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from storemount.cache.pages import read_file
from storemount.config import MIB
from storemount.errors import ENOSPC
from storemount.writeback.extents import Extents
from storemount.writeback.room import Room

FILL_STEP = 8 * MIB
KEPT = "kept"
"""The folder, in the staging folder, of what the store refused for good."""

Buffer = bytes | bytearray | memoryview


class Base(Protocol):
    """The bytes under a staged file."""

    @property
    def size(self) -> int: ...

    async def fetch(self, start: int, stop: int) -> Buffer:
        """Exactly the bytes [start, stop)."""
        ...

    def again(self) -> Base:
        """The same bytes for another holder, which drops them by itself."""
        ...

    def drop(self) -> None:
        """The staged file needs this base no more."""
        ...


@dataclass(frozen=True, slots=True)
class Layer:
    """What has to be remembered of a staged file to open it again: its number, and the fields of the same names.

    `extents`: the ranges that are in the file; the rest of [0, base_size) is in the layer below, or in the store.
    """

    number: int
    size: int
    base_size: int
    extents: tuple[tuple[int, int], ...]
    edits: bool


class StagedFile:
    """One staged file. The maker holds it once.

    `edits`: the content is a change of what the store held, not a replacement (S9). `flushed`: nothing was written since a descriptor was
    closed. `protected`: the bytes below this offset were promised to a program (S7), so they are never overwritten here: a later write
    goes into a layer above. `sealed`: the store may have it as it is now, though nobody said so; every later write goes above it.
    `sent`: so far, in bytes, an upload of it has come.
    """

    def __init__(self, path: str, number: int, room: Room, base: Base | None = None, *, edits: bool = False) -> None:
        self.path = path
        self.number = number
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.size = 0
        self.edits = edits
        self.frozen = self.sealed = False
        self.flushed = False
        self.protected = self.sent = 0
        self._room = room
        self._present = Extents()
        self._base = base
        self._base_size = 0
        self._holders = 1
        if base is not None and base.size:
            self._base_size = self.size = base.size
            os.ftruncate(self.fd, self.size)

    @classmethod
    def restored(cls, path: str, layer: Layer, room: Room, base: Base | None) -> StagedFile:
        """The staged file that an ended daemon left. Raises OSError (it is not there), ValueError (it is not what was promised)."""
        self = cls.__new__(cls)
        self.path, self.number = path, layer.number
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        have = os.fstat(self.fd).st_size
        if have < layer.size:
            os.close(self.fd)
            raise ValueError(f"{path} has {have} bytes of {layer.size}")
        os.ftruncate(self.fd, layer.size)  # What came after the promise was never closed.
        self.size = self.protected = layer.size
        self.sent = 0
        self.edits, self.frozen, self.sealed, self.flushed = layer.edits, False, True, True
        self._present = Extents()
        self._room = room
        for start, stop in layer.extents:
            room.take(self._present.add(start, stop))
        self._base, self._base_size = base, layer.base_size
        self._holders = 1
        return self

    def hold(self) -> StagedFile:
        self._holders += 1
        return self

    def drop(self) -> None:
        self._holders -= 1
        if self._holders:
            return
        self._drop_base()
        os.close(self.fd)
        self._room.give(self._present.total)
        # The store may have taken the file itself (Source.movable).
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _drop_base(self) -> None:
        base, self._base = self._base, None
        if base is not None:
            base.drop()

    def under_way(self, reached: int) -> None:
        """An upload has come this far; its parts may say so in any order."""
        self.sent = max(self.sent, reached)

    def move(self, path: str) -> None:
        """Give the file another place in the same file system. Raises OSError."""
        os.rename(self.path, path)
        self.path = path

    @property
    def taken(self) -> bool:
        """Whether a store on this disk has taken the file itself."""
        return not os.path.exists(self.path)

    @property
    def whole(self) -> bool:
        """Whether every byte is here, so that the base is not needed."""
        return self._base is None or not any(self._present.gaps(0, min(self.size, self._base_size)))

    @property
    def chain(self) -> list[StagedFile]:
        """This file and the staged files under it, from the top."""
        below = self._base
        return [self, *(below.chain if isinstance(below, StagedFile) else ())]

    @property
    def layers(self) -> list[StagedFile]:
        """Of the chain what is needed for the content of this file."""
        below = self._base
        return [self, *(below.layers if isinstance(below, StagedFile) and not self.whole else ())]

    @property
    def layer(self) -> Layer:
        return Layer(self.number, self.size, 0 if self.whole else self._base_size, tuple(self._present), self.edits)

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        """The upload that it was frozen for is taken back; nothing lies over it."""
        self.frozen = False

    def protect(self) -> None:
        """What is here now was promised."""
        self.flushed = True
        self.protected = self.size

    def takes(self, offset: int) -> bool:
        """Whether a write at `offset`, or a cut there, may be made in this file."""
        return not (self.frozen or self.sealed) and offset >= self.protected

    def write(self, offset: int, data: Buffer) -> int:
        """All of `data` at `offset`. Raises OSError (ENOSPC); what was written before it stays."""
        assert self.takes(offset)
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
            self._room.take(self._present.add(start, offset))
            self.size = max(self.size, offset)

    def truncate(self, size: int) -> None:
        """Cut, or extend with zeros."""
        assert self.takes(size)
        os.ftruncate(self.fd, size)
        self._base_size = min(self._base_size, size)
        self._room.give(self._present.cut(size))
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
        """Bring everything that is still only in the base; which stays, as somebody may have written down that it is needed.

        Raises what the base raises, and OSError (ENOSPC)."""
        if self._base is None:
            return
        self.hold()
        try:
            for start in range(0, min(self.size, self._base_size), FILL_STEP):
                if not self._room.bears(FILL_STEP if self.size > FILL_STEP else self.size):
                    raise OSError(ENOSPC, f"the disk of {self.path} has no room for the rest of the file")
                await self._bring(start, min(start + FILL_STEP, self.size))
        finally:
            self.drop()

    async def flatten(self) -> None:
        """Bring what the layers below hold themselves, and stand on what they stand on, as far as there is room. Nothing is asked of the
        store."""
        self.hold()
        try:
            while isinstance(below := self._base, StagedFile):
                stop = min(self.size, self._base_size)
                for start, end in below._own(stop):
                    for first in range(start, end, FILL_STEP):
                        if not self._room.bears(min(FILL_STEP, end - first)):
                            return
                        await self._bring(first, min(first + FILL_STEP, end))
                if self._base is below:
                    self._base = below._base_again()
                    below.drop()
        finally:
            self.drop()

    def _own(self, stop: int) -> list[tuple[int, int]]:
        """The ranges of [0, stop) that this file knows without its base: what is in it, and the zeros after the base's end."""
        own = [(start, min(end, stop)) for start, end in self._present if start < stop]
        return [*own, (self._base_size, stop)] if self._base is not None and self._base_size < stop else own if self._base else [(0, stop)]

    def _base_again(self) -> Base | None:
        return self._base.again() if self._base is not None else None

    def again(self) -> Base:
        return self.hold()

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
    """The folder of one journal's staged files. Each is called by its number."""

    def __init__(self, folder: Path, room: Room) -> None:
        self.folder = folder
        self._room = room
        kept = os.listdir(folder / KEPT) if (folder / KEPT).is_dir() else []
        numbers = [int(name, 16) for name in (*os.listdir(folder), *kept) if _is_number(name)]
        self._numbers = itertools.count(max(numbers, default=0) + 1)

    def create(self, base: Base | None = None, *, edits: bool = False) -> StagedFile:
        """A new file, with the content of `base`. Raises OSError (ENOSPC, EMFILE)."""
        number = next(self._numbers)
        return StagedFile(self._path(number), number, self._room, base, edits=edits)

    def restored(self, layers: Sequence[Layer], base: Base | None, already: dict[int, StagedFile]) -> StagedFile:
        """The staged file with these layers, from the top, over `base`. `already`: the layers that are open, which this adds to.

        Raises OSError, ValueError: a layer is not what was promised; nothing is removed.
        """
        file: StagedFile | None = None
        for layer in reversed(layers):
            known = already.get(layer.number)
            if known is None:
                below = file if file is not None else base
                known = already[layer.number] = StagedFile.restored(self._place(layer.number), layer, self._room, below)
            elif file is not None:
                file.drop()
            file = known.hold()
        if file is None:
            raise ValueError("a change without a staged file")
        return file

    def keep(self, file: StagedFile) -> None:
        """Set the layers of this file aside: the store refused them for good (S16). Raises OSError."""
        (self.folder / KEPT).mkdir(mode=0o700, exist_ok=True)
        for layer in file.layers:
            kept = str(self.folder / KEPT / f"{layer.number:08x}")
            if layer.path != kept:
                layer.move(kept)

    def set_aside(self, number: int) -> Path:
        """Keep the file of this number where nobody takes it for something whole; where that is. Raises OSError."""
        (self.folder / KEPT).mkdir(mode=0o700, exist_ok=True)
        kept = self.folder / KEPT / f"{number:08x}.unsure"
        place = self.folder / f"{number:08x}"
        if place.exists():
            place.rename(kept)
        return kept

    def _place(self, number: int) -> str:
        kept = self.folder / KEPT / f"{number:08x}"
        return str(kept) if kept.exists() else self._path(number)

    def _path(self, number: int) -> str:
        return str(self.folder / f"{number:08x}")

    def sweep(self, known: Collection[int]) -> None:
        """Remove the files that no change needs: what was written and not closed when the daemon that wrote it died (S6)."""
        for folder in (self.folder, self.folder / KEPT):
            for name in os.listdir(folder) if folder.is_dir() else ():
                if _is_number(name) and int(name, 16) not in known:
                    os.unlink(folder / name)


def _is_number(name: str) -> bool:
    return len(name) == 8 and all(letter in "0123456789abcdef" for letter in name)
