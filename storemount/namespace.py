"""How we change names: create, make, remove, rename.

What it is: the rules of POSIX for names, and the rows they put into the journal; and what those rows do when the worker applies them.
What it is not: lookups (`catalog`), bytes (`files`), order and limits (`writeback`).
Invariants:
- The store first, the tree second: a change that the store refuses leaves the names as the kernel believes them to be.
- The end of a row is one step: the tree, the journal and the whereabouts change together, with no await between.
- A file the store does not have yet costs the store nothing to rename or to remove (S10).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from storemount.catalog import Catalog
from storemount.config import MountSettings
from storemount.errors import (
    AlreadyExists,
    InvalidName,
    IsADirectory,
    NameTooLong,
    NotADirectory,
    NotEmpty,
    NotFound,
    Unavailable,
)
from storemount.files import Files
from storemount.publish import Publisher
from storemount.stores.base import EMPTY, Artifact, ArtifactStore, is_partial
from storemount.stores.moves import Whereabouts
from storemount.stores.relocation import Relocation
from storemount.tree import Node, Tree, mappable
from storemount.writeback.journal import Change, Journal, Kind, State
from storemount.writeback.staging import Staging


class Namespace:
    def __init__(
        self,
        tree: Tree,
        catalog: Catalog,
        files: Files,
        store: ArtifactStore,
        journal: Journal,
        publisher: Publisher,
        moves: Whereabouts,
        staging: Staging,
        settings: MountSettings,
    ) -> None:
        self._tree = tree
        self._catalog = catalog
        self._files = files
        self._store = store
        self._journal = journal
        self._publisher = publisher
        self._moves = moves
        self._staging = staging
        self._settings = settings
        self._relocation = Relocation(store)

    # create

    async def create(self, parent: Node, name: str) -> Node:
        """A new, empty file, in the staging only until it is closed. Raises AlreadyExists, NameTooLong."""
        await self._must_be_free(parent, name)
        node = self._tree.add(parent, name)
        self._files.create(node)
        return node

    async def make_directory(self, parent: Node, name: str) -> Node:
        """A directory that persists though it is empty (S11)."""
        await self._must_be_free(parent, name)
        await self._apply(Kind.MKDIR, parent, self._key(parent, name), self.make_marker)
        node = self._tree.add(parent, name, directory=True)
        assert node.folder is not None
        node.folder.marked = True
        node.fresh_until = node.folder.listed_until = trio.current_time() + self._settings.ttl
        return node

    async def make_symlink(self, parent: Node, name: str, target: bytes) -> Node:
        """A symbolic link; in the store where it keeps modes, else for the life of this mount."""
        await self._must_be_free(parent, name)
        node = self._tree.add(parent, name)
        node.target = target
        if self._store.traits.modes:
            node.staged = self._staging.create()
            node.staged.write(0, target)
            node.own.mode = 0o777
            self._publisher.closed(node)
        return node

    async def _must_be_free(self, parent: Node, name: str) -> None:
        self._key(parent, name)
        if await self._catalog.find(parent, name) is not None:
            raise AlreadyExists(name)

    def _key(self, parent: Node, name: str) -> str:
        """The key of a name here. Raises NameTooLong, InvalidName."""
        if is_partial(name):
            raise InvalidName(f"{name} is what unfinished copies are called")
        if not mappable(name):
            raise NameTooLong(name)
        path = parent.path
        key = f"{path}/{name}" if path else name
        if len(key.encode("utf-8", "surrogateescape")) > self._store.traits.max_key_bytes:
            raise NameTooLong(f"{key} is longer than the store's {self._store.traits.max_key_bytes} bytes")
        if not self._store.traits.bytes_names and any("\udc80" <= letter <= "\udcff" for letter in name):
            raise InvalidName(f"{name!r} is not UTF-8, which this store's keys must be")
        return key

    # remove

    async def remove(self, parent: Node, name: str) -> None:
        """Unlink a file or a symbolic link; open handles keep it."""
        node = await self._must_exist(parent, name)
        if node.folder is not None:
            raise IsADirectory(name)
        try:
            await self._take_away(node)
            while self._cancel_waiting(node) is not None:  # Somebody saved it meanwhile.
                await self._take_away(node)
        except BaseException:
            self._files.forget_copy(node)
            self._publisher.closed(node)
            raise
        self._tree.unlink(node)
        self._publisher.abandon(node)

    async def _take_away(self, node: Node) -> None:
        """Cancel what is only planned for this file, and delete what the store has."""
        await self._stop_uploads(node)
        if node.artifact is None and not node.covers:
            return
        await self._files.preserve(node)
        await self._keep_directory(node)
        await self._apply(Kind.DELETE, node, node.path, self.delete)

    async def _stop_uploads(self, node: Node) -> None:
        """Take back this node's puts; one that is running is waited for, since what it sends cannot be recalled."""
        while (running := self._cancel_waiting(node)) is not None:
            await running.turn.wait()

    def _cancel_waiting(self, node: Node) -> Change | None:
        """Take back this node's puts that are not running; the one that is."""
        running = None
        for change in self._journal.puts_of(node):
            if change.state is State.RUNNING:
                running = change
            else:
                self._journal.cancel(change)
        return running

    async def _keep_directory(self, node: Node) -> None:
        """The last file of a directory without a marker is about to go: the directory stays (S11)."""
        parent = node.parent
        if parent is None or parent.folder is None or parent.folder.marked:
            return
        stays = any(child is not node and self._is_in_store(child) for child in parent.folder.children.values())
        if not stays or trio.current_time() >= parent.folder.listed_until:
            await self._apply(Kind.MKDIR, parent, parent.path, self.make_marker)
            parent.folder.marked = True

    async def remove_directory(self, parent: Node, name: str) -> None:
        """Remove an empty directory. Raises NotEmpty (hidden keys count), NotADirectory."""
        node = await self._must_exist(parent, name)
        await self._must_be_empty(node)
        await self._keep_directory(node)
        await self._apply(Kind.RMDIR, node, node.path, self.delete_marker)
        self._tree.unlink(node)

    async def _must_be_empty(self, node: Node) -> None:
        if node.folder is None:
            raise NotADirectory(node.name)
        await self._catalog.listed(node)
        if node.folder.children or node.folder.hidden:
            raise NotEmpty(node.path)

    async def _must_exist(self, parent: Node, name: str) -> Node:
        node = await self._catalog.find(parent, name)
        if node is None:
            raise NotFound(name)
        return node

    # rename

    async def rename(self, parent: Node, name: str, to: Node, to_name: str, *, replace: bool) -> None:
        """POSIX rename, within the mount. Raises AlreadyExists when not `replace`, NotEmpty, IsADirectory, NotADirectory."""
        node = await self._must_exist(parent, name)
        target = await self._catalog.find(to, to_name)
        self._key(to, to_name)
        if target is node:
            return
        if target is not None and not replace:
            raise AlreadyExists(to_name)
        try:
            if target is not None:
                await self._may_replace(node, target)
                self._cancel_waiting(target)
            if node.folder is None:
                await self._rename_file(node, to, to_name, target)
            else:
                await self._rename_directory(node, to, to_name)
        except BaseException:
            if target is not None:
                self._files.forget_copy(target)
                self._publisher.closed(target)
            raise

    async def _may_replace(self, node: Node, target: Node) -> None:
        if node.folder is None:
            if target.folder is not None:
                raise IsADirectory(target.name)
            if target.opens:
                # Its handles keep what is being sent just now, once it can be read in the store.
                await self._stop_uploads(target)
            await self._files.preserve(target)
        else:
            await self._must_be_empty(target)

    async def _rename_file(self, node: Node, to: Node, name: str, target: Node | None) -> None:
        await self._stop_uploads(node)
        if node.artifact is None and node.covers:
            await self._uncover(node)
        if node.artifact is not None:
            await self._keep_directory(node)
            await self._move_in_store(node, to, name)
            return
        node.covers = target is not None and self._is_in_store(target)
        self._tree.relink(node, to, name)
        if target is not None:
            self._publisher.abandon(target)
        self._publisher.closed(node)

    async def _uncover(self, node: Node) -> None:
        """The name that this new file leaves must not show the object that it had replaced."""
        await self._keep_directory(node)
        await self._apply(Kind.DELETE, node, node.path, self.delete)
        node.covers = False
        await self._stop_uploads(node)

    def _is_in_store(self, node: Node) -> bool:
        """Whether the store has, or is just getting, something under this name."""
        known = node.artifact is not None or node.covers or node.folder is not None
        return known or any(change.state is State.RUNNING for change in self._journal.puts_of(node))

    async def _rename_directory(self, node: Node, to: Node, name: str) -> None:
        """What is not uploaded yet goes up under its new name only; the rest moves in the store."""
        for each in self._tree.below(node):
            self._cancel_waiting(each)
        await self._keep_directory(node)
        await self._move_in_store(node, to, name)

    async def _move_in_store(self, node: Node, to: Node, name: str) -> None:
        try:
            await self._journal.wait(self._journal.add(Kind.MOVE, node, node.path, to=self._key(to, name), target=to))
        finally:
            for each in self._tree.below(node):
                self._publisher.closed(each)

    # what the rows do

    async def _apply(self, kind: Kind, node: Node, key: str, applier: Callable[[Change], Awaitable[None]]) -> None:
        """A row, applied when this returns. Raises what the store raised, and then nothing has changed."""
        change = self._journal.begin(kind, node, key)
        if change is None:
            await self._journal.wait(self._journal.add(kind, node, key))
            return
        try:
            await applier(change)
        except BaseException as error:
            self._journal.finish(change, error if isinstance(error, Exception) else Unavailable("the mount is stopping"))
            raise
        self._journal.finish(change)

    async def make_marker(self, change: Change) -> None:
        await self._store.write(change.key + "/", EMPTY)

    async def delete(self, change: Change) -> None:
        await self._store.delete([change.key])

    async def delete_marker(self, change: Change) -> None:
        await self._store.delete([change.key + "/"])

    async def move(self, change: Change) -> None:
        """Give a file or a directory another key, then its node another name."""
        assert change.to is not None and change.target is not None
        node, directory = change.node, change.node.folder is not None
        slash = "/" if directory else ""
        if self._store.traits.rename:
            await self._store.rename(change.key + slash, change.to + slash)
            pairs = self._renamed(node, change.key, change.to)
        elif directory:
            replaces = self._tree.find(change.to) is not None
            pairs = await self._relocation.directory(change.key + "/", change.to + "/", replaces=replaces)
        else:
            pairs = await self._relocation.file(node.artifact, change.to) if node.artifact is not None else {}
        self._moved(change, pairs)

    def _renamed(self, node: Node, key: str, to: str) -> dict[Artifact, Artifact]:
        """After an atomic rename every version is the same, under the other key."""
        pairs = {}
        for each in self._tree.below(node):
            old = each.artifact
            if old is not None and (old.key == key or old.key.startswith(key + "/")):
                pairs[old] = Artifact(to + old.key[len(key) :], old.version, old.size, old.mtime_ns, old.mode)
        return pairs

    def _moved(self, change: Change, pairs: dict[Artifact, Artifact]) -> None:
        """The store has moved it: now the tree, the waiting puts and the open handles follow, in one step."""
        assert change.to is not None and change.target is not None
        node, name = change.node, change.to.rpartition("/")[2]
        replaced = change.target.folder.children.get(name) if change.target.folder is not None else None
        if replaced is not None:
            self._cancel_waiting(replaced)
        self._tree.relink(node, change.target, name)
        self._journal.rekey(change.key, change.to)
        for old, new in pairs.items():
            self._moves.note(old, new)
        for each in self._tree.below(node):
            if each.artifact in pairs:
                each.artifact = pairs[each.artifact]
            each.fresh_until = max(each.fresh_until, trio.current_time() + self._settings.ttl)
        if node.folder is not None:
            node.folder.marked = True
        if replaced is not None:
            self._publisher.abandon(replaced)
