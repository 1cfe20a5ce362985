"""Deadlined: a store in which every request ends (S14).

What it is: another store with a deadline around each of its verbs.
What it is not: a retry policy (the engines have theirs, within the deadline).
Invariant: past the deadline the caller gets TimedOut; whether the request was applied is then not known.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import trio

from storemount.config import MIB
from storemount.errors import TimedOut
from storemount.stores.base import Artifact, ArtifactStore, Capacity, Child, Meta, Source, Traits

SLOWEST = MIB // 2
"""Bytes a second under which a transfer counts as hung."""


Watch = Callable[[str, str], contextlib.AbstractContextManager[object]]
"""(verb, key) -> what is around the request while it runs."""


@contextlib.contextmanager
def _stopped(scope: trio.CancelScope) -> Iterator[None]:
    """The scope's time does not run."""
    left = scope.deadline - trio.current_time()
    scope.deadline = math.inf
    try:
        yield
    finally:
        scope.deadline = trio.current_time() + left


class Deadlined:
    """`store`, with `seconds` for each request and a second more for every `SLOWEST` bytes moved; `watch` looks on."""

    def __init__(self, store: ArtifactStore, seconds: float, watch: Watch = lambda verb, key: contextlib.nullcontext()) -> None:
        self._store = store
        self._watch = watch
        self._seconds = seconds
        self.uri = store.uri

    @property
    def traits(self) -> Traits:
        """Those of the store, which may know them only once it has been asked something."""
        return self._store.traits

    @contextlib.contextmanager
    def _limit(self, what: str, moved: int = 0) -> Iterator[trio.CancelScope]:
        seconds = self._seconds + moved / SLOWEST
        try:
            with self._watch(*what.partition(" ")[::2]), trio.fail_after(seconds) as scope:
                yield scope
        except trio.TooSlowError as error:
            raise TimedOut(f"{what}: no answer from {self.uri} within {seconds:.0f} s") from error

    async def check(self) -> None:
        with self._limit("check"):
            await self._store.check()

    async def stat(self, key: str) -> Child:
        with self._limit(f"stat {key}"):
            return await self._store.stat(key)

    async def describe(self, key: str) -> Artifact:
        with self._limit(f"describe {key}"):
            return await self._store.describe(key)

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        async with contextlib.aclosing(self._store.list(prefix, recursive=recursive)) as pages:
            while True:
                with self._limit(f"list {prefix}"):
                    page = await anext(pages, None)
                if page is None:
                    return
                yield page

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes | bytearray | memoryview:
        with self._limit(f"read {artifact.key}", stop - start):
            return await self._store.read(artifact, start, stop)

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        with self._limit(f"write {key}", source.size) as scope:
            return await self._store.write(key, replace(source, waiting=partial(_stopped, scope)), over=over, absent=absent)

    async def sweep(self, key: str) -> None:
        with self._limit(f"sweep {key}"):
            await self._store.sweep(key)

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        with self._limit(f"annotate {artifact.key}", artifact.size // 16):
            return await self._store.annotate(artifact, meta)

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        with self._limit(f"copy {artifact.key}", artifact.size // 16):
            return await self._store.copy(artifact, key)

    async def rename(self, key: str, to: str) -> None:
        with self._limit(f"rename {key}"):
            await self._store.rename(key, to)

    async def delete(self, keys: Sequence[str]) -> None:
        with self._limit(f"delete {len(keys)} keys", len(keys) * SLOWEST // 50):
            await self._store.delete(keys)

    def open_local(self, artifact: Artifact) -> int:
        return self._store.open_local(artifact)

    async def sync(self, key: str) -> None:
        with self._limit(f"sync {key}", 64 * SLOWEST):
            await self._store.sync(key)

    async def capacity(self) -> Capacity | None:
        with self._limit("capacity"):
            return await self._store.capacity()

    async def aclose(self) -> None:
        await self._store.aclose()
