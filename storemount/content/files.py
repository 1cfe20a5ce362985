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

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from storemount.cache.blocks import LARGEST, BlockCache, Fetch
from storemount.content.neighbours import Neighbours
from storemount.content.readers import Readers
from storemount.errors import Changed
from storemount.names.nodes import Node
from storemount.names.tree import Tree
from storemount.stores.base import Artifact, ArtifactStore
from storemount.writeback.publish import Publisher
from storemount.writeback.room import Room
from storemount.writeback.staging import Buffer, StagedFile, Staging

T = TypeVar("T")

MOST_MOVES = 16
"""Of one file, that a question about its bytes follows; each may have been made while it was on its way to where the last one led."""

MOST_LAYERS = 8
"""Of one staged file, each a change after a close; then they are made one, which costs a copy of what they hold."""


log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class OpenFile:
    """A handle. `writable` says whether it counts as a writer."""

    node: Node
    writable: bool


class Files:
    """Opens, reads, writes and closes; one instance a mount. `fetch` reads from the store, wherever the bytes have moved meanwhile."""

    def __init__(
        self,
        tree: Tree,
        store: ArtifactStore,
        fetch: Fetch,
        blocks: BlockCache,
        readers: Readers,
        staging: Staging,
        room: Room,
        publisher: Publisher,
    ) -> None:
        self._tree = tree
        self._store = store
        self._fetch = fetch
        self._blocks = blocks
        self._readers = readers
        self._staging = staging
        self._room = room
        self._publisher = publisher
        self._neighbours = Neighbours()

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
            if not node.writers:
                self._room.finished(node)
        if not node.opens:
            self._readers.close(node)
            self._publisher.abandon(node)
            self._tree.let_go(node)

    async def flush(self, file: OpenFile) -> None:
        """A descriptor was closed: what was written is promised. Raises what went wrong with this file's last upload (S16)."""
        node = file.node
        if not file.writable:
            return
        staged = node.staged
        if staged is not None and not staged.flushed:
            below = [layer.hold() for layer in staged.chain[1:]] if len(staged.chain) > MOST_LAYERS else []
            try:
                if below:
                    await staged.flatten()
            except OSError as error:
                log.warning("the layers of %s could not be made one: %s", node.name, error)  # It is whole with them, too.
            finally:
                self._publisher.promise(node)
                self._publisher.let_go(below)
        if node.error is not None:
            raise node.error

    async def pin(self, node: Node) -> None:
        """Take hold of the version that is about to be opened, where holding is free. Raises Changed: it is known to have gone."""
        held = node.artifact
        try:
            self._readers.pin(node)
        except Changed as error:
            await self._followed(node, held, error, partial(self._pin, node))

    async def _pin(self, node: Node) -> None:
        self._readers.pin(node)

    async def _followed(self, node: Node, held: Artifact | None, error: Changed, attempt: Callable[[], Awaitable[T]]) -> T:
        """The `attempt` that failed on the version `held`, again for as long as a change of our own has given that another place."""
        for _ in range(MOST_MOVES):
            if not await self._publisher.relocated(node) and node.artifact == held:
                break
            held = node.artifact
            try:
                return await attempt()
            except Changed as again:
                error = again
        raise error

    # bytes

    async def read(self, node: Node, offset: int, size: int) -> Buffer:
        """Up to `size` bytes; fewer only at the end. Raises Changed, and what the store raises."""
        held = node.artifact
        try:
            return await self._read(node, offset, size)
        except Changed as error:
            return await self._read_elsewhere(node, held, error, partial(self._read, node, offset, size))

    async def _read_elsewhere(self, node: Node, held: Artifact | None, error: Changed, again: Callable[[], Awaitable[Buffer]]) -> Buffer:
        try:
            return await self._followed(node, held, error, again)
        except Changed:
            if node.staged is None:
                self._has_gone(node)
            raise

    async def _read(self, node: Node, offset: int, size: int) -> Buffer:
        if node.staged is not None:
            return await node.staged.read(offset, size)
        artifact = node.artifact
        if artifact is None:
            return node.target or b""
        stop = min(offset + size, artifact.size)
        if stop <= offset:
            return b""
        return await self._readers.of(node, artifact).read(offset, stop)

    def _has_gone(self, node: Node) -> None:
        """The store says that this version is no more: the next open must look the name up again."""
        node.replaced = True
        node.fresh_until = -1.0
        if node.parent is not None and node.parent.folder is not None:
            node.parent.folder.listed_until = -1.0

    async def write(self, node: Node, offset: int, data: Buffer) -> int:
        """All of `data`; no checkpoint while there is room. Raises OSError and NoSpace (ENOSPC)."""
        if not self._room.fits(len(data), node):
            await self._room.wait(len(data), node)
        return self._top(node, offset).write(offset, data)

    def truncate(self, node: Node, size: int) -> None:
        if size == node.size and node.staged is None:
            return
        if size == 0 and not node.replaced:
            self._replace(node)
        else:
            self._top(node, size).truncate(size)
        if not node.writers:
            self._publisher.closed(node)

    def empty(self, node: Node) -> None:
        """Truncation by an open: whoever opens it is about to write, and nothing is promised before that is closed (S6)."""
        if node.replaced:
            raise Changed(f"{node.name} was replaced in the store")
        if node.size or node.staged is not None:
            self._replace(node)

    def create(self, node: Node, claimed: Artifact | None) -> None:
        """A new, empty file at this node; over what was `claimed` for it in the store, and over nothing else."""
        node.artifact = claimed
        node.staged = self._staging.create(edits=claimed is not None)

    def _top(self, node: Node, offset: int) -> StagedFile:
        """The staged file that takes a write at `offset`, with everything the node holds under it.

        Raises Changed: the write would go nowhere.
        """
        if node.replaced:
            raise Changed(f"{node.name} was replaced in the store while it was open for writing")
        staged = node.staged
        if staged is None:
            staged = node.staged = self._staging.create(self._readers.base(node), edits=node.artifact is not None)
        elif not staged.takes(offset):
            # The node's hold on the layer passes to the new one. A layer that is on its way is what the store will hold.
            staged = node.staged = self._staging.create(staged, edits=staged.edits or staged.frozen)
        return staged

    def _replace(self, node: Node) -> None:
        """An empty staged file with nothing under it: whole replacement costs no read."""
        old, node.staged = node.staged, self._staging.create()
        if old is not None:
            old.drop()

    async def target_of(self, node: Node) -> bytes:
        """Where a symbolic link points."""
        if node.target is None:
            held = node.artifact
            try:
                node.target = await self._target(node)
            except Changed as error:
                node.target = await self._followed(node, held, error, partial(self._target, node))
        return node.target

    async def _target(self, node: Node) -> bytes:
        assert node.artifact is not None
        if told := node.artifact.told_target:
            return told
        target = bytes(await self._fetch(node.artifact, 0, node.artifact.size))
        return target if node.suffix else target.removesuffix(b"\n")  # s3fs-fuse ends it with one.
