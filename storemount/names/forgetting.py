"""Forgetting: names that nobody needs are let go when there are too many of them (S15).

What it is: a look through the tree, now and then, while it holds more than `most` names; what has been idle for longest goes first.
What it is not: a cap on what is in use: a directory that is open or being listed keeps its names, and so does everything that holds local
truth (a staged file, a pending change, an attribute that the store does not keep).
Invariants:
- A name goes only when the kernel does not hold it: then no request can be about it. Where the kernel does, it is asked to let go, and the
  next look takes it.
- A name goes only when its answer ended `AGES[-1]` seconds ago or more: whoever has just learnt it may be about to use it.
- A directory that lost a name is not fully known any more: the next question about it goes to the store.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import trio

from storemount.names.nodes import Node
from storemount.names.tree import Tree
from storemount.stores.base import Traits

EVERY = 10.0
"""Seconds between two looks."""

AGES = (3600.0, 600.0, 60.0)
"""How long ago an answer must have ended, in seconds; the next smaller one where that was not enough."""

LEFT = 0.9
"""Which part of the cap a look leaves, so that the next one is not due at once."""

SLICE = 2000
"""Names looked at in one go (about a millisecond); requests are answered in between."""

log = logging.getLogger(__name__)

LetGo = Callable[[int, bytes], None]
"""Asks the kernel to forget a name of a directory, by its inode. Does not wait."""


class Forgetting:
    """`most`: names that `tree` may hold, of a store with `traits`. `let_go` is told of names that the kernel holds."""

    def __init__(self, tree: Tree, traits: Traits, most: int, let_go: LetGo) -> None:
        self._tree = tree
        self._traits = traits
        self._most = most
        self._let_go = let_go

    async def run(self) -> None:
        while True:
            await trio.sleep(EVERY)
            await self.look()

    async def look(self) -> None:
        """Bring the tree below its cap, as far as that can be done now."""
        if len(self._tree) <= self._most:
            return
        before = len(self._tree)
        for age in AGES:
            await self._pass(age)
            if self._excess() <= 0:
                break
        if (gone := before - len(self._tree)) > 0:
            log.info("let go of %d names that nobody used; %d are known", gone, len(self._tree))

    def _excess(self) -> int:
        return len(self._tree) - int(self._most * LEFT)

    async def _pass(self, age: float) -> None:
        asked = 0
        # A directory comes after all that is below it, and can then go itself.
        for parent in reversed([node for node in self._tree.below(self._tree.root) if node.folder is not None]):
            for start in range(0, len(children := self._children(parent)), SLICE):
                limit = trio.current_time() - age
                for node in children[start : start + SLICE]:
                    if self._excess() - asked <= 0:
                        return
                    if node.fresh_until < limit and node.parent is parent and self._is_kept(node) and not self._tree.evict(node):
                        asked += self._ask_the_kernel(parent, node)
                await trio.lowlevel.checkpoint()

    @staticmethod
    def _children(parent: Node) -> list[Node]:
        """The names of a directory that may go; none while somebody reads it."""
        assert parent.folder is not None
        return [] if parent.folder.readers or parent.folder.unborn or not parent.attached else list(parent.folder.children.values())

    def _is_kept(self, node: Node) -> bool:
        """Whether the store keeps what was set on this name."""
        own, traits = node.attributes, self._traits
        if own is None:
            return True
        return traits.modes and (not traits.listed_meta or (own.uid is None and own.gid is None and not own.xattrs))

    def _ask_the_kernel(self, parent: Node, node: Node) -> bool:
        """Whether the kernel holds a name that could go otherwise, and was asked to let go."""
        if not node.lookups or not node.forgettable:
            return False
        self._let_go(parent.ino, os.fsencode(node.name))
        return True
