"""Publisher: from a closed staged file to an object in the store.

What it is: when a file may go up, and the `put` that the write-back worker calls.
What it is not: the queue (`writeback`), or the writing itself (`files`).
Invariants:
- What goes up is a frozen staged file: whole, of one moment, at which no program was in the middle of a write that it had not closed (S6).
- A staged file is let go only when the store has it.
"""

from __future__ import annotations

import os

import trio

from storemount.config import MountSettings
from storemount.errors import may_pass
from storemount.stores.base import ArtifactStore, Source
from storemount.stores.moves import Whereabouts
from storemount.tree import Node, Tree
from storemount.writeback.journal import Change, Journal, State
from storemount.writeback.staging import StagedFile


class Publisher:
    def __init__(self, tree: Tree, store: ArtifactStore, journal: Journal, moves: Whereabouts, settings: MountSettings) -> None:
        self._tree = tree
        self._store = store
        self._journal = journal
        self._moves = moves
        self._settings = settings

    def closed(self, node: Node) -> None:
        """A writer of this node went; when it was the last, the file goes up soon, unless further changes come first."""
        staged = node.staged
        if staged is None or node.writers or not node.attached or staged.frozen:
            return
        change = self._journal.put(node, self._settings.upload_delay)
        if change.sealed is not None:
            # It waited to send an older layer, which the newer one contains.
            _freeze(change, staged)

    def seal_below(self, path: str, *, all_closed: bool = False) -> None:
        """Queue every file at or below `path` that programs have closed (`all_closed`: none can be open any more)."""
        top = self._tree.find(path)
        for node in self._tree.below(top) if top is not None else ():
            staged = node.staged
            if staged is not None and (all_closed or staged.flushed or not node.writers):
                self.seal(node)

    def seal(self, node: Node) -> None:
        """Queue this file as it is now, open or not (fsync): what is written from here on goes to a new layer."""
        if node.staged is not None and not node.staged.frozen and node.attached:
            _freeze(self._journal.put(node, 0.0), node.staged)

    async def saved(self, node: Node) -> None:
        """Wait until the store has this file, or everything below this directory, durably (S7). Raises what the store raised."""
        directory = node.folder is not None
        if directory:
            self.seal_below(node.path)
        else:
            self.seal(node)
        rows = self._journal.under(node.path) if node.attached else []
        while rows:
            await self._journal.finished(rows, self._settings.deadline)
            # What was taken back meanwhile goes up under another name.
            renamed = {row.node for row in rows if row.state is State.CANCELLED}
            for each in renamed:
                self.seal(each)
            rows = [row for each in renamed for row in self._journal.puts_of(each)]
        if self._store.traits.lazy and node.attached:
            await self._store.sync(f"{node.path}/" if directory and node.path else node.path)

    async def put(self, change: Change) -> None:
        """Send what the node holds. Raises what the store raises; the staged file stays until it succeeds."""
        node = change.node
        if not node.attached:
            _unseal(change)
        sealed = change.sealed or self._sealed(change)
        if sealed is None:
            return
        try:
            await sealed.fill()
            node.artifact = await self._store.write(change.key, self._source(node, sealed.path, sealed.size))
            self._moves.forget(node.artifact)
        except Exception as error:
            # A failure that may pass is the queue's business; one that will not is the next close's, too (S16).
            node.error = None if may_pass(error) else error
            raise
        node.error = None
        node.covers = False
        node.fresh_until = trio.current_time() + self._settings.ttl
        self._tree.confirm(node)
        if node.staged is sealed:
            node.staged = None
            sealed.drop()
        change.sealed = None
        sealed.drop()
        self.abandon(node)

    def _sealed(self, change: Change) -> StagedFile | None:
        """What the node holds, frozen for this row; None while somebody who opened the file again is in the middle of writing it."""
        node, staged = change.node, change.node.staged
        if staged is None or staged.frozen or not node.attached or (node.writers and not staged.flushed):
            return None
        return _freeze(change, staged)

    def abandon(self, node: Node) -> None:
        """A file without a name and without a handle: its bytes are nobody's."""
        if node.staged is not None and not node.attached and not node.opens:
            node.staged.drop()
            node.staged = None

    def _source(self, node: Node, path: str, size: int) -> Source:
        own = node.attributes
        mode = own.mode if own is not None and own.mode is not None else self._settings.file_mode & ~self._settings.umask
        mtime_ns = own.mtime_ns if own is not None and own.mtime_ns is not None else os.stat(path).st_mtime_ns
        return Source(path, size, movable=True, mtime_ns=mtime_ns, mode=node.kind | mode)


def _freeze(change: Change, staged: StagedFile) -> StagedFile:
    """From now on `staged` does not change, and is what this row sends."""
    _unseal(change)
    staged.freeze()
    change.sealed = staged.hold()
    return staged


def _unseal(change: Change) -> None:
    if change.sealed is not None:
        change.sealed.drop()
        change.sealed = None
