"""Neighbours: small files opened one after the other -> the next ones, to be fetched before they are asked for.

What it is: for each directory, where in its order of names the last open was, and how long it has gone in that order.
What it is not: I/O; it names artifacts, and somebody else brings them. Files larger than `SMALL` have a read-ahead of their own.
Invariants: nothing is named before two opens in a row were in order; what is named ahead doubles with each further one, up to `MOST`.

Why: a program that walks a directory pays one round trip to the store for each small file; asked for ahead, they overlap.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from cachetools import LRUCache

from storemount.config import MIB
from storemount.names.nodes import Folder, Node
from storemount.stores.base import Artifact

SMALL = MIB
MOST = 32
GAP = 4
"""Names that may be passed over (a directory among files, a file of another kind) without breaking the order."""

LARGEST_FOLDER = 20_000
"""Sorting more names than this would hold up the kernel's requests for more than 5 ms."""

WATCHED = 256


@dataclass(slots=True)
class _Walk:
    """One directory being walked. `ahead`: up to which position files have been named."""

    names: list[str]
    listed_until: float
    position: int
    streak: int = 0
    ahead: int = 0


class Neighbours:
    def __init__(self) -> None:
        self._walks: LRUCache[int, _Walk] = LRUCache(WATCHED)

    def after(self, node: Node) -> list[Artifact]:
        """The artifacts to fetch now that `node` has been opened."""
        parent = node.parent
        if parent is None or parent.folder is None:
            return []
        walk = self._walks.get(parent.ino)
        if len(parent.folder.children) > LARGEST_FOLDER:
            return []
        if walk is None or walk.listed_until != parent.folder.listed_until:
            names = sorted(parent.folder.children)
            self._walks[parent.ino] = _Walk(names, parent.folder.listed_until, bisect_left(names, node.name))
            return []
        step = bisect_left(walk.names, node.name) - walk.position
        walk.position += step
        walk.streak = walk.streak + 1 if 0 < step <= GAP else 0
        return self._next(walk, parent.folder) if walk.streak else []

    def _next(self, walk: _Walk, folder: Folder) -> list[Artifact]:
        until = min(walk.position + 1 + min(MOST, 2**walk.streak), len(walk.names))
        start = max(walk.position + 1, walk.ahead if walk.streak > 1 else 0)
        walk.ahead = max(start, until)
        nodes = (folder.children.get(name) for name in walk.names[start:until])
        return [
            node.artifact
            for node in nodes
            if node is not None and node.artifact is not None and node.staged is None and 0 < node.artifact.size <= SMALL
        ]
