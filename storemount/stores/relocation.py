"""Relocation: moving a file or a directory in a flat store, which can only copy and delete.

What it is: the order of the requests, and what happens when one fails.
What it is not: the names that the mount shows (`namespace` changes them when this has ended).
Invariants: at any moment every file is whole under its old key, its new key, or both. Until all copies are made a failure takes them
back; from then on the move is done, and old keys that cannot be deleted are only named.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import aclosing

import trio

from storemount.errors import Changed, NotFound, StoreMountError
from storemount.stores.base import EMPTY, Artifact, ArtifactStore
from storemount.stores.parallel import for_each

COPIES = 32
"""Server-side copies in flight while a directory moves."""

CLEARED = 3
"""Attempts to delete the old keys of a move."""

Pairs = dict[Artifact, Artifact]
"""Where the bytes were -> where they are."""

log = logging.getLogger(__name__)


class Relocation:
    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    async def file(self, artifact: Artifact, to: str) -> Pairs:
        """Copy it, then delete it. Raises what the copy raises, and then nothing has changed."""
        new = await self._store.copy(artifact, to)
        await self._clear([artifact.key])
        return {artifact: new}

    async def directory(self, prefix: str, to: str, *, replaces: bool) -> Pairs:
        """Copy everything below `prefix` to below `to`, in parallel, then delete it.

        replaces: `to` is an empty directory already, and stays one when this fails. Raises what a listing or a copy raises.
        """
        pairs: Pairs = {}
        begun = set() if replaces else {to}

        async def copy(old: Artifact) -> None:
            key = to + old.key[len(prefix) :]
            begun.add(key)
            try:
                pairs[old] = await self._copy(old, key)
            except NotFound as error:
                raise Changed(old.key) from error

        try:
            await self._store.write(to, EMPTY)
            async with aclosing(self._store.list(prefix, recursive=True)) as pages:
                async for page in pages:
                    await for_each([child.artifact for child in page if child.artifact is not None], COPIES, copy)
        except Exception:
            # Also what was cut short: its copy may have been made.
            await self._take_back(sorted(begun - {to} if replaces else begun))
            raise
        await self._clear([*(old.key for old in pairs), prefix])
        return pairs

    async def _copy(self, old: Artifact, to: str) -> Artifact:
        if to.endswith("/") and "//" not in to and not old.size:
            return await self._store.write(to, EMPTY)
        return await self._store.copy(old, to)

    async def _take_back(self, copies: Sequence[str]) -> None:
        """Nothing was deleted yet: the old names are whole, and the new ones should not be seen."""
        try:
            await self._store.delete(copies)
        except StoreMountError as error:
            log.warning("a directory move failed, and copies of it stay: %s (%s)", ", ".join(copies[:5]), error)

    async def _clear(self, keys: Sequence[str]) -> None:
        """Delete the old keys. Every copy has been made, so there is no way back: what cannot be deleted is named."""
        for attempt in range(CLEARED):
            try:
                await self._store.delete(keys)
            except StoreMountError as error:
                if attempt + 1 == CLEARED or not error.transient:
                    log.warning("moved, but %d old names could not be deleted and will be seen again: %s (%s)", len(keys), keys[0], error)
                    return
                await trio.sleep(2**attempt)
            else:
                return
