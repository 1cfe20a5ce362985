"""FlatStore: the verbs that a store of mere objects does not offer.

What it is: one refusal for each of them, inherited by the stores whose traits say no.
What it is not: a store, or a place for what such stores share otherwise.
Invariants: nobody who looks at the traits first ever meets a refusal.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from storemount.stores.base import Artifact, Capacity, Child, Meta


class FlatStore:
    """No rename, no files here, no metadata of its own, no notion of room; and what it has accepted is durable."""

    async def rename(self, key: str, to: str) -> None:
        raise NotImplementedError("traits.rename is False")

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        raise NotImplementedError("traits.modes is False")

    def open_local(self, artifact: Artifact) -> int:
        raise NotImplementedError("traits.local_files is False")

    async def sync(self, key: str) -> None:
        raise NotImplementedError("traits.lazy is False")

    async def capacity(self) -> Capacity | None:
        await trio.lowlevel.checkpoint()
        return None


def distinct(rows: Sequence[Child], directories: set[str]) -> Sequence[Child]:
    """`rows` without those directories that came before: one can be told both by its own blob and by what is below it. `directories` is
    what was told so far, and grows."""
    kept = []
    for row in rows:
        if row.artifact is None:
            if row.name in directories:
                continue
            directories.add(row.name)
        kept.append(row)
    return kept
