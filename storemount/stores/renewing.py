"""Renewing: a store whose keys change while it is open.

What it is: another store, made anew whenever `credentials` have other keys; a verb that the store refuses because its keys have expired is
asked once more when there are new ones. Keys that it knew and knows no longer were withdrawn, or ended by a rule of the service's: to wait
for new ones is right there, too.
What it is not: the looking for keys (`credentials`, `gcscredentials`), a deadline (`deadline` is around it), or an engine.
Invariants: a store is closed only when no call of it is in flight. A verb is asked at most twice, and the second time only because the
first was refused: what expired keys sign changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import trio

from storemount.errors import Expired, StoreMountError, Unrecognised
from storemount.stores.base import Artifact, ArtifactStore, Child, Meta, Source
from storemount.stores.credentials import K
from storemount.stores.flat import FlatStore
from storemount.stores.unfinished import Unfinished

R = TypeVar("R")

log = logging.getLogger(__name__)


class Renewable(Protocol[K]):
    """Keys that are replaced in time, and when the store says that they have expired. Both raise what kept us from getting any."""

    async def obtain(self) -> K: ...

    async def renew(self, stale: K) -> bool:
        """Whether there are others than these now."""
        ...


@dataclass(slots=True, eq=False)
class _Signed(Generic[K]):
    """A store with the keys that it was made with; `calls` are in flight. `known`: it has taken these keys."""

    store: ArtifactStore
    keys: K | None
    calls: int = 0
    known: bool = False


@contextmanager
def _judged(signed: _Signed[K]) -> Iterator[None]:
    """Keys that are not recognised have expired, when they were known before."""
    try:
        yield
    except Unrecognised as error:
        raise (error.as_expired() if signed.known else error) from error
    signed.known = True


class Renewing(FlatStore, Generic[K]):
    """`make` gives the store for keys (None: for nothing but its traits; it connects with its first request). Raises what `make` does."""

    def __init__(self, make: Callable[[K | None], ArtifactStore], credentials: Renewable[K], unfinished: Unfinished | None = None) -> None:
        self._make = make
        self._credentials = credentials
        self._unfinished = unfinished or Unfinished(keeps=False)
        self._now: _Signed[K] = _Signed(make(None), None)
        self.uri = self._now.store.uri
        self.traits = self._now.store.traits

    async def check(self) -> None:
        await self._signed(lambda store: store.check())

    async def stat(self, key: str) -> Child:
        return await self._signed(lambda store: store.stat(key))

    async def describe(self, key: str) -> Artifact:
        return await self._signed(lambda store: store.describe(key))

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        """Keys that expire after the first page end it with Expired: nobody could say where another listing would go on."""
        begun = again = False
        while not begun:
            async with self._in_flight() as signed, aclosing(signed.store.list(prefix, recursive=recursive)) as pages:
                try:
                    with _judged(signed):
                        async for page in pages:
                            begun = True
                            yield page
                    return
                except Expired:
                    if not await self._has_new(signed.keys) or begun or again:
                        raise
                    again = True

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes | bytearray | memoryview:
        return await self._signed(lambda store: store.read(artifact, start, stop))

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        return await self._signed(lambda store: store.write(key, source, over=over, absent=absent))

    async def sweep(self, key: str) -> None:
        await self._signed(lambda store: store.sweep(key))

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        return await self._signed(lambda store: store.annotate(artifact, meta))

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        return await self._signed(lambda store: store.copy(artifact, key))

    async def delete(self, keys: Sequence[str]) -> None:
        await self._signed(lambda store: store.delete(keys))

    async def aclose(self) -> None:
        """What was left for other keys, and nobody came back for, is cleared away."""
        for key in self._unfinished:
            try:
                await self.sweep(key)
            except StoreMountError as error:
                log.warning("an unfinished upload of %s is left in the store: %s", key, error)
        await self._now.store.aclose()

    async def _signed(self, verb: Callable[[ArtifactStore], Awaitable[R]]) -> R:
        async with self._in_flight() as signed:
            try:
                with _judged(signed):
                    return await verb(signed.store)
            except Expired:
                if not await self._has_new(signed.keys):
                    raise
        async with self._in_flight() as signed:
            with _judged(signed):
                return await verb(signed.store)

    async def _has_new(self, stale: K | None) -> bool:
        return stale is None or await self._credentials.renew(stale)

    @asynccontextmanager
    async def _in_flight(self) -> AsyncIterator[_Signed[K]]:
        """The store with the keys of now, which stays open meanwhile."""
        keys = await self._credentials.obtain()
        before = self._now
        if before.keys != keys:
            self._now = _Signed(self._make(keys), keys)
        signed = self._now
        signed.calls += 1
        try:
            await self._close_unused(before)
            yield signed
        finally:
            signed.calls -= 1
            await self._close_unused(signed)

    async def _close_unused(self, signed: _Signed[K]) -> None:
        """A store that was replaced is closed when it is replaced, or by the last call in it."""
        if signed is not self._now and not signed.calls:
            with trio.CancelScope(shield=True):
                await signed.store.aclose()
