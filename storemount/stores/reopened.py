"""Reopened: a store whose description ends, as its credentials do, opened again with another one in time (S14).

What it is: another store behind each verb, replaced as a whole by one with fresh credentials, of whatever flavor.
What it is not: where those come from (`renew` is handed in), or what engines do by themselves with credentials that they can refresh.
Invariants: a verb runs to its end on the store it began with, which is closed when its last verb has ended. Between the end of the
credentials and fresh ones verbs wait, and the caller's deadline ends that. Whoever opens it runs `run`, which ends when it is closed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import trio

from storemount.errors import Refusal
from storemount.stores.base import Artifact, ArtifactStore, Capacity, Child, Meta, Source, Traits

AHEAD = 300.0
"""Seconds before the end at which new credentials are asked for: clocks differ, and a request takes a while."""

AGAIN = 30.0
"""Seconds between two tries, when no new ones can be had."""

GLANCE = 60.0
"""The longest sleep, as the wall clock may be set, and a laptop may have slept."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Lease:
    """A store with credentials until `expires` (None: for good), and how many verbs run on it."""

    store: ArtifactStore
    expires: datetime | None
    users: int = 0


class Reopened:
    """`first`, replaced by what `renew` gives, in time. `renew` raises Refusal; `now` is the wall clock, in seconds."""

    def __init__(self, first: Lease, renew: Callable[[], Awaitable[Lease]], now: Callable[[], float] = time.time) -> None:
        self._lease = first
        self._renew = renew
        self._now = now
        self._came = trio.Event()
        self._over = trio.Event()
        self.uri = first.store.uri

    @property
    def traits(self) -> Traits:
        """Those of the store, which may know them only once it has been asked something."""
        return self._lease.store.traits

    async def run(self) -> None:
        """Renew until it is closed, or until there is something that does not end."""
        while (left := self._left()) is not None and not self._over.is_set():
            if left > AHEAD:
                await self._rest(min(left - AHEAD, GLANCE))
            else:
                await self._try()

    async def _rest(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._over.wait()

    def _left(self) -> float | None:
        """Seconds that the credentials still have; None when they do not end."""
        expires = self._lease.expires
        return None if expires is None else expires.timestamp() - self._now()

    async def _try(self) -> None:
        try:
            fresh = await self._renew()
        except Refusal as refusal:
            log.warning("no new credentials, trying again: %s", refusal.message)
            await self._rest(AGAIN)
            return
        if self._over.is_set():
            await fresh.store.aclose()
            return
        before, self._lease = self._lease, fresh
        came, self._came = self._came, trio.Event()
        came.set()
        if not before.users:
            await before.store.aclose()
        if (left := self._left()) is not None and left <= AHEAD:
            await self._rest(max(left / 2, 1.0))  # they are short-lived: half of that is what we ask ahead

    @asynccontextmanager
    async def _store(self) -> AsyncIterator[ArtifactStore]:
        while (left := self._left()) is not None and left <= 0:
            await self._came.wait()
        lease = self._lease
        lease.users += 1
        try:
            yield lease.store
        finally:
            lease.users -= 1
            if not lease.users and lease is not self._lease:
                with trio.CancelScope(shield=True):
                    await lease.store.aclose()

    async def check(self) -> None:
        async with self._store() as store:
            await store.check()

    async def stat(self, key: str) -> Child:
        async with self._store() as store:
            return await store.stat(key)

    async def describe(self, key: str) -> Artifact:
        async with self._store() as store:
            return await store.describe(key)

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        async with self._store() as store, aclosing(store.list(prefix, recursive=recursive)) as pages:
            async for page in pages:
                yield page

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes | bytearray | memoryview:
        async with self._store() as store:
            return await store.read(artifact, start, stop)

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        async with self._store() as store:
            return await store.write(key, source, over=over, absent=absent)

    async def sweep(self, key: str) -> None:
        async with self._store() as store:
            await store.sweep(key)

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        async with self._store() as store:
            return await store.annotate(artifact, meta)

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        async with self._store() as store:
            return await store.copy(artifact, key)

    async def rename(self, key: str, to: str) -> None:
        async with self._store() as store:
            await store.rename(key, to)

    async def delete(self, keys: Sequence[str]) -> None:
        async with self._store() as store:
            await store.delete(keys)

    def open_local(self, artifact: Artifact) -> int:
        return self._lease.store.open_local(artifact)

    async def sync(self, key: str) -> None:
        async with self._store() as store:
            await store.sync(key)

    async def capacity(self) -> Capacity | None:
        async with self._store() as store:
            return await store.capacity()

    async def aclose(self) -> None:
        """The store that is current; what still runs on an earlier one closes that. `run` ends."""
        self._over.set()
        await self._lease.store.aclose()
