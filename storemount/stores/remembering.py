"""Remembering: a store whose listings carry what this machine knows of the metadata of objects (S12).

What it is: another store whose listings tell no metadata, with the notes of it laid over them; with `full` also with what had to be asked
for, in parallel.
What it is not: a cache of names or bytes.
Invariants: without `full` no verb asks for more than the store's own does. What is known of another version is never shown.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from storemount.errors import NotFound
from storemount.stores.base import Artifact, ArtifactStore, Capacity, Child, Meta, Source, Traits
from storemount.stores.notes import Notes
from storemount.stores.parallel import for_each

AT_ONCE = 32
"""Requests for metadata in flight for one page of a listing."""


class Remembering:
    """`store`, with `notes`. `full`: everything that the listing of one directory shows has its metadata, for a request each where that
    is not known."""

    def __init__(self, store: ArtifactStore, notes: Notes, *, full: bool) -> None:
        self._store = store
        self._notes = notes
        self._full = full
        self.uri = store.uri
        self.traits: Traits = store.traits

    def _noted(self, artifact: Artifact) -> Artifact:
        self._notes.note([artifact])
        return artifact

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        async with aclosing(self._store.list(prefix, recursive=recursive)) as pages:
            async for page in pages:
                yield await self._told(prefix, page, ask=self._full and not recursive)

    async def _told(self, prefix: str, page: Sequence[Child], *, ask: bool) -> Sequence[Child]:
        """The page with what is known of its rows."""
        known = self._notes.recall([row.artifact for row in page if row.artifact is not None])
        known |= self._notes.recall_directories([f"{prefix}{row.name}/" for row in page if row.artifact is None and row.name])
        if ask:
            await self._ask(prefix, page, known)
        return [_with(row, known.get(_key(prefix, row))) for row in page]

    async def _ask(self, prefix: str, page: Sequence[Child], known: dict[str, Meta]) -> None:
        """Ask for what is not known for certain: a directory's listing does not tell which of its markers this is."""
        found: list[Artifact] = []

        async def ask(row: Child) -> None:
            key = _key(prefix, row)
            try:
                artifact = await self._store.describe(key)
            except NotFound:
                known.pop(key, None)
                return
            found.append(artifact)
            if artifact.meta is not None and (row.artifact is None or row.artifact.version == artifact.version):
                known[key] = artifact.meta

        await for_each([row for row in page if row.name and (row.artifact is None or row.artifact.key not in known)], AT_ONCE, ask)
        self._notes.note(found)

    async def check(self) -> None:
        await self._store.check()

    async def stat(self, key: str) -> Child:
        child = await self._store.stat(key)
        if child.artifact is not None:
            self._noted(child.artifact)
            return child
        return _with(child, self._notes.recall_directories([key + "/"]).get(key + "/"))

    async def describe(self, key: str) -> Artifact:
        return self._noted(await self._store.describe(key))

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes | bytearray | memoryview:
        return await self._store.read(artifact, start, stop)

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        return self._noted(await self._store.write(key, source, over=over, absent=absent))

    async def sweep(self, key: str) -> None:
        await self._store.sweep(key)

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        return self._noted(await self._store.annotate(artifact, meta))

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        return self._noted(await self._store.copy(artifact, key))

    async def rename(self, key: str, to: str) -> None:
        await self._store.rename(key, to)

    async def delete(self, keys: Sequence[str]) -> None:
        await self._store.delete(keys)
        self._notes.forget([key for key in keys if key.endswith("/")])

    def open_local(self, artifact: Artifact) -> int:
        return self._store.open_local(artifact)

    async def sync(self, key: str) -> None:
        await self._store.sync(key)

    async def capacity(self) -> Capacity | None:
        return await self._store.capacity()

    async def aclose(self) -> None:
        self._notes.close()
        await self._store.aclose()


def _key(prefix: str, row: Child) -> str:
    return row.artifact.key if row.artifact is not None else f"{prefix}{row.name}/"


def _with(row: Child, meta: Meta | None) -> Child:
    if meta is None:
        return row
    if row.artifact is None:
        return replace(row, meta=meta)
    return replace(row, artifact=replace(row.artifact, meta=meta))
