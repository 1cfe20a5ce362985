"""Readers: the bytes of the store's versions, for open files.

What it is: for each inode that is read the way to its version: the block cache, or a descriptor where the store has local files; and what
keeps a version readable when its object is about to go.
What it is not: aware of handles, or of what was written (`files`).
Invariant: a reader gives one version to its end, or raises Changed (S4).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from storemount.cache.blocks import BlockCache
from storemount.cache.pages import read_file
from storemount.cache.readahead import Window
from storemount.errors import Changed
from storemount.names.nodes import Node
from storemount.stores.base import Artifact, ArtifactStore
from storemount.stores.moves import Whereabouts
from storemount.writeback.staging import Buffer, Staging

PRESERVED = 1024 * 1024 * 1024
"""An unlinked, open object up to this many bytes is kept readable by a local copy; beyond, its handles get ESTALE (S4)."""


Keeps = Callable[[int], bool]
"""Whether a file of so many bytes would stay on the disk once it was read."""


class Reader(Protocol):
    """The bytes of one version."""

    artifact: Artifact

    async def read(self, start: int, stop: int) -> Buffer: ...

    def again(self) -> Reader:
        """Another reader of the same version, closed by itself."""
        ...

    def close(self) -> None: ...


class BlockReader:
    """Through the block cache, with read-ahead; shared by all handles of an inode."""

    def __init__(self, artifact: Artifact, blocks: BlockCache, on_disk: Keeps) -> None:
        self.artifact = artifact
        self._blocks = blocks
        self._on_disk = on_disk
        in_memory = artifact.size <= blocks.capacity * 5 // 8
        self._window = Window(artifact.size, in_memory=in_memory, on_disk=bool(artifact.version) and on_disk(artifact.size))

    async def read(self, start: int, stop: int) -> Buffer:
        size = self._window.note(start, stop)
        data: Buffer | None = self._blocks.take(self.artifact, start, stop)
        self._look_ahead(stop)
        if data is None:
            data = await self._blocks.read(self.artifact, start, stop, size)
        return data

    def _look_ahead(self, stop: int) -> None:
        for size, number in self._window.ahead(stop, self._blocks.room_ahead):
            self._blocks.set_out(self.artifact, size, number)

    def again(self) -> Reader:
        return BlockReader(self.artifact, self._blocks, self._on_disk)

    def close(self) -> None:
        pass


class LocalReader:
    """Through a descriptor of exactly this version; the kernel's page cache is the cache."""

    def __init__(self, artifact: Artifact, fd: int, moves: Whereabouts) -> None:
        self.artifact = artifact
        self._fd = fd
        self._moves = moves
        self._stamp = self._now()
        self._reading = 0
        self._closed = False

    def _now(self) -> tuple[int, int]:
        status = os.fstat(self._fd)
        return status.st_mtime_ns, status.st_size

    def _is_annotated(self) -> bool:
        """Whether the time has changed only because it was set through this mount: the bytes are the same."""
        now = self._moves.of(self.artifact)
        if (now.mtime_ns, now.size) != self._now():
            return False
        self._stamp = self._now()
        return True

    async def read(self, start: int, stop: int) -> Buffer:
        self._reading += 1
        try:
            data = await read_file(self._fd, start, stop - start)
            if self._now() != self._stamp and not self._is_annotated():
                raise Changed(f"{self.artifact.key} was edited in place in the store")
            return data
        finally:
            self._reading -= 1
            self._close_if_idle()

    def again(self) -> Reader:
        return LocalReader(self.artifact, os.dup(self._fd), self._moves)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._closed and not self._reading:
            os.close(self._fd)


