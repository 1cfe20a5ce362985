"""Measured: a store whose requests are counted and timed.

What it is: another store with a clock around each of its verbs.
What it is not: a view of single HTTP requests: a verb is one request here, whatever the client makes of it (the parts of a large upload,
its own retries). A listing is one for each page.
Invariants: a request that was given up (cancelled) is counted with the time that it had. "Not found" is an answer, not a failure.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

from storemount.errors import NotFound
from storemount.insight.measures import SLOW, Timings
from storemount.stores.base import Artifact, ArtifactStore, Capacity, Child, Meta, Source, Traits


@dataclass(slots=True)
class _Request:
    """Whether there was one is sometimes known only at its end."""

    made: bool = True


class Measured:
    """`store`, and what was asked of it: `requests`; `running`: those that have no answer yet; `fetched` and `uploaded`: the bytes of those
    that succeeded."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self.uri = store.uri
        self.requests = Timings(SLOW)
        self.running = 0
        self.fetched = 0
        self.uploaded = 0

    @property
    def traits(self) -> Traits:
        """Those of the store, which may know them only once it has been asked something."""
        return self._store.traits

    @contextlib.contextmanager
    def _request(self, verb: str) -> Iterator[_Request]:
        request, failure, began = _Request(), None, perf_counter()
        self.running += 1
        try:
            yield request
        except NotFound:
            raise
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            self.running -= 1
            if request.made:
                self.requests.ended(verb, perf_counter() - began, failure)

    async def check(self) -> None:
        with self._request("check"):
            await self._store.check()

    async def stat(self, key: str) -> Child:
        with self._request("stat"):
            return await self._store.stat(key)

    async def describe(self, key: str) -> Artifact:
        with self._request("describe"):
            return await self._store.describe(key)

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        async with contextlib.aclosing(self._store.list(prefix, recursive=recursive)) as pages:
            first = True
            while True:
                with self._request("list") as request:
                    page = await anext(pages, None)
                    request.made = first or page is not None  # The end of the pages costs nothing but where there was none.
                if page is None:
                    return
                first = False
                yield page

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes | bytearray | memoryview:
        with self._request("read"):
            data = await self._store.read(artifact, start, stop)
        self.fetched += stop - start
        return data

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        with self._request("write"):
            artifact = await self._store.write(key, source, over=over, absent=absent)
        self.uploaded += source.size
        return artifact

    async def sweep(self, key: str) -> None:
        with self._request("sweep"):
            await self._store.sweep(key)

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        with self._request("annotate"):
            return await self._store.annotate(artifact, meta)

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        with self._request("copy"):
            return await self._store.copy(artifact, key)

    async def rename(self, key: str, to: str) -> None:
        with self._request("rename"):
            await self._store.rename(key, to)

    async def delete(self, keys: Sequence[str]) -> None:
        with self._request("delete"):
            await self._store.delete(keys)

    def open_local(self, artifact: Artifact) -> int:
        return self._store.open_local(artifact)

    async def sync(self, key: str) -> None:
        with self._request("sync"):
            await self._store.sync(key)

    async def capacity(self) -> Capacity | None:
        with self._request("capacity"):
            return await self._store.capacity()

    async def aclose(self) -> None:
        await self._store.aclose()
