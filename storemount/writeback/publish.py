"""Publisher: from a closed staged file to an object in the store.

What it is: what is promised to a program that closes a file, when that may go up, and the `put` that the write-back worker calls.
What it is not: the queue (`writeback`), or the writing itself (`files`).
Invariants:
- What goes up is a frozen staged file: whole, of one moment, at which no program was in the middle of a write that it had not closed (S6).
- A staged file is let go only when the store has it.
- A file edited in place goes up only over the version that it was based on; if somebody else was faster, theirs stays (S9).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import trio

from storemount.config import MountSettings
from storemount.errors import AlreadyExists, Changed, may_pass
from storemount.names.descriptions import Descriptions
from storemount.names.nodes import ROOT, Node
from storemount.names.tree import Tree
from storemount.stores.base import Artifact, ArtifactStore, Source
from storemount.stores.moves import Whereabouts
from storemount.writeback.change import Applied, Change, Kind, State
from storemount.writeback.conflicts import Conflicts
from storemount.writeback.durability import Durability
from storemount.writeback.journal import Journal
from storemount.writeback.staging import StagedFile, Staging


class Publisher:
    def __init__(
        self,
        tree: Tree,
        store: ArtifactStore,
        journal: Journal,
        durability: Durability,
        staging: Staging,
        moves: Whereabouts,
        conflicts: Conflicts,
        descriptions: Descriptions,
        settings: MountSettings,
    ) -> None:
        self._tree = tree
        self._store = store
        self._journal = journal
        self._durability = durability
        self._staging = staging
        self._moves = moves
        self._conflicts = conflicts
        self._descriptions = descriptions
        self._settings = settings

    # promises

    def promise(self, node: Node, delay: float | None = None) -> Change | None:
        """What has been written until now is promised, and goes up soon, unless further changes come first. The caller commits."""
        staged = node.staged
        if staged is None or not node.attached:
            return None
        if staged.frozen and staged.flushed:
            return self._journal.waiting_put(node)
        if staged.frozen:
            # It is on its way as it was closed before; what was written after that is in it, too.
            staged = node.staged = self._staging.create(staged, edits=True)
        staged.protect()
        new = self._journal.waiting_put(node) is None
        change = self._journal.put(node, staged, self._settings.upload_delay if delay is None else delay)
        if new:
            self.overwrites(change)
        return change

    def let_go(self, files: Sequence[StagedFile]) -> None:
        """These are not needed any more once what was promised just now is committed."""
        self._journal.release(files)

    def overwrites(self, change: Change) -> None:
        """A put that will replace what a removal of the same key has not taken away yet: one request instead of two.

        Not when something comes between them: then the key means another place in another directory."""
        for other in self._journal.at(change.key):
            last = all(earlier.id <= other.id for earlier in change.after)
            older = other.kind is Kind.PUT and other is not change and not other.node.attached
            if other.state is State.WAITING and last and other.key == change.key and (older or other.kind is Kind.DELETE):
                change.displaced += other.displaced
                change.node.covers = True
                self._journal.cancel(other, by=change)
                if other.hides is not None:
                    self._tree.unhide(*other.hides)

    def closed(self, node: Node) -> None:
        """A writer of this node went; when it was the last, what it wrote is promised, even if nobody said `flush`."""
        staged = node.staged
        if staged is None or node.writers:
            return
        if not staged.flushed:
            self.promise(node)
        self._unpark(node)

    def _unpark(self, node: Node) -> None:
        """Puts of this file that wait for its writers need not any more."""
        for waiting in self._journal.puts_of(node):
            if waiting.due == float("inf"):
                self._journal.again(waiting)

    def described(self, node: Node, *, stored: bool = False) -> None:
        """Mode, owner, times or attributes of this node were set: what is still to be sent says so too.

        stored: what the store's own object has to follow, where it can."""
        if not node.attached or node.ino == ROOT:
            return
        for change in reversed(self._journal.of(node)):
            if change.kind in (Kind.PUT, Kind.MKDIR, Kind.ANNOTATE) and change.state is not State.RUNNING:
                self._journal.update(change)
                return
        if stored and self._store.traits.modes and self._has_object(node):
            self._journal.add(Kind.ANNOTATE, node, node.key, artifact=node.artifact, delay=self._settings.upload_delay)

    def _has_object(self, node: Node) -> bool:
        """Whether the store has, or is about to have, something that a change of metadata is about, and nothing will replace it."""
        if node.folder is not None:
            return not self._store.traits.real_directories
        on_its_way = self._journal.running_put(node) is not None
        return on_its_way or (node.staged is None and node.artifact is not None)

    async def relocated(self, node: Node) -> bool:
        """Whether the bytes of this node were just moved or annotated, or may have been by a daemon that died; waits for that to end."""
        rows = [row for row in self._journal.relocating(node) if row.first.state is not State.REFUSED]
        await self._journal.attempted(rows, self._settings.deadline)
        return bool(rows)

    def promise_below(self, node: Node) -> None:
        """What is written of this file, or of the closed files at and below this directory, is promised."""
        for each in self._tree.below(node):
            staged = each.staged
            if staged is not None and not (staged.frozen and staged.flushed) and (each is node or staged.flushed or not each.writers):
                self.promise(each)

    def seal_below(self, path: str, *, all_closed: bool = False) -> None:
        """Queue every file at or below `path` that programs have closed (`all_closed`: none can be open any more)."""
        top = self._tree.find(path)
        for node in self._tree.below(top) if top is not None else ():
            staged = node.staged
            if staged is not None and (all_closed or staged.flushed or not node.writers):
                self.seal(node)
                continue
            for waiting in self._journal.puts_of(node):
                if waiting.state is not State.RUNNING and waiting.staged is not None:
                    # What was closed goes up; what is being written over it stays here.
                    waiting.staged.freeze()
                    self._journal.again(waiting)

    def seal(self, node: Node) -> None:
        """Queue this file as it is now, open or not (fsync): what is written from here on goes to a new layer."""
        if node.staged is None or (node.staged.frozen and node.staged.flushed):
            return
        change = self.promise(node, 0.0)
        if change is not None:
            node.staged.freeze()
            for older in self._journal.puts_of(node):
                if older.staged is not None:
                    older.staged.freeze()
            self._unpark(node)
            self._journal.hurry(change)

    async def saved(self, node: Node) -> None:
        """Wait until the store has this file, or everything below this directory, durably (S7). Raises what the store raised."""
        directory = node.folder is not None
        if directory:
            self.seal_below(node.path)
        else:
            self.seal(node)
        self._journal.commit()
        rows = self._pending(node)
        while rows:
            await self._journal.finished(rows, self._settings.deadline)
            # What was taken back meanwhile goes up under another name, or as part of a newer row.
            changed = {row.node for row in rows if row.state is State.CANCELLED and row.kind is Kind.PUT}
            for each in changed:
                self.seal(each)
            rows = [row for each in changed for row in self._journal.puts_of(each)]
        if self._store.traits.lazy and node.attached:
            await self._store.sync(f"{node.path}/" if directory and node.path else node.path)
        # A journal that a power cut sets back would send an older version again.
        await self._durability.now()

    def _pending(self, node: Node) -> list[Change]:
        """What is unfinished of this file, or at and below this directory."""
        rows = set(self._journal.puts_of(node))
        if node.attached:
            rows |= {*self._journal.under(node.key), *self._journal.moves_above(node.path)}
        return sorted(rows, key=lambda row: row.id)

    # uploads

    async def put(self, change: Change) -> Applied:
        """Send what was promised. Raises what the store raises; the staged file stays until it succeeds."""
        node, staged = change.node, change.staged
        assert staged is not None and staged.frozen
        try:
            if change.layers[0].base_size:
                # From here on it stands alone, and its row says so, even if reads have brought the rest in before: should the daemon die
                # when the store has it already, its base will be gone.
                await staged.fill()
                await self._durability.rewritten(change)
            if change.doubtful:
                await self._store.sweep(change.key)
            artifact = await self._write(change, staged)
        except Exception as error:
            # A failure that may pass is the queue's business; one that will not is the next close's, too (S16).
            node.error = None if may_pass(error) else error
            raise
        if artifact is None:
            return Applied.AGAIN
        self._sent(change, staged, artifact)
        return Applied.DONE

    def may_start(self, change: Change) -> bool:
        """Whether this put may go up now, frozen from here on; not while somebody has the file open for writing (the promise is kept)."""
        node, staged = change.node, change.staged
        assert staged is not None
        if not staged.frozen:
            if node.attached and node.writers:
                return False
            staged.freeze()
        return True

    async def _write(self, change: Change, staged: StagedFile) -> Artifact | None:
        """The object that is now there; None when this row now goes elsewhere, because of a conflict."""
        for displaced in change.displaced:
            await self._conflicts.preserve(displaced)
        if change.tries and self._store.traits.local_files and staged.taken:
            # The answer was lost.
            return await self._conflicts.found(change.key)
        await self._descriptions.learn(change.node)
        source = self._source(change, staged)
        based_on = self._based_on(change.node, staged)
        try:
            if based_on is not None:
                return await self._store.write(change.key, source, over=based_on)
            return await self._store.write(change.key, source, absent=change.exclusive)
        except (Changed, AlreadyExists):
            if based_on is None and not change.exclusive:
                raise
            return await self._conflicts.resolve(change, staged)

    def _based_on(self, node: Node, staged: StagedFile) -> Artifact | None:
        return self._moves.of(node.artifact) if staged.edits and node.artifact is not None else None

    def _sent(self, change: Change, staged: StagedFile, artifact: Artifact) -> None:
        node = change.node
        node.artifact = artifact
        self._moves.forget(artifact)
        node.error = None
        node.covers = False
        node.fresh_until = trio.current_time() + self._settings.ttl
        self._tree.confirm(node)
        if node.staged is staged and staged.size == change.size:
            node.staged = None
            staged.drop()
        elif node.staged is staged:
            staged.thaw()  # Somebody has written more after the close that this was about: a change of what the store has now (S9).
            staged.edits = True
        for row in self._journal.of(node):
            if row.id > change.id:
                row.artifact = artifact if row.kind is Kind.MOVE else row.artifact
                self._journal.update(row)
        self.abandon(node)

    def failed(self, change: Change) -> None:
        """A change has to be tried again: by somebody, when the store refused it for good (S16); a put below its directory's new name, if
        that has been moved meanwhile. Raises OSError: what was refused could not be set aside."""
        node = change.node
        if change.state is State.REFUSED:
            node.error = change.error
            if change.staged is not None:
                self._staging.keep(change.staged)
        if change.kind is not Kind.PUT or not node.attached or node.key == change.key:
            return
        if not any(row.node is node for row in self._journal.at(node.key)):
            self._journal.rekey(change, node.key)

    def abandon(self, node: Node) -> None:
        """A file without a name and without a handle: its bytes are nobody's."""
        if node.staged is not None and not node.attached and not node.opens:
            node.staged.drop()
            node.staged = None

    def _source(self, change: Change, staged: StagedFile) -> Source:
        node = change.node
        # A layer above it needs the file where it is, should the daemon die before that has gone up.
        movable = staged.size == change.size and node.staged in (staged, None)
        meta = self._descriptions.sent(node, os.stat(staged.path).st_mtime_ns)
        staged.sent = 0
        return Source(staged.path, change.size, movable=movable, meta=meta, sent=staged.under_way)