@dataclass(slots=True, eq=False)
class ArtifactBase:
    """The store's version under a staged file. `reader`: opened when the first byte is needed, if it is not there before."""

    artifact: Artifact
    open_reader: Callable[[Artifact], Reader]
    reader: Reader | None = None

    @property
    def size(self) -> int:
        return self.artifact.size

    async def fetch(self, start: int, stop: int) -> Buffer:
        if self.reader is None:
            self.reader = self.open_reader(self.artifact)
        return await self.reader.read(start, stop)

    def again(self) -> ArtifactBase:
        return ArtifactBase(self.artifact, self.open_reader, self.reader.again() if self.reader is not None else None)

    def drop(self) -> None:
        if self.reader is not None:
            self.reader.close()
            self.reader = None


def _is_of(reader: Reader, artifact: Artifact) -> bool:
    """Whether it reads this version, whatever has been learnt about that since."""
    return reader.artifact is artifact or reader.artifact == artifact


class Readers:
    """By inode number; one instance a mount."""

    def __init__(self, store: ArtifactStore, blocks: BlockCache, staging: Staging, moves: Whereabouts, on_disk: Keeps) -> None:
        self._store = store
        self._blocks = blocks
        self._on_disk = on_disk
        self._staging = staging
        self._moves = moves
        self._readers: dict[int, Reader] = {}

    def of(self, node: Node, artifact: Artifact) -> Reader:
        """The reader of this inode, of the version that it has now."""
        reader = self._readers.get(node.ino)
        if reader is None or not _is_of(reader, artifact):
            reader = self._renew(node, artifact, reader)
        return reader

    def close(self, node: Node) -> None:
        reader = self._readers.pop(node.ino, None)
        if reader is not None:
            reader.close()

    def _renew(self, node: Node, artifact: Artifact, old: Reader | None) -> Reader:
        if old is not None:
            self._readers.pop(node.ino).close()
        reader = self._readers[node.ino] = self._reader(artifact)
        return reader

    def _reader(self, artifact: Artifact) -> Reader:
        if self._store.traits.local_files:
            return LocalReader(artifact, self._store.open_local(self._moves.of(artifact)), self._moves)
        return BlockReader(artifact, self._blocks, self._on_disk)

    def pin(self, node: Node) -> None:
        """Take hold of the version now, where holding is free (S4: a local file stays readable after its name is gone).

        Raises Changed: this version is known to have gone.
        """
        if node.replaced and node.staged is None:
            raise Changed(f"{node.name} was replaced in the store")
        held = self._readers.get(node.ino)
        if not self._store.traits.local_files or node.staged is not None or node.artifact is None:
            return
        if held is None or not _is_of(held, node.artifact):
            self._renew(node, node.artifact, held)

    def base_of(self, artifact: Artifact) -> ArtifactBase:
        """A version of the store as the base of a staged file; whether it is still there is seen when it is read."""
        return ArtifactBase(artifact, self._reader)

    def base(self, node: Node) -> ArtifactBase | None:
        """The store's version; through what is open already, since its name may be gone."""
        if node.artifact is None:
            return None
        held = self._readers.get(node.ino)
        base = self.base_of(node.artifact)
        if held is not None and _is_of(held, node.artifact):
            base.reader = held.again()
        elif self._store.traits.local_files:
            base.reader = self._reader(node.artifact)
        return base

    async def preserve(self, node: Node) -> None:
        """Before the object goes: keep it readable for the handles that are open. Raises what the store raises."""
        if not node.opens or node.attached or node.artifact is None:
            return
        with contextlib.suppress(Changed):  # Somebody else was faster, and the handles will be told.
            if self._store.traits.local_files:
                self.pin(node)
            elif node.staged is not None:
                await node.staged.fill()
            elif node.artifact.size <= PRESERVED:
                await self._preserve_copy(node)

    async def _preserve_copy(self, node: Node) -> None:
        copy = self._staging.create(self.base(node))
        try:
            await copy.fill()
        except BaseException:
            copy.drop()
            raise
        copy.freeze()
        copy.flushed = True  # It is nothing that anybody has written.
        if node.staged is None:
            node.staged = copy
        else:
            copy.drop()
