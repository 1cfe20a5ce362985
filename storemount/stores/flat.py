"""FlatStore: the verbs that a store of mere objects does not offer.

What it is: one refusal for each of them, inherited by the stores whose traits say no.
What it is not: a store, or a place for what such stores share otherwise.
Invariants: nobody who looks at the traits first ever meets a refusal.
"""

from __future__ import annotations

import trio

from storemount.stores.base import Artifact, Capacity, Meta


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
