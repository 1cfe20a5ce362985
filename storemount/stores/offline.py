"""Offline: a store whose warmed names outlive its outages (S14).

What it is: another store; where that cannot be reached, lookups and listings of what was warmed are answered as it was seen last.
What it is not: an answer to anything else: what was never warmed is an error, and never absent (S3). Bytes come from `cache.disk`.
Invariants: while the store answers, its answer counts, and is kept where something was warmed before. A name that the snapshot does not
have is not thereby gone. A store that is out of reach is seen to be back also where nobody wants anything of it. A failure of the
snapshot's own disk costs a line in the log.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import trio

from storemount.errors import NotFound, Refusal, StoreMountError, TimedOut, Unavailable, Unreachable, may_pass
from storemount.stores.base import Artifact, ArtifactStore, Capacity, Child, Meta, Source, Traits
from storemount.stores.snapshot import Snapshot

RESPITE = 5.0
"""Seconds after a failure during which what was warmed is answered without asking again."""

PROBE = 15.0
"""Seconds without a request after which a store that is out of reach is asked whether it is back."""

LOOKS = 3
"""Listings of a directory that is warmed while this mount changes it."""

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Listing:
    """One under way; `overtaken`: this mount has changed the directory meanwhile, of which it may say nothing yet."""

    folder: str
    overtaken: bool = False


class Offline:
    """`store`, with a snapshot of what was warmed of it. `since`: when it was first seen to be out of reach (trio time), or None. The
    caller runs `run`."""

    def __init__(self, store: ArtifactStore, snapshot: Snapshot) -> None:
        self._store = store
        self._snapshot = snapshot
        self.uri = store.uri
        self.traits: Traits = store.traits
        self.since: float | None = None
        self._asked = 0.0
        self._doubted = trio.Event()
        self._listings: set[_Listing] = set()

    # the outage

    async def run(self) -> None:
        """Ask a store that is out of reach, and that nobody else asks, whether it is back; one of which that is not sure, whether it is
        there. Until cancelled."""
        while True:
            await self._doubted.wait()
            self._doubted = trio.Event()
            if self.since is None:
                await self._probe()
            while self.since is not None:
                if trio.current_time() >= self._asked + PROBE:
                    await self._probe()
                else:
                    await trio.sleep_until(self._asked + PROBE)

    async def _probe(self) -> None:
        try:
            await self._store.check()
        except Unavailable as error:
            self._fails(error)
        except (StoreMountError, Refusal) as error:
            # Credentials that cannot be had at the moment say nothing of the store.
            self._asked = trio.current_time()
            if not may_pass(error):
                self._answers()
        else:
            self._answers()

    def _fails(self, error: Unavailable) -> None:
        self._asked = trio.current_time()
        if self.since is None:
            self.since = self._asked
            self._doubted.set()
            if self._snapshot.folders:
                log.warning("the store cannot be reached (%s); what was warmed of it is shown as it was seen last", error)

    def _answers(self) -> None:
        if self.since is not None:
            log.info("the store answers again, after %.0f s", trio.current_time() - self.since)
            self.since = None

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """That a request does not reach it tells as much as a lookup does. One that takes too long may only have been too large for the
        line, so that is asked. A failure of its own, such as 503, may be about this key alone."""
        try:
            yield
        except Unreachable as error:
            self._fails(error)
            raise
        except TimedOut:
            self._doubted.set()
            raise

    @property
    def _rests(self) -> bool:
        """Whether it has only just failed."""
        return self.since is not None and trio.current_time() - self._asked < RESPITE

    @property
    def away(self) -> float:
        """For how many seconds it has been out of reach, as far as requests tell."""
        return 0.0 if self.since is None else trio.current_time() - self.since

    def _try(self, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except (sqlite3.Error, ValueError, TypeError) as error:
            log.warning("the names of what was warmed cannot be kept or read: %s", error)
            return None

    # names

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        kept = not recursive and prefix in self._snapshot.complete
        if kept and self._rests and (known := self._listing(prefix)) is not None:
            yield known
            return
        seen: list[Child] = []
        begun = False
        try:
            with self._looking(prefix) as listing:
                async with aclosing(self._store.list(prefix, recursive=recursive)) as pages:
                    async for page in pages:
                        begun = True
                        if kept:
                            seen += page
                        yield page
        except Unavailable as error:
            self._fails(error)
            known = self._listing(prefix) if kept and not begun else None
            if known is None:
                raise
            yield known
            return
        self._answers()
        if kept and not listing.overtaken:
            # Else the older one, with our changes, says more.
            self._try(lambda: self._snapshot.keep_listing(prefix, seen))

    def _listing(self, prefix: str) -> Sequence[Child] | None:
        return self._try(lambda: self._snapshot.listing(prefix))

    async def stat(self, key: str) -> Child:
        folder, name = _place(key)
        kept = folder in self._snapshot.folders
        if kept and self._rests and (child := self._try(lambda: self._snapshot.find(folder, name))) is not None:
            return child
        try:
            told = await self._store.stat(key)
        except NotFound:
            self._answers()
            if kept:
                self._try(lambda: self._snapshot.forget(folder, name))
            raise
        except Unavailable as error:
            self._fails(error)
            child = self._try(lambda: self._snapshot.find(folder, name)) if kept else None
            if child is None:
                raise
            return child
        self._answers()
        if kept:
            self._try(lambda: self._snapshot.keep(folder, told))
        return told

    async def describe(self, key: str) -> Artifact:
        return await self._store.describe(key)

    async def warm(self, prefix: str) -> Sequence[Child]:
        """Keep the names of this directory from now on; what it has. Raises what the store raises."""
        for _ in range(LOOKS):
            seen: list[Child] = []
            with self._looking(prefix) as listing:
                async with aclosing(self._store.list(prefix)) as pages:
                    async for page in pages:
                        seen += page
            if not listing.overtaken:
                break
        self._try(lambda: self._snapshot.keep_listing(prefix, seen))
        if listing.overtaken:
            self._try(lambda: self._snapshot.doubt(prefix))
        return seen

    async def warm_name(self, key: str) -> Child:
        """Keep this name, and those of the directories above it, from now on. Raises what the store raises."""
        child = await self._store.stat(key)
        folder, _ = _place(key)
        self._try(lambda: self._snapshot.keep(folder, child))
        if folder:
            await self.warm_name(folder.removesuffix("/"))
        return child

    # what this mount changes

    @contextmanager
    def _looking(self, folder: str) -> Iterator[_Listing]:
        """While this directory is listed."""
        listing = _Listing(folder)
        self._listings.add(listing)
        try:
            yield listing
        finally:
            self._listings.discard(listing)

    def _overtake(self, folder: str) -> None:
        for listing in self._listings:
            listing.overtaken |= listing.folder == folder

    def _noted(self, artifact: Artifact) -> Artifact:
        folder, name = _place(artifact.key)
        child = Child(name, None, artifact.meta) if artifact.key.endswith("/") else Child(name, artifact)
        self._overtake(folder)
        if name and folder in self._snapshot.folders:
            self._try(lambda: self._snapshot.keep(folder, child))
        return artifact

    def _gone(self, key: str) -> None:
        folder, _ = _place(key)
        self._overtake(folder)
        if folder in self._snapshot.folders:
            self._try(lambda: self._snapshot.gone(folder, key))

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        with self._heard():
            artifact = await self._store.write(key, source, over=over, absent=absent)
        self._answers()
        return self._noted(artifact)

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        return self._noted(await self._store.annotate(artifact, meta))

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        return self._noted(await self._store.copy(artifact, key))

    async def rename(self, key: str, to: str) -> None:
        await self._store.rename(key, to)
        for place in (key.removesuffix("/"), to.removesuffix("/")):
            for gone in (place, f"{place}/"):
                self._gone(gone)
            self._try(partial(self._snapshot.clear, place))
        # What came there is not known in full; the next answer of the store tells.
        self._try(lambda: self._snapshot.doubt(_place(to)[0]))

    async def delete(self, keys: Sequence[str]) -> None:
        await self._store.delete(keys)
        for key in keys:
            self._gone(key)

    # the rest

    async def check(self) -> None:
        await self._store.check()

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes | bytearray | memoryview:
        with self._heard():
            return await self._store.read(artifact, start, stop)

    async def sweep(self, key: str) -> None:
        await self._store.sweep(key)

    def open_local(self, artifact: Artifact) -> int:
        return self._store.open_local(artifact)

    async def sync(self, key: str) -> None:
        await self._store.sync(key)

    async def capacity(self) -> Capacity | None:
        return await self._store.capacity()

    async def aclose(self) -> None:
        await self._store.aclose()


def _place(key: str) -> tuple[str, str]:
    """The key of the directory, with its slash, and the name; a marker's is its directory's."""
    above, slash, name = key.removesuffix("/").rpartition("/")
    return above + slash, name
