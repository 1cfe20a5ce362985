"""Warming: have files on the disk before somebody reads them, and keep them there (S14).

What it is: the answers to "warm", "pin", "unpin" and "drop": a walk over what the store has at and below a path, a few files at a time.
What it is not: the cache (`cache.disk`), or the names that outlive an outage (`stores.offline`).
Invariants: what is said to be warm can be read, byte for byte, while the store is away, until the cache needs the room; what is pinned,
until it is unpinned. What only this mount has yet is on this disk anyway, and is passed over.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from storemount.cache.blocks import LARGEST
from storemount.cache.disk import DiskCache
from storemount.errors import StoreMountError
from storemount.stores.base import Artifact
from storemount.stores.offline import Offline
from storemount.stores.parallel import for_each
from storemount.stores.snapshot import Snapshot

AT_ONCE = 8
"""Files on their way at once."""

Say = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(slots=True)
class Progress:
    """How far a walk is. `errors`: paths with what went wrong."""

    found: int = 0
    found_bytes: int = 0
    done: int = 0
    done_bytes: int = 0
    errors: list[dict[str, str]] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        return {"pending": self.found - self.done, "pending_bytes": self.found_bytes - self.done_bytes, "files": self.done}

    def failed(self, path: str, error: object) -> None:
        self.errors.append({"path": path, "error": str(error)})


class Warming:
    """Of one mount."""

    def __init__(self, store: Offline, snapshot: Snapshot, disk: DiskCache) -> None:
        self._store = store
        self._snapshot = snapshot
        self._disk = disk

    async def bring(self, path: str, progress: Progress, *, pinned: bool, digests: Mapping[str, str] | None = None) -> None:
        """Have all files at and below `path` on the disk; `pinned`: for good. `digests`: the SHA-256 that a file has to have, in hex, by
        its path below `path`. Raises what the store raises, but for single files, which `progress` names."""

        async def bring(artifact: Artifact) -> None:
            came = 0

            def more(size: int) -> None:
                nonlocal came
                came += size
                progress.done_bytes += size

            try:
                await self._disk.have(artifact, pinned=pinned, came=more)
                await self._verify(artifact, _expected(artifact.key, path, digests))
                if pinned:
                    self._snapshot.pin(artifact)
            except (StoreMountError, OSError, ValueError) as error:
                progress.failed(artifact.key, error)
            progress.done += 1
            progress.done_bytes += artifact.size - came

        wanted = [artifact async for artifact in self._walk(path, progress)]
        if digests is not None:
            there = {artifact.key for artifact in wanted}
            for name in digests:
                if _joined(path, name) not in there:
                    progress.failed(_joined(path, name), "is not in the store")
        await for_each(wanted, AT_ONCE, bring)

    async def _walk(self, path: str, progress: Progress) -> AsyncIterator[Artifact]:
        """The files at and below `path`, whose names are kept from here on."""
        child = await self._store.warm_name(path) if path else None
        folders = [f"{path}/" if path else ""] if child is None or child.artifact is None else []
        found = [child.artifact] if child is not None and child.artifact is not None else []
        while folders or found:
            for artifact in found:
                progress.found += 1
                progress.found_bytes += artifact.size
                yield artifact
            found = []
            if folders:
                prefix = folders.pop()
                children = await self._store.warm(prefix)
                folders += [f"{prefix}{each.name}/" for each in children if each.artifact is None and each.name]
                found = [each.artifact for each in children if each.artifact is not None and each.name]

    async def _verify(self, artifact: Artifact, expected: str | None) -> None:
        """Raises ValueError: these are not the bytes that the list speaks of."""
        if expected is None:
            return
        digest = hashlib.sha256()
        for start in range(0, artifact.size, LARGEST):
            data = await self._disk.fetch(artifact, start, min(start + LARGEST, artifact.size))
            await trio.to_thread.run_sync(digest.update, data)
        if digest.hexdigest() != expected:
            await self._disk.drop(artifact)
            raise ValueError(f"has the SHA-256 {digest.hexdigest()}, not {expected}; it is not kept")

    async def unpin(self, path: str) -> int:
        """Let go what is pinned at and below `path`, of whatever version; how many files it was. Raises OSError."""
        pins = self._snapshot.pinned(path)
        for artifact in pins:
            await self._disk.unpin(artifact)
            self._snapshot.unpin(artifact)
        return len(pins)

    async def drop(self, path: str) -> int:
        """Take what is at and below `path` off the disk, pinned or not; how many files it was. Raises what the store raises, OSError."""
        await self.unpin(path)
        count = 0
        async for artifact in self._walk(path, Progress()):
            await self._disk.drop(artifact)
            count += 1
        self._snapshot.clear(path)
        return count


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _expected(key: str, path: str, digests: Mapping[str, str] | None) -> str | None:
    """What the list says of this file. Raises ValueError: it says nothing."""
    if digests is None:
        return None
    name = key.rpartition("/")[2] if key == path else key[len(path) :].lstrip("/")
    if name not in digests:
        raise ValueError("is not in the list of digests")
    return digests[name]
