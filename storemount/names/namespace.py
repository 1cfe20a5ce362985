"""How we change names: create, make, remove, rename.

What it is: the rules of POSIX for names, and the rows they put into the journal.
What it is not: lookups (`catalog`), bytes (`files`), or what the rows do in the store (`application`).
Invariants:
- The tree and the journal change together, with no await between; the store follows in its own time. Until then what it still has under
  a name that is gone is hidden.
- A file the store does not have yet costs the store nothing to rename or to remove (S10).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import trio

from storemount.config import MountSettings
from storemount.content.files import Files
from storemount.errors import (
    AlreadyExists,
    InvalidName,
    IsADirectory,
    NameTooLong,
    NotADirectory,
    NotEmpty,
    NotFound,
)
from storemount.names.catalog import Catalog
from storemount.names.nodes import Node
from storemount.names.tree import Tree, mappable
from storemount.stores.base import EMPTY, Artifact, ArtifactStore, is_partial
from storemount.writeback.change import Change, Kind, State
from storemount.writeback.journal import Journal
from storemount.writeback.publish import Publisher
from storemount.writeback.staging import Staging


@dataclass(frozen=True, slots=True)
class _Displaced:
    """What a renamed file takes the place of: the nodes whose handles keep reading it, whether the store has or may have it, and the
    object, where that is known."""

    nodes: list[Node]
    stored: bool
    artifact: Artifact | None = None


RUN = 4
"""Delays that a removal waits which comes soon after another: `rm -rf` takes away some hundred files in a delay, and one request takes a
thousand."""


class Namespace:
    def __init__(
        self,
        tree: Tree,
        catalog: Catalog,
        files: Files,
        store: ArtifactStore,
        journal: Journal,
        publisher: Publisher,
        staging: Staging,
        settings: MountSettings,
    ) -> None:
        self._tree = tree
        self._catalog = catalog
        self._files = files
        self._store = store
        self._journal = journal
        self._publisher = publisher
        self._staging = staging
        self._settings = settings
        self._removed_at = -math.inf

    # create

    async def create(self, parent: Node, name: str, *, claim: bool = False) -> Node:
        """A new, empty file, in the staging only until it is closed. `claim`: nobody else may have made it, on any machine (S9).

        Raises AlreadyExists, NameTooLong, and with `claim` what the store raises."""
        await self._must_be_free(parent, name)
        claimed = await self._claim(parent, name) if claim else None
        node = self._tree.add(parent, name)
        self._files.create(node, claimed)
        return node

    async def _claim(self, parent: Node, name: str) -> Artifact:
        """An empty object under this name, which only one can have made."""
        await self._journal.settle(self._key(parent, name), self._settings.deadline)
        return await self._store.write(self._key(parent, name), EMPTY, absent=True)

    async def make_directory(self, parent: Node, name: str) -> Node:
        """A directory that persists though it is empty (S11)."""
        await self._must_be_free(parent, name)
        node = self._tree.add(parent, name, directory=True)
        assert node.folder is not None
        node.folder.marked = node.folder.unborn = True
        self._journal.add(Kind.MKDIR, node, node.path, delay=self._settings.upload_delay)
        return node

    async def make_symlink(self, parent: Node, name: str, target: bytes) -> Node:
        """A symbolic link; in the store where it keeps modes, else for the life of this mount."""
        await self._must_be_free(parent, name)
        node = self._tree.add(parent, name)
        node.target = target
        if self._store.traits.modes:
            node.suffix = self._store.traits.link_suffix
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
        if self._store.traits.forbidden is not None and self._store.traits.forbidden.search(name):
            raise InvalidName(f"{name!r}: this store would keep it under another name, or not at all")
        return key

    # remove

    async def remove(self, parent: Node, name: str) -> None:
        """Unlink a file or a symbolic link; open handles keep it."""
        node = await self._must_exist(parent, name)
        if node.folder is not None:
            raise IsADirectory(name)
        self._take_away(node)
        self._tree.unlink(node)
        self._publisher.abandon(node)

    def _take_away(self, node: Node) -> None:
        """Take back what is only planned for this file, and have deleted what the store has or may be getting."""
        cancelled = self._cancel_waiting(node)
        if self._is_in_store(node, cancelled):
            self._keep_directory(node)
            change = self._remove_later(Kind.DELETE, node, self._settled(node, cancelled), delay=self._removal_delay())
            change.displaced += cancelled.displaced if cancelled is not None else ()

    def _removal_delay(self) -> float:
        """Seconds for which a removal waits for others to go with."""
        delay, now = self._settings.upload_delay, trio.current_time()
        in_a_run = now - self._removed_at < delay
        self._removed_at = now
        return delay * RUN if in_a_run else delay

    def _remove_later(self, kind: Kind, node: Node, artifact: Artifact | None = None, *, delay: float | None = None) -> Change:
        """What the store has under this node's name (`artifact`, when that is known) goes; from now on it is not seen."""
        assert node.parent is not None
        hides = (node.parent, node.name)
        self._tree.hide(*hides)
        wait = self._settings.upload_delay if delay is None else delay
        change = self._journal.add(kind, node, node.key, artifact=artifact, hides=hides, delay=wait)
        if node.opens:
            change.displaced.append(node)
        return change

    def _cancel_waiting(self, node: Node, by: Change | None = None) -> Change | None:
        """Take back this node's put that is not running: which it was (the store may have it all the same, if it is uncertain). `by`: the
        put of what takes its place."""
        change = self._journal.waiting_put(node)
        if change is not None:
            self._journal.cancel(change, by)
        return change

    def _keep_directory(self, node: Node) -> None:
        """The last file of a directory without a marker is about to go: the directory stays (S11)."""
        parent = node.parent
        if parent is None or parent.folder is None or parent.folder.marked:
            return
        others = [child for child in parent.folder.children.values() if child is not node]
        stays = any(self._is_in_store(child) and not (child.folder is not None and child.folder.unborn) for child in others)
        if not stays or trio.current_time() >= parent.folder.listed_until:
            self._journal.add(Kind.MKDIR, parent, parent.path)
            parent.folder.marked = True

    async def remove_directory(self, parent: Node, name: str) -> None:
        """Remove an empty directory. Raises NotEmpty (hidden keys count), NotADirectory."""
        node = await self._must_exist(parent, name)
        await self._must_be_empty(node)
        made = self._never_made(node)
        if made is not None:
            self._journal.cancel(made)
        else:
            self._keep_directory(node)
            self._remove_later(Kind.RMDIR, node, delay=self._removal_delay())
        self._tree.unlink(node)

    def _unmade(self, node: Node) -> Change | None:
        """The mkdir of this directory, if it has not begun, and so nothing that lies below it either."""
        assert node.folder is not None
        if not node.folder.unborn or node.covers:
            return None
        made = [change for change in self._journal.at(node.path) if change.kind is Kind.MKDIR and change.node is node]
        return made[0] if made and not made[0].uncertain else None

    def _never_made(self, node: Node) -> Change | None:
        """The mkdir of this directory, if nothing would be there without it: what only passes through it makes it, too."""
        made = self._unmade(node)
        return made if made is not None and self._journal.under(node.path) == [made] else None

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
        if node.folder is None:
            if target is not None and target.folder is not None:
                raise IsADirectory(target.name)
            self._rename_file(node, to, to_name, target)
        else:
            covers = await self._replace_directory(target) if target is not None else False
            self._rename_directory(node, to, to_name)
            node.covers = covers

    async def _replace_directory(self, target: Node) -> bool:
        """Another directory takes its name; whether the store has it, or is getting it. Raises NotEmpty."""
        await self._must_be_empty(target)
        made = self._never_made(target)
        if made is not None:
            self._journal.cancel(made)
        return made is None

    def _rename_file(self, node: Node, to: Node, name: str, target: Node | None) -> None:
        waiting = self._journal.waiting_put(node)
        displaced = self._displace(node, target)
        overwrites = displaced.stored
        if target is not None and overwrites and target.suffix != node.suffix:
            # A file takes the name of a link, or a link that of a file: their keys are not the same.
            self._remove_later(Kind.DELETE, target, displaced.artifact)
            overwrites = False
        change = None
        if node.artifact is not None or self._journal.running_put(node) is not None:
            self._keep_directory(node)
            change = self._move_later(node, self._key(to, name) + node.suffix)
        elif node.covers or (waiting is not None and waiting.uncertain):
            # The name that this new file leaves must not show what the store has there.
            self._keep_directory(node)
            removal = self._remove_later(Kind.DELETE, node)
            if waiting is not None:
                # It is the removal now that takes the object from those who read it.
                removal.displaced += waiting.displaced
                waiting.displaced.clear()
        self._tree.relink(node, to, name)
        node.covers = overwrites and node.artifact is None
        if waiting is not None:
            self._journal.rekey(waiting, node.key)
            self._publisher.overwrites(waiting)
        replacing = change or waiting
        if replacing is not None:
            replacing.displaced += displaced.nodes
        if target is not None:
            self._publisher.abandon(target)

    def _displace(self, node: Node, target: Node | None) -> _Displaced:
        """`node` takes the place of `target`."""
        if target is None:
            return _Displaced([], stored=False)
        reading = [target] if target.opens else []
        if not self._is_promised(node):
            # Nothing of the new file is closed yet, so what was closed of the old one goes up all the same (S7).
            return _Displaced(reading, stored=True, artifact=self._settled(target))
        newest = self._journal.puts_of(node)[-1:]
        cancelled = self._cancel_waiting(target, *newest)
        reading += cancelled.displaced if cancelled is not None else ()
        return _Displaced(reading, self._is_in_store(target, cancelled), self._settled(target, cancelled))

    def _settled(self, node: Node, cancelled: Change | None = None) -> Artifact | None:
        """What the store has of this file, if nothing newer is on its way there, or may have come there by the put that was taken back."""
        newer = self._journal.puts_of(node) or (cancelled is not None and cancelled.uncertain)
        return None if newer else node.artifact

    def _is_promised(self, node: Node) -> bool:
        return node.artifact is not None or node.target is not None or bool(self._journal.puts_of(node))

    def _move_later(self, node: Node, to: str) -> Change:
        assert node.parent is not None
        hides = (node.parent, node.name)
        self._tree.hide(*hides)
        return self._journal.add(Kind.MOVE, node, node.key, to=to, artifact=node.artifact, hides=hides)

    def _is_in_store(self, node: Node, cancelled: Change | None = None) -> bool:
        """Whether the store has, or is just getting, something under this name, or may have it from the put that was taken back."""
        known = node.artifact is not None or node.covers or node.folder is not None
        return known or self._journal.running_put(node) is not None or (cancelled is not None and cancelled.uncertain)

    def _rename_directory(self, node: Node, to: Node, name: str) -> None:
        """What is not uploaded yet goes up under its new name only; the rest moves in the store."""
        old, new = node.path, self._key(to, name)
        rows = self._journal.under(old)
        takes_along: tuple[Kind, ...] = (Kind.PUT, Kind.MKDIR)
        if self._unmade(node) is None or any(row.uncertain or row.kind not in takes_along for row in rows):
            self._keep_directory(node)
            self._move_later(node, new)
            takes_along = (Kind.PUT,)
            assert node.folder is not None
            node.folder.marked = True
        self._tree.relink(node, to, name)
        for row in rows:
            # A row of another directory, which had this name before and waits to be moved from here, stays.
            if row.kind in takes_along and row.state is not State.RUNNING and row.node.is_within(node):
                self._journal.rekey(row, new + row.key[len(old) :])
