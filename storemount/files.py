"""Open files: where a read comes from, where a write goes.

What it is: for each handle, the choice between the staged file (local truth) and the store's version (through the block cache, or a
descriptor where the store has local files).
What it is not: names (`catalog`), or the way into the store (`publish`).
Invariants:
- All handles of one node share one view: what one writes, every other reads at once (S5).
- Without local writes a handle reads one version to its end; if that is gone, ESTALE (S4).
- A frozen staged file is never written: the next write puts a layer on it.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Protocol

from storemount.cache.blocks import LARGEST, BlockCache
from storemount.cache.pages import read_file
from storemount.cache.readahead import Window
from storemount.errors import Changed
from storemount.neighbours import Neighbours
from storemount.publish import Publisher
from storemount.stores.base import Artifact, ArtifactStore
from storemount.stores.moves import Whereabouts
from storemount.tree import Node, Tree
from storemount.writeback.staging import Buffer, StagedFile, Staging

PRESERVED = 1024 * 1024 * 1024
"""An unlinked, open object up to this many bytes is kept readable by a local copy; beyond, its handles get ESTALE (S4)."""


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

    def __init__(self, artifact: Artifact, blocks: BlockCache) -> None:
        self.artifact = artifact
        self._blocks = blocks
        self._window = Window(artifact.size, fits=artifact.size <= blocks.capacity * 5 // 8)

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
        return BlockReader(self.artifact, self._blocks)

    def close(self) -> None:
        pass


class LocalReader:
    """Through a descriptor of exactly this version; the kernel's page cache is the cache."""

    def __init__(self, artifact: Artifact, fd: int) -> None:
        self.artifact = artifact
        self._fd = fd
        self._stamp = self._now()
        self._reading = 0
        self._closed = False

    def _now(self) -> tuple[int, int]:
        status = os.fstat(self._fd)
        return status.st_mtime_ns, status.st_size

    async def read(self, start: int, stop: int) -> Buffer:
        self._reading += 1
        try:
            data = await read_file(self._fd, start, stop - start)
            if self._now() != self._stamp:
                raise Changed(f"{self.artifact.key} was edited in place in the store")
            return data
        finally:
            self._reading -= 1
            self._close_if_idle()

    def again(self) -> Reader:
        return LocalReader(self.artifact, os.dup(self._fd))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._closed and not self._reading:
            os.close(self._fd)


@dataclass(slots=True, eq=False)
class ArtifactBase:
    """The store's version under a staged file."""

    artifact: Artifact
    reader: Reader

    @property
    def size(self) -> int:
        return self.artifact.size

    async def fetch(self, start: int, stop: int) -> Buffer:
        return await self.reader.read(start, stop)

    def drop(self) -> None:
        self.reader.close()


@dataclass(slots=True, eq=False)
class OpenFile:
    """A handle. `writable` says whether it counts as a writer."""

    node: Node
    writable: bool


