"""Whereabouts: where the bytes of an artifact have gone.

What it is: a bounded memory of renames in the store, so that whoever holds an artifact under its old key (an open handle, a staged
file's base) still finds its bytes.
What it is not: a way to find another version: both ends of an entry hold the same bytes.
"""

from __future__ import annotations

from cachetools import LRUCache

from storemount.stores.base import Artifact

REMEMBERED = 100_000


class Whereabouts:
    """Artifact -> the artifact that now holds its bytes."""

    def __init__(self) -> None:
        self._moved: LRUCache[Artifact, Artifact] = LRUCache(REMEMBERED)

    def note(self, old: Artifact, new: Artifact) -> None:
        if old != new:
            self._moved[old] = new
            self._moved.pop(new, None)

    def forget(self, artifact: Artifact) -> None:
        """These bytes have just been written under their own key (again, where a version is told by its content)."""
        self._moved.pop(artifact, None)

    def of(self, artifact: Artifact) -> Artifact:
        while (moved := self._moved.get(artifact)) is not None:
            artifact = moved
        return artifact
