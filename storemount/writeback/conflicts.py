"""Conflicts: a file was edited here, and somebody else changed it meanwhile (S9).

What it is: whether it really is a conflict, and stepping aside: theirs keeps the name, ours goes up beside it.
What it is not: how a condition is put to the store (`stores`), or when something is sent (`publish`).
Invariants: nothing of either side is lost. An upload of our own whose answer was lost is no conflict: bytes decide, not version tokens.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from dataclasses import dataclass

from storemount.config import MIB
from storemount.content.readers import Readers
from storemount.errors import Changed, NotFound
from storemount.names.nodes import Node
from storemount.names.tree import MAX_SEGMENT, Tree
from storemount.stores.base import Artifact, ArtifactStore
from storemount.writeback.change import Change
from storemount.writeback.journal import Journal
from storemount.writeback.staging import StagedFile

STEP = 8 * MIB

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Conflict:
    """`path` is theirs, `ours` is where our version went. `time` in seconds since the epoch."""

    path: str
    ours: str
    time: float


class Conflicts:
    """Those of one mount, since it was started."""

    def __init__(self, tree: Tree, store: ArtifactStore, journal: Journal, readers: Readers) -> None:
        self._tree = tree
        self._store = store
        self._journal = journal
        self._readers = readers
        self.seen: list[Conflict] = []

    async def preserve(self, node: Node) -> None:
        """Before this node's object is replaced: keep it readable for the handles that are open."""
        await self._readers.preserve(node)

    async def resolve(self, change: Change, staged: StagedFile) -> Artifact | None:
        """The store did not have what `change` was based on. The object, if it is ours after all; else None, and the row is to be tried
        again: over what an earlier upload of ours has left, or as a new file, here or beside. Raises what the store raises."""
        found = await self.found(change.key)
        node = change.node
        if found is None:
            # Theirs was a removal: there is nothing to keep it from.
            node.artifact, change.exclusive = None, True
        elif await self._holds(found, staged, change.size):
            return found
        elif await self._holds_older(found, change, staged):
            node.artifact = found
        elif node.attached:
            self._step_aside(change)
        else:
            # It has no name any more, so nobody wants it beside theirs.
            raise Changed(change.key)
        self._journal.update(change)
        return None

    async def found(self, key: str) -> Artifact | None:
        """What the store has there. Raises what the store raises, but NotFound."""
        try:
            return (await self._store.stat(key)).artifact
        except NotFound:
            return None

    async def _holds_older(self, found: Artifact, change: Change, staged: StagedFile) -> bool:
        """Whether the store has an older state of ours, of which nobody told us that it arrived."""
        states = [(layer, layer.size) for layer in staged.chain[1:]]
        states += [(older.staged, older.size) for older in _older(change) if older.staged is not None]
        for state, size in states:
            if await self._holds(found, state, size):
                return True
        return False

    async def _holds(self, found: Artifact, staged: StagedFile, size: int) -> bool:
        if found.size != size:
            return False
        for start in range(0, found.size, STEP):
            stop = min(start + STEP, found.size)
            try:
                theirs, ours = await self._store.read(found, start, stop), await staged.read(start, stop - start)
            except Changed:
                return False  # Of an older state not even the base may be there any more.
            if memoryview(theirs) != memoryview(ours):
                return False
        return True

    def _step_aside(self, change: Change) -> None:
        """Give our version another name, in the mount and on its way."""
        node, parent = change.node, change.node.parent
        change.exclusive = True
        node.artifact, node.covers = None, False
        assert parent is not None and parent.folder is not None
        path, name = node.path, beside(node.name, time.time())
        self._tree.relink(node, parent, name)
        parent.folder.listed_until = -1.0
        for put in self._journal.puts_of(node):
            # A newer state goes where the one does that it is based on, and after it: by itself it would go over theirs.
            self._journal.rekey(put, node.key)
        self.seen.append(Conflict(path, node.path, time.time()))
        log.warning("conflict: %r was changed in the store while it was edited here; ours is kept as %r", path, node.path)


def _older(change: Change) -> list[Change]:
    """The puts whose place this one has taken, and those whose place they had taken."""
    return [each for older in change.earlier for each in (older, *_older(older))]


def beside(name: str, now: float) -> str:
    """`NAME.conflict-HOST-TIME`, cut to the length of a name; an earlier such ending is replaced."""
    stem = name.partition(".conflict-")[0]
    host, when = socket.gethostname().partition(".")[0], time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    ending = f".conflict-{host}-{when}-{int(now * 1000) % 1000:03}"
    kept = os.fsencode(stem)[: MAX_SEGMENT - len(os.fsencode(ending))]
    return kept.decode("utf-8", "ignore") + ending if kept != os.fsencode(stem) else stem + ending
