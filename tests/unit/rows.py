"""A journal without a worker: what the tests of its order, its rows and its worker share.

What it is: nodes by path, a book that remembers what it was told, and staged files without anything else of a mount.
What it is not: a way to apply a change.
"""

from __future__ import annotations

from pathlib import Path

from storemount.disk import Budget
from storemount.names.nodes import Node
from storemount.names.tree import Tree
from storemount.writeback.change import Change, Kind
from storemount.writeback.journal import Journal
from storemount.writeback.room import Room
from storemount.writeback.staging import StagedFile, Staging


def room(folder: Path) -> Room:
    """All there is."""
    return Room(folder, Budget(None), 0.0, lambda: None, nothing_gives_way)


async def nothing_gives_way() -> bool:
    """There is no cache on this disk."""
    return False


class Notes:
    """A book. `now`: the rows as written until now; `kept`: as of the last commit, which survives anything."""

    written = safe = 0

    def __init__(self) -> None:
        self.now: dict[int, tuple[Kind, str]] = {}
        self.kept: dict[int, tuple[Kind, str]] = {}
        self.error: OSError | None = None

    def write(self, change: Change) -> None:
        self.now[change.id] = change.kind, change.key

    def erase(self, change: Change) -> None:
        self.now.pop(change.id, None)

    def commit(self) -> bool:
        if self.error is not None:
            raise self.error
        changed = self.now != self.kept
        self.kept = dict(self.now)
        return changed


class Rows:
    """A journal, and a tree to hang its rows on."""

    def __init__(self) -> None:
        self.woken = 0
        self.book = Notes()
        self.journal = Journal(self._wake, self.book)
        self.tree = Tree(real_directories=False)

    def _wake(self) -> None:
        self.woken += 1

    def node(self, path: str) -> Node:
        """What is at this path, made as directories where it is missing."""
        node = self.tree.root
        for name in path.split("/"):
            assert node.folder is not None
            node = node.folder.children.get(name) or self.tree.add(node, name, directory=True)
        return node

    def add(self, kind: Kind, key: str, to: str | None = None) -> Change:
        return self.journal.add(kind, self.node(key), key, to=to)

    def ready(self) -> set[Change]:
        """Everything that may start now; it is started."""
        found = set()
        for puts in (True, False):
            while isinstance(change := self.journal.next(puts=puts), Change):
                self.journal.start(change)
                found.add(change)
        return found


class Files:
    """Staged files in `folder`, and puts of them."""

    def __init__(self, rows: Rows, folder: Path) -> None:
        self._rows = rows
        self.staging = Staging(folder, room(folder))

    def staged(self, content: bytes = b"content") -> StagedFile:
        staged = self.staging.create()
        staged.write(0, content)
        staged.protect()
        return staged

    def put(self, path: str, delay: float = 0.0) -> Change:
        """A close of a file with new content."""
        staged = self.staged()
        try:
            return self._rows.journal.put(self._rows.node(path), staged, delay)
        finally:
            staged.drop()
