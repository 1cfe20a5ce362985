"""What the journal's rows about names do in the store, when the worker applies them.

What it is: markers, removals, moves and metadata; each is done again without harm when a daemon died over it.
What it is not: the rules for names (`namespace`), uploads (`publish`), order and limits (`writeback`).
Invariant: the end of a row is one step: the tree and the whereabouts change together, with no await between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import trio

from storemount.content.readers import Readers
from storemount.errors import Changed, NotEmpty, NotFound
from storemount.names.descriptions import Descriptions
from storemount.names.nodes import Node
from storemount.names.tree import Tree
from storemount.stores.base import EMPTY, Artifact, ArtifactStore, said
from storemount.stores.moves import Whereabouts
from storemount.stores.parallel import for_each
from storemount.stores.relocation import Relocation
from storemount.writeback.change import Applied, Change, Kind
from storemount.writeback.journal import Journal

LOOKS = 16
"""Questions at once, of removals that may have been done already, whether it is still the same that is there."""


class Application:
    """`ttl`: for how long what was just done need not be asked for."""

    def __init__(
        self,
        tree: Tree,
        store: ArtifactStore,
        journal: Journal,
        readers: Readers,
        moves: Whereabouts,
        descriptions: Descriptions,
        ttl: float,
    ) -> None:
        self._tree = tree
        self._journal = journal
        self._store = store
        self._readers = readers
        self._moves = moves
        self._descriptions = descriptions
        self._ttl = ttl
        self._relocation = Relocation(store)

    async def make_marker(self, change: Change) -> Applied:
        folder = change.node.folder
        fresh = folder is None or folder.unborn or self._store.traits.real_directories or not self._store.traits.modes
        await (self._write_marker if fresh else self._annotate_marker)(change)
        if folder is not None and folder.unborn:
            folder.unborn = change.node.covers = False
            change.node.fresh_until = folder.listed_until = trio.current_time() + self._ttl
        self._tree.confirm(change.node)
        return Applied.DONE

    async def annotate(self, change: Change) -> Applied:
        """Give the object the metadata that was set on the node."""
        node = change.node
        if node.folder is not None:
            await self._annotate_marker(change)
            self._tree.confirm(node)
            return Applied.DONE
        if node.artifact is None:
            return Applied.DONE
        old = self._moves.of(node.artifact)
        try:
            made: Artifact | None = await self._store.annotate(old, self._descriptions.changed(node))
        except Changed:
            made = await self._annotated_before(change, old)
        if made is None:
            # Somebody else has replaced the object, whose metadata this is not.
            node.fresh_until = -1.0
        else:
            node.artifact = made
            self._moves.note(old, made)
            self._journal.follow(self._journal.of(node), {old: made})
        self._tree.confirm(node)
        return Applied.DONE

    async def _annotated_before(self, change: Change, old: Artifact) -> Artifact | None:
        """What an earlier attempt has made of `old`, of which nobody heard: where a change of metadata makes another version, it is another
        one now, and the time that was set tells that it is ours."""
        time_ns = self._descriptions.changed(change.node).mtime_ns
        if not (change.doubtful or change.tries) or time_ns is None:
            return None
        try:
            found = (await self._store.stat(change.key)).artifact
        except NotFound:
            return None
        if found is None or found.size != old.size:
            return None
        return found if time_ns in (found.mtime_ns, found.meta.mtime_ns if found.meta is not None else None) else None

    async def _write_marker(self, change: Change) -> None:
        await self._store.write(change.key + "/", replace(EMPTY, meta=self._descriptions.marked(change.node)))

    async def _annotate_marker(self, change: Change) -> None:
        """Have a marker there; what somebody has said of it before stays."""
        meta = self._descriptions.changed(change.node)
        try:
            marker = await self._store.describe(change.key + "/")
            if said(meta):
                await self._store.annotate(marker, meta)
        except (NotFound, Changed):
            await self._write_marker(change)

    async def remove(self, changes: Sequence[Change]) -> None:
        """Deletes and rmdirs, in one request where the store can."""
        for change in changes:
            for displaced in change.displaced:
                await self._readers.preserve(displaced)
        overtaken: set[Change] = set()

        async def look(change: Change) -> None:
            if not await self._is_still_there(change):
                overtaken.add(change)

        await for_each([change for change in changes if change.may_be_done], LOOKS, look)
        rest = [change for change in changes if change not in overtaken]
        keys = [change.key + "/" if change.kind is Kind.RMDIR else change.key for change in rest]
        if keys:
            await self._delete(keys)
        for change in changes:
            if change.hides is not None:
                self._tree.unhide(*change.hides)

    async def _delete(self, keys: Sequence[str]) -> None:
        try:
            await self._store.delete(keys)
        except NotEmpty:
            # Somebody else has put something into a directory meanwhile: it stays, and will be seen again.
            if len(keys) > 1:
                for key in keys:
                    await self._delete([key])

    async def _is_still_there(self, change: Change) -> bool:
        """Whether the store has what an earlier daemon was to delete, and not something newer of somebody else."""
        if change.artifact is None:
            return True
        try:
            found = (await self._store.stat(change.key)).artifact
        except NotFound:
            return False
        return found is not None and found.version == change.artifact.version

    async def move(self, change: Change) -> Applied:
        """Have a file's or a directory's bytes under another key."""
        assert change.to is not None
        node = change.node
        for displaced in change.displaced:
            await self._readers.preserve(displaced)
        if node.folder is not None:
            await self._move_directory(change, change.to)
        else:
            await self._move_file(change, change.to)
        if change.hides is not None:
            self._tree.unhide(*change.hides)
        node.error = None
        node.fresh_until = -1.0 if node.replaced else max(node.fresh_until, trio.current_time() + self._ttl)
        self._tree.confirm(node)
        return Applied.DONE

    async def _move_file(self, change: Change, to: str) -> None:
        node = change.node
        known = [self._moves.of(artifact) for artifact in (node.artifact, change.artifact) if artifact is not None]
        old = next((artifact for artifact in known if artifact.key in (change.key, to)), None)
        if old is None:
            # The upload that this waited for was taken back, or has gone up elsewhere since; something of it may have arrived.
            await self._store.delete([change.key])
            return
        if old.key != to:  # Else an earlier attempt came so far.
            await self._have_file_at(change, old, to)
        if not (change.may_be_done and node.artifact is not None and await self._relocation.is_newer(change.key, node.artifact)):
            await self._relocation.clear([change.key])

    async def _have_file_at(self, change: Change, old: Artifact, to: str) -> None:
        node = change.node
        moved = await self._relocation.file(old, to, doubtful=change.doubtful or change.tries > 0)
        if moved is None or moved[0] != old:
            # Somebody else has removed or replaced it meanwhile: what is there now is another version, and so another inode; unless there
            # is something newer of ours, whose upload will see what is there (S9), or which it was that replaced it.
            node.replaced = not self._journal.puts_of(node)
            if moved is not None:
                self._journal.follow(self._journal.of(node), {old: moved[1]})
        else:
            if node.artifact is not None and self._moves.of(node.artifact) == old:
                node.artifact = _known(moved[1], old)
            self._moves.note(old, moved[1])
            self._journal.follow(self._journal.of(node), {old: moved[1]})

    async def _move_directory(self, change: Change, to: str) -> None:
        old, new = change.key + "/", to + "/"
        doubtful = change.doubtful or change.tries > 0
        if self._store.traits.rename:
            await self._relocation.rename(old, new, doubtful=doubtful)
            self._moved(change, self._renamed(change.key, to))
            return
        if not change.moved:
            known = self._artifacts(old)
            pairs = await self._relocation.copies(old, new, known, doubtful=doubtful, uncleared=lambda: self._journal.unmoved(change))
            theirs = await self._relocation.replaced(old, pairs)
            self._moved(change, pairs)
            change.clearing = [*(each.key for each in pairs if each.key not in theirs), *([] if theirs else [old])]
            self._journal.commit()
            await self._relocation.clear(change.clearing)
        elif change.clearing:
            # Of those that are gone already, somebody else may have made some anew.
            theirs = await self._relocation.newer(old, new) if change.may_be_done else set()
            await self._relocation.clear([key for key in change.clearing if key not in theirs])
        else:
            await self._relocation.clear(await self._relocation.twins(old, new))

    def _renamed(self, key: str, to: str) -> dict[Artifact, Artifact]:
        """After an atomic rename every version is the same, under the other key."""
        return {old: replace(old, key=to + old.key[len(key) :]) for old in self._artifacts(key + "/")}

    def _artifacts(self, prefix: str) -> set[Artifact]:
        """Of nodes and rows, whose keys begin so."""
        held = {node.artifact for node in self._nodes()} | {row.artifact for row in self._journal}
        return {artifact for artifact in held if artifact is not None and artifact.key.startswith(prefix)}

    def _nodes(self) -> set[Node]:
        """All that may hold an artifact, with a name or without."""
        return {*self._tree.every(), *(row.node for row in self._journal)}

    def _moved(self, change: Change, pairs: dict[Artifact, Artifact]) -> None:
        """The store has it all under the new keys: now the nodes, the open handles and the rows follow, in one step."""
        change.moved = True
        for old, new in pairs.items():
            self._moves.note(old, new)
        until = trio.current_time() + self._ttl
        for node in self._nodes():
            if node.artifact in pairs:
                node.artifact = _known(pairs[node.artifact], node.artifact)
                node.fresh_until = max(node.fresh_until, until)
        # Whatever their own keys are by now: what they speak of may have been here.
        self._journal.follow(self._journal, pairs)


def _known(made: Artifact, old: Artifact) -> Artifact:
    """A copy, with what was known of its origin where the answer does not say: it takes all of that along."""
    return made if made.meta is not None else replace(made, meta=old.meta)