class Files:
    """Opens, reads, writes and closes; one instance a mount."""

    def __init__(
        self, tree: Tree, store: ArtifactStore, blocks: BlockCache, staging: Staging, publisher: Publisher, moves: Whereabouts
    ) -> None:
        self._tree = tree
        self._store = store
        self._blocks = blocks
        self._staging = staging
        self._publisher = publisher
        self._moves = moves
        self._neighbours = Neighbours()
        self._readers: dict[int, Reader] = {}

    # handles

    def open(self, node: Node, *, writable: bool) -> OpenFile:
        node.opens += 1
        node.writers += writable
        if not writable and not self._store.traits.local_files:
            for artifact in self._neighbours.after(node):
                if artifact.size <= self._blocks.room_ahead:
                    self._blocks.set_out(artifact, LARGEST, 0)
        return OpenFile(node, writable)

    def release(self, file: OpenFile) -> None:
        """The last descriptor of this handle is closed; what was written may go up."""
        node = file.node
        node.opens -= 1
        node.writers -= file.writable
        if file.writable:
            self._publisher.closed(node)
        if not node.opens:
            reader = self._readers.pop(node.ino, None)
            if reader is not None:
                reader.close()
            self._publisher.abandon(node)
            self._tree.let_go(node)

    def flush(self, file: OpenFile) -> None:
        """A descriptor was closed. Raises what went wrong with this file's last upload (S16)."""
        staged = file.node.staged
        if staged is not None and file.writable:
            staged.flushed = True
        if file.writable and file.node.error is not None:
            raise file.node.error

    # bytes

    async def read(self, node: Node, offset: int, size: int) -> Buffer:
        """Up to `size` bytes; fewer only at the end. Raises Changed, and what the store raises."""
        if node.staged is not None:
            return await node.staged.read(offset, size)
        artifact = node.artifact
        if artifact is None:
            return node.target or b""
        stop = min(offset + size, artifact.size)
        if stop <= offset:
            return b""
        reader = self._readers.get(node.ino)
        if reader is None or reader.artifact is not artifact:
            reader = self._renew(node, artifact, reader)
        try:
            return await reader.read(offset, stop)
        except Changed:
            self._has_gone(node)
            raise

    def _has_gone(self, node: Node) -> None:
        """The store says that this version is no more: the next open must look the name up again."""
        node.replaced = True
        node.fresh_until = -1.0
        if node.parent is not None and node.parent.folder is not None:
            node.parent.folder.listed_until = -1.0

    def _renew(self, node: Node, artifact: Artifact, old: Reader | None) -> Reader:
        if old is not None:
            self._readers.pop(node.ino).close()
        reader = self._readers[node.ino] = self._reader(artifact)
        return reader

    def _reader(self, artifact: Artifact) -> Reader:
        if self._store.traits.local_files:
            return LocalReader(artifact, self._store.open_local(self._moves.of(artifact)))
        return BlockReader(artifact, self._blocks)

    def pin(self, node: Node) -> None:
        """Take hold of the version now, where holding is free (S4: a local file stays readable after its name is gone).

        Raises Changed: this version is known to have gone.
        """
        if node.replaced and node.staged is None:
            raise Changed(f"{node.name} was replaced in the store")
        held = self._readers.get(node.ino)
        if not self._store.traits.local_files or node.staged is not None or node.artifact is None:
            return
        if held is None or held.artifact is not node.artifact:
            self._renew(node, node.artifact, held)

    def write(self, node: Node, offset: int, data: Buffer) -> int:
        """All of `data`. Raises OSError (ENOSPC)."""
        return self._top(node).write(offset, data)

    def truncate(self, node: Node, size: int) -> None:
        if size == node.size and node.staged is None:
            return
        if size == 0 and node.staged is None and not node.replaced:
            self._replace(node)
        else:
            self._top(node).truncate(size)
        if not node.writers:
            self._publisher.closed(node)

    def create(self, node: Node) -> None:
        """A new, empty file at this node."""
        node.staged = self._staging.create()

    def _top(self, node: Node) -> StagedFile:
        """The staged file that takes writes, with everything the node holds under it. Raises Changed: the write would go nowhere."""
        if node.replaced:
            raise Changed(f"{node.name} was replaced in the store while it was open for writing")
        staged = node.staged
        if staged is None:
            staged = node.staged = self._staging.create(self._base(node))
        elif staged.frozen:
            # The node's hold on the frozen layer passes to the new one.
            staged = node.staged = self._staging.create(staged)
        return staged

    def _base(self, node: Node) -> ArtifactBase | None:
        """The store's version; through what is open already, since its name may be gone."""
        if node.artifact is None:
            return None
        held = self._readers.get(node.ino)
        same = held is not None and held.artifact is node.artifact
        return ArtifactBase(node.artifact, held.again() if held is not None and same else self._reader(node.artifact))

    def _replace(self, node: Node) -> None:
        """An empty staged file with nothing under it: whole replacement costs no read."""
        node.staged = self._staging.create()

    async def preserve(self, node: Node) -> None:
        """Before the object goes: keep it readable for the handles that are open. Raises what the store raises."""
        if not node.opens or node.artifact is None:
            return
        with contextlib.suppress(Changed):  # Somebody else was faster, and the handles will be told.
            if self._store.traits.local_files:
                self.pin(node)
            elif node.staged is not None:
                await node.staged.fill()
            elif node.artifact.size <= PRESERVED:
                await self._preserve_copy(node)

    async def _preserve_copy(self, node: Node) -> None:
        copy = self._staging.create(self._base(node))
        try:
            await copy.fill()
        except BaseException:
            copy.drop()
            raise
        copy.freeze()
        if node.staged is None:
            node.staged = copy
        else:
            copy.drop()

    def forget_copy(self, node: Node) -> None:
        """The object has not gone after all: its own bytes are the truth again."""
        if node.staged is not None and node.staged.frozen and not node.pending:
            node.staged.drop()
            node.staged = None

    async def target_of(self, node: Node) -> bytes:
        """Where a symbolic link points."""
        if node.target is None:
            assert node.artifact is not None
            node.target = bytes(await self._store.read(self._moves.of(node.artifact), 0, node.artifact.size))
        return node.target
