"""Recovery: what an earlier daemon had promised, read back from its journal (S7, S8).

What it is: the rows of the ledger as changes of the journal and as nodes of the tree, before the first request is served.
What it is not: the uploading (it goes on in the background, as ever), or the choice of the journal (`slot`).
Invariants:
- A row comes back under its own number, so the order of what was promised is kept. What a row says may have been applied already.
- After a power cut the bytes of a put that was not synced are not believed: they are set aside, and the store's version stays.
- What no row needs was never closed, and is removed (S6). Nothing else is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace

import trio

from storemount.content.readers import Readers
from storemount.errors import NotFound, Refused
from storemount.names.nodes import Node
from storemount.names.tree import Tree
from storemount.stores.base import Artifact, ArtifactStore
from storemount.writeback.change import Change, Kind, State
from storemount.writeback.journal import Journal
from storemount.writeback.ledger import Ledger, Row
from storemount.writeback.record import Told, told
from storemount.writeback.staging import StagedFile, Staging

log = logging.getLogger(__name__)


class Recovery:
    """Into a `tree` and a `journal` that are empty."""

    def __init__(self, tree: Tree, journal: Journal, ledger: Ledger, staging: Staging, readers: Readers, store: ArtifactStore) -> None:
        self._tree = tree
        self._journal = journal
        self._ledger = ledger
        self._staging = staging
        self._readers = readers
        self._store = store
        self._open: dict[int, StagedFile] = {}
        self._nodes: dict[int, Node] = {}
        self._unsure: list[tuple[str, Told]] = []

    def read_back(self) -> int:
        """How many changes were taken up. Raises ValueError: a row cannot be read; OSError."""
        rows = [(row, told(row)) for row in self._ledger.rows]
        by_number = {row.id: (row, detail) for row, detail in rows}
        for row, detail in rows:
            if detail.until is not None and self._is_needless(row, detail, by_number):
                self._ledger.erase(row.id)
            elif Kind(row.kind) is Kind.PUT:
                self._put(row, detail)
            else:
                self._restore(row, detail)
        self._set_aside()
        known = set(self._open)
        for file in self._open.values():
            file.drop()
        self._ledger.begin()
        self._staging.sweep(known)
        return len(self._journal)

    async def confirm(self) -> None:
        """Ask the store for what no row says: a file that was on its way, and renamed meanwhile, may have arrived under its old key.

        Raises what the store raises."""
        for change in self._journal:
            node = change.node
            if change.kind is Kind.MOVE and node.folder is None and node.artifact is None and node.staged is None:
                node.artifact = change.artifact = await self._found(change.key) or await self._found(change.to or "")
                self._journal.update(change)
        self._journal.commit()

    async def _found(self, key: str) -> Artifact | None:
        try:
            return (await self._store.stat(key)).artifact
        except NotFound:
            return None

    # places

    def _folder(self, path: str) -> Node:
        """The directory of this path; what is missing of it is made, as something the store will tell more of."""
        node = self._tree.root
        for name in path.split("/") if path else ():
            assert node.folder is not None
            held = node.folder.children.get(name)
            node = held if held is not None and held.folder is not None else self._tree.add(node, name, directory=True)
        return node

    def _place(self, key: str) -> tuple[Node, str, Node | None]:
        """The directory, the name, and the node that is there."""
        above, _, name = key.rpartition("/")
        parent = self._folder(above)
        assert parent.folder is not None
        return parent, name, parent.folder.children.get(name)

    # puts

    def _is_needless(self, row: Row, detail: Told, others: Mapping[int, tuple[Row, Told]]) -> bool:
        """Whether a row that was kept for a newer one can go: that one is believed, or was itself kept for one that is; and it is not about
        the same file, of which the store may have an older state."""
        newer = others.get(detail.until or 0)
        if newer is None:
            return True
        same = Kind(row.kind) is Kind.PUT and (newer[0].key, newer[1].ino) == (row.key, detail.ino)
        return not same and self._is_believed(*newer, others)

    def _is_believed(self, row: Row, detail: Told, others: Mapping[int, tuple[Row, Told]]) -> bool:
        """Whether this put survived the power cut, or what took its place did."""
        if not self._is_unsure(row, detail):
            return True
        return detail.until is not None and (detail.until not in others or self._is_believed(*others[detail.until], others))

    def _is_unsure(self, row: Row, detail: Told) -> bool:
        """Whether the bytes of this put may not have come to the disk before the power went."""
        return self._ledger.rebooted and Kind(row.kind) is Kind.PUT and not (row.synced or detail.safe or detail.done)

    def _put(self, row: Row, detail: Told) -> None:
        if detail.done and not self._ledger.rebooted:
            self._ledger.erase(row.id)
        elif self._ledger.rebooted and not row.synced and detail.safe:
            self._restore_put(replace(row, synced=True), replace(detail, layers=detail.safe))
        elif self._is_unsure(row, detail):
            self._unsure.append((row.key, detail))
            self._ledger.erase(row.id)
        else:
            self._restore_put(row, detail)

    def _set_aside(self) -> None:
        """What is not believed; but for layers that belong to an older promise, too, which is."""
        for key, detail in self._unsure:
            kept = [str(self._staging.set_aside(layer.number)) for layer in detail.layers if layer.number not in self._open]
            log.error("%r was closed less than a second before the power went: what there is of it is kept in %s", key, ", ".join(kept))

    def _restore_put(self, row: Row, detail: Told) -> None:
        base = self._readers.base_of(detail.base) if detail.base is not None and detail.layers[-1].base_size else None
        try:
            staged = self._staging.restored(detail.layers, base, self._open)
        except FileNotFoundError:
            if not self._store.traits.local_files:
                log.error("what was written to %r is not in %s any more, and the store never got it", row.key, self._staging.folder)
            self._ledger.erase(row.id)  # Else the store has taken the file, by a rename.
            self._supersede(self._nodes.get(detail.ino), row.key)
            return
        node = self._file(row.key, detail)
        if node.staged is not None:
            node.staged.drop()
        node.staged, node.artifact, node.covers = staged, detail.base, detail.covers
        if detail.symlink:
            node.target = os.pread(staged.fd, staged.size, 0)
        change = self._change(row, detail, node)
        change.staged, change.layers, change.synced = staged.hold(), detail.layers, row.synced
        self._supersede(node, row.key, change)
        self._journal.restore(change)

    def _file(self, key: str, detail: Told) -> Node:
        """The file of this row, at `key`: the one that an earlier row was about, or a new one in place of what was there."""
        parent, name, held = self._place(key.removesuffix(detail.suffix))
        node = self._nodes.get(detail.ino)
        if node is None or node is not held:
            node = self._nodes[detail.ino] = self._tree.add(parent, name)
        node.attributes, node.suffix = detail.attributes, detail.suffix
        return node

    def _supersede(self, node: Node | None, key: str, by: Change | None = None) -> None:
        """An older put of the same file under the same key has nothing to do any more, but what it sent must be known for ours."""
        older = self._journal.waiting_put(node) if node is not None else None
        if older is not None and older.key == key:
            self._journal.cancel(older, by)

    def _change(self, row: Row, detail: Told, node: Node) -> Change:
        change = Change(row.id, Kind(row.kind), row.key, node, trio.current_time(), to=detail.to, artifact=detail.artifact)
        change.exclusive, change.moved = detail.exclusive, detail.moved
        if detail.refused is not None:
            change.state, change.error = State.REFUSED, Refused(detail.refused)
            node.error = change.error
        return change

    # the other rows

    def _restore(self, row: Row, detail: Told) -> None:
        kind = Kind(row.kind)
        if kind is Kind.MKDIR:
            self._restore_mkdir(row, detail)
        elif kind is Kind.MOVE:
            self._restore_move(row, detail)
        elif kind is Kind.ANNOTATE:
            self._restore_annotate(row, detail)
        else:
            self._restore_removal(row, detail, directory=kind is Kind.RMDIR)

    def _restore_mkdir(self, row: Row, detail: Told) -> None:
        node = self._nodes[detail.ino] = self._folder(row.key)
        assert node.folder is not None
        node.folder.marked = True
        node.attributes = detail.attributes
        node.folder.unborn = detail.unborn
        change = self._change(row, detail, node)
        self._journal.restore(change)
        # A new directory whose row has something to wait for cannot have been made: what the store has there belongs to an older one.
        node.folder.unborn = detail.unborn and bool(change.after)

    def _restore_removal(self, row: Row, detail: Told, *, directory: bool) -> None:
        parent, name, held = self._place(row.key.removesuffix(detail.suffix))
        node = self._nodes.get(detail.ino) or held
        if node is None or node.suffix != detail.suffix:
            node = self._tree.add(parent, name, directory=directory)
            node.suffix = detail.suffix
        if node.parent is parent and node.name == name:
            self._tree.unlink(node)
        self._tree.hide(parent, name)
        change = self._change(row, detail, node)
        change.hides = (parent, name)
        self._journal.restore(change)

    def _restore_move(self, row: Row, detail: Told) -> None:
        assert detail.to is not None
        parent, name, _ = self._place(row.key.removesuffix(detail.suffix))
        if detail.directory:
            node = self._nodes[detail.ino] = self._folder(row.key)
        else:
            node = self._file(row.key, detail)
            node.artifact = detail.artifact if node.artifact is None else node.artifact
        self._tree.hide(parent, name)
        change = self._change(row, detail, node)
        change.hides = (parent, name)
        self._journal.restore(change)
        to, to_name, _ = self._place(detail.to.removesuffix(detail.suffix))
        self._tree.relink(node, to, to_name)

    def _restore_annotate(self, row: Row, detail: Told) -> None:
        if detail.directory:
            node = self._nodes[detail.ino] = self._folder(row.key)
            node.attributes = detail.attributes
        else:
            node = self._file(row.key, detail)
            node.artifact = detail.base if node.artifact is None else node.artifact
        self._journal.restore(self._change(row, detail, node))
