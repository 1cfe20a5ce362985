"""MemoryStore: the reference implementation of the protocol, a flat object store in a dictionary.

What it is: what every other store is measured against, and `memory://` for trying things out.
What it is not: durable, or shared between processes.
Invariants: flat like S3 (no real directories, markers are objects; listings carry no metadata); every verb passes a checkpoint, as a
network store would, and none between the check of a condition and the write.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import trio

from storemount.errors import Changed, Corrupt, NotFound
from storemount.stores.base import Artifact, Child, Meta, Source, Traits
from storemount.stores.conditions import ALWAYS, Condition
from storemount.stores.dialects import LINK
from storemount.stores.flat import FlatStore

PAGE = 1000
UNSAID = Meta()


class MemoryStore(FlatStore):
    """Objects in a dictionary: key -> (artifact, bytes)."""

    traits = Traits(engine="memory", conditional=True, modes=True, link_suffix=LINK, max_key_bytes=1024)

    def __init__(self, uri: str = "memory://") -> None:
        self.uri = uri.rstrip("/") if not uri.endswith("://") else uri[:-1]
        self._objects: dict[str, tuple[Artifact, bytes]] = {}
        self._versions = itertools.count(1)

    async def check(self) -> None:
        await trio.lowlevel.checkpoint()

    async def stat(self, key: str) -> Child:
        await trio.lowlevel.checkpoint()
        name = key.rpartition("/")[2]
        if any(other.startswith(key + "/") for other in self._objects):
            return Child(name, None)
        return Child(name, self._held(key))

    def _held(self, key: str) -> Artifact:
        if key not in self._objects:
            raise NotFound(key)
        return self._objects[key][0]

    async def describe(self, key: str) -> Artifact:
        await trio.lowlevel.checkpoint()
        return self._held(key)

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        await trio.lowlevel.checkpoint()
        rows = self._rows(prefix, recursive)
        for start in range(0, len(rows), PAGE):
            if start:
                await trio.lowlevel.checkpoint()
            yield rows[start : start + PAGE]

    def _rows(self, prefix: str, recursive: bool) -> Sequence[Child]:
        rows: dict[tuple[str, bool], Child] = {}
        for key, (artifact, _) in sorted(self._objects.items()):
            if not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            head, slash, _ = rest.partition("/")
            if slash and not recursive:
                rows[head, True] = Child(head, None)
            else:
                rows[rest, False] = Child(rest, replace(artifact, meta=None))
        return list(rows.values())

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes:
        await trio.lowlevel.checkpoint()
        held = self._objects.get(artifact.key)
        if held is None or held[0].version != artifact.version:
            raise Changed(artifact.key)
        return held[1][start:stop]

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        data = await trio.Path(source.path).read_bytes() if source.size else b""
        if len(data) < source.size:
            raise Corrupt(f"{source.path} is shorter than it was")
        return self._put(key, data[: source.size], Condition(over, absent), source.meta)

    def _put(self, key: str, data: bytes, condition: Condition = ALWAYS, meta: Meta = UNSAID) -> Artifact:
        condition.check(key, self._objects[key][0] if key in self._objects else None)
        artifact = Artifact(key, f"v{next(self._versions)}", len(data), time.time_ns(), meta)
        self._objects[key] = (artifact, data)
        return artifact

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        data = await self.read(artifact, 0, artifact.size)
        return self._put(key, data, meta=self._held(artifact.key).meta or UNSAID)

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        await trio.lowlevel.checkpoint()
        held, data = self._objects.get(artifact.key, (None, b""))
        if held is None or held.version != artifact.version:
            raise Changed(artifact.key)
        if held.is_symlink:
            meta = replace(meta, mode=None)
        annotated = replace(held, mtime_ns=time.time_ns(), meta=meta.over(held.meta or UNSAID))
        self._objects[artifact.key] = annotated, data
        return annotated

    async def sweep(self, key: str) -> None:
        await trio.lowlevel.checkpoint()

    async def delete(self, keys: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        for key in keys:
            self._objects.pop(key, None)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def touch(self, key: str) -> Artifact:
        """The same bytes under a new version, as another writer's rewrite would leave them."""
        artifact, data = self._objects[key]
        renewed = replace(artifact, version=f"v{next(self._versions)}")
        self._objects[key] = (renewed, data)
        return renewed
