"""NativeStore: a bucket through OpenDAL, whose requests run outside the interpreter's lock.

What it is: the fast path of the protocol, for any service of OpenDAL; each call is a blocking call of the client in a worker thread.
What it is not: particular to a service (`native_service`), or complete by itself. What OpenDAL cannot do goes to the same bucket through
another client, which is loaded only then: keys that OpenDAL would rewrite (it drops empty segments, and spaces at both ends), pinned
copies, changes of metadata, the metadata of markers, bulk deletes, sweeping up after an unfinished upload, and writes on a condition (S9):
OpenDAL does not tell which version a write made, and what is found there afterwards can be another's, which the next write over "our"
version would destroy.
Invariants:
- No call holds the interpreter's lock while it waits for the network. OpenDAL's blocking listing would, so listings use its
  asynchronous interface.
- A file object of OpenDAL publishes what it has when it is closed; so an upload is closed only when every byte of its source is in it.
- An upload is never left to itself: a cancelled `write` ends its thread before it returns.
"""

from __future__ import annotations

import atexit
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, TypeVar

import opendal
import trio
from opendal.layers import RetryLayer, TimeoutLayer

from storemount.errors import Changed, Corrupt, InvalidName, NotFound, StoreMountError, TimedOut
from storemount.stores.base import Artifact, Child, Meta, Source
from storemount.stores.bridge import AsyncioThread
from storemount.stores.budget import Uploads
from storemount.stores.dialects import read
from storemount.stores.flat import FlatStore, distinct
from storemount.stores.native_errors import named
from storemount.stores.native_service import Service
from storemount.stores.parallel import for_each, resolve
from storemount.stores.parts import CONCURRENT, SINGLE_PUT, in_memory, part_size, patience, ranges, read_part
from storemount.stores.unfinished import Unfinished, Upload

if TYPE_CHECKING:
    from opendal.types import Entry

R = TypeVar("R")

log = logging.getLogger(__name__)

PAGE = 1000
THREADS = 64
DELETES = 16

OVERTAKEN = "overtaken"
"""The version of what was replaced before anybody could ask for its own: no store has such a one."""

LINGER = 0.1
"""Seconds that the end of a program (not of a mount, which ends otherwise) waits for the client's threads."""


class NativeStore(FlatStore):
    """The root of `service`. `deadline` in seconds bounds every request, its retries included (S14). Raises Invalid for settings that
    OpenDAL refuses. `unfinished` is shared with `service.other`, which goes on with uploads that ended with their keys."""

    def __init__(self, service: Service, *, deadline: float, unfinished: Unfinished | None = None) -> None:
        self.uri = service.uri
        self.traits = service.traits
        self._service = service
        self._deadline = deadline
        self._unfinished = unfinished or Unfinished(keeps=False)
        self._bare = service.operator()
        self._operator = _bounded(self._bare, deadline * 0.3, 2, deadline)
        self._listings = self._operator.to_async_operator()
        self._asyncio = AsyncioThread("native-listings")
        self._uploads = Uploads()
        self._other = service.other(deadline=deadline, uploads=self._uploads)
        self._threads = trio.CapacityLimiter(THREADS)
        _linger_at_exit()

    async def check(self) -> None:
        await self._first_row("")

    async def stat(self, key: str) -> Child:
        if not self._service.verbatim(key):
            return await self._other.stat(key)
        return await resolve(key, self._head, self._is_directory)

    async def _head(self, key: str, *, shield: bool = False) -> Artifact | None:
        told = await self._run(key, partial(self._operator.stat, key), shield=shield)
        found = self._service.artifact(key, told)
        return replace(found, meta=read(told.user_metadata or {})) if found is not None else None

    async def describe(self, key: str) -> Artifact:
        # OpenDAL asks a listing for a directory, which does not tell.
        if key.endswith("/") or not self._service.verbatim(key):
            return await self._other.describe(key)
        if (found := await self._head(key)) is None:
            raise NotFound(f"{key}: that is a directory")
        return found

    async def _is_directory(self, key: str) -> bool:
        try:
            # For a name with a slash this is a listing of at most one key.
            await self._run(key, partial(self._operator.stat, key + "/"))
        except NotFound:
            return False
        return True

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        if not self._service.lists or not self._service.verbatim(prefix):
            async with aclosing(self._other.list(prefix, recursive=recursive)) as pages:
                async for page in pages:
                    yield page
            return
        lister = await self._ask(prefix, partial(self._listings.list, prefix, recursive=recursive))
        row = partial(self._row, prefix=prefix)
        directories: set[str] = set()
        while page := await self._ask(prefix, partial(_rows, lister, PAGE, row)):
            yield distinct(await self._told_apart(page, recursive), directories) if self._service.stubs else page
            if len(page) < PAGE:
                return

    async def _told_apart(self, rows: Sequence[Child], recursive: bool) -> Sequence[Child]:
        """`rows` in which the empty objects that stand for directories are directories; each of the empty ones is asked."""
        told = list(rows)

        async def ask(place: int) -> None:
            row = told[place]
            assert row.artifact is not None
            try:
                if await self._head(row.artifact.key) is not None:
                    return
            except NotFound:
                # It has gone since it was listed.
                return
            marker = replace(row.artifact, key=row.artifact.key + "/") if recursive else None
            told[place] = Child(row.name + "/" if recursive else row.name, marker)

        await for_each([place for place, row in enumerate(rows) if _can_be_stub(row)], THREADS, ask)
        return told

    async def _first_row(self, prefix: str, *, shield: bool = False) -> Child | None:
        lister = await self._ask(prefix, partial(self._listings.list, prefix, limit=1), shield=shield)
        rows = await self._ask(prefix, partial(_rows, lister, 1, partial(self._row, prefix=prefix)), shield=shield)
        return rows[0] if rows else None

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes | bytearray | memoryview:
        if not self._service.verbatim(artifact.key):
            return await self._other.read(artifact, start, stop)
        pinned = partial(self._operator.read, artifact.key, offset=start, size=stop - start, **self._service.pin(artifact))
        try:
            try:
                data = await self._run(artifact.key, pinned, receiving=stop - start)
            except Corrupt:
                await self._confirm(artifact)
                raise
            await self._confirm(artifact)
        except NotFound as error:
            raise Changed(artifact.key) from error
        return data

    async def _confirm(self, artifact: Artifact) -> None:
        """Raises Changed, or NotFound, when a service that cannot read one version has another by now: then the bytes may be of that one.
        A version that is there still was there all the time."""
        if self._service.pins:
            return
        now = await self._head(artifact.key)
        if now is None or now.version != artifact.version:
            raise Changed(artifact.key)

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        directory = key.endswith("/")
        said = self._service.metadata(source.meta)
        foreign = (directory and (bool(said) or not self._service.marks)) or (source.size > SINGLE_PUT and not self._service.parts)
        if over is not None or absent or foreign or self._unfinished.has(key) or not self._service.verbatim(key):
            return await self._other.write(key, source, over=over, absent=absent)
        try:
            if directory:
                return await self._mark(key)
            async with self._uploads.hold(source, in_memory(source)):
                await (self._finish(partial(self._put, key, source)) if source.size <= SINGLE_PUT else self._upload(key, source))
        except NotFound as error:
            # The bucket is there (or this were MissingStore): what the server cannot find its way to is this name.
            raise InvalidName(f"{key}: the store takes no such name") from error
        try:
            made = await self._head(key, shield=True)
        except NotFound as error:
            raise Changed(f"{key}: the object was removed as soon as it was written") from error
        if made is None:
            raise Changed(f"{key}: a directory came in the place of the object that was written")
        if made.size != source.size:
            # Somebody else's already. Ours has had a version that nobody knows, and what is based on it may not overwrite theirs (S9).
            return replace(made, version=OVERTAKEN, size=source.size, meta=source.meta)
        return made

    async def _mark(self, key: str) -> Artifact:
        with self._named(key):
            await self._finish(partial(self._operator.create_dir, key))
        row = await self._first_row(key, shield=True)
        if row is None or row.artifact is None:
            raise Changed(f"{key}: the directory was removed while it was made")
        return row.artifact

    def _put(self, key: str, source: Source) -> None:
        data = read_part(source, 0, source.size)
        with self._named(key):
            self._writing(source.size).write(key, data, user_metadata=self._service.metadata(source.meta))

    async def _upload(self, key: str, source: Source) -> None:
        try:
            await self._finish(partial(self._send_parts, key, source))
        except BaseException as error:
            if not self._unfinished.leave(error, key, source, Upload()):
                await self._clear(key)
            raise

    async def _clear(self, key: str) -> None:
        """Abort what a failed upload left open, even when cancelled: only OpenDAL knows its id, so every upload of this very key goes.

        A failure is logged: the caller is on its way out with the one that led here."""
        with trio.CancelScope(shield=True):
            try:
                await self.sweep(key)
            except StoreMountError as error:
                log.warning("an unfinished upload of %s may be left in the store: %s", key, error)

    async def sweep(self, key: str) -> None:
        await self._other.sweep(key)

    def _send_parts(self, key: str, source: Source) -> None:
        part = part_size(source.size)
        operator = self._writing(part * CONCURRENT)
        with self._named(key):
            writer = operator.open(key, "wb", chunk=part, concurrent=CONCURRENT, user_metadata=self._service.metadata(source.meta))
        for _, start, stop in ranges(source.size, part):
            trio.from_thread.check_cancelled()
            data = read_part(source, start, stop)
            with self._named(key):
                writer.write(data)
        trio.from_thread.check_cancelled()
        # Not a `with` block: only here, where all is written, may it be closed; a writer that is dropped publishes nothing.
        with self._named(key):
            writer.close()

    def _writing(self, in_flight: int) -> opendal.Operator:
        """An operator that gives a slow line the time for so many bytes."""
        return _bounded(self._bare, patience(in_flight, self._deadline * 0.45), 1, self._deadline)

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        return await self._other.annotate(artifact, meta)

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        return await self._other.copy(artifact, key)

    async def delete(self, keys: Sequence[str]) -> None:
        single = [key for key in keys if self._deletes(key)] if len(keys) <= self._service.single_deletes else []
        await for_each([key for key in single if not key.endswith("/")], DELETES, self._delete_one)
        # Some servers (versitygw) keep a directory's marker as long as there is something below it: the deepest go first.
        markers = [key for key in single if key.endswith("/")]
        for depth in sorted({key.count("/") for key in markers}, reverse=True):
            await for_each([key for key in markers if key.count("/") == depth], DELETES, self._delete_one)
        if rest := keys if not single else [key for key in keys if not self._deletes(key)]:
            await self._other.delete(rest)

    def _deletes(self, key: str) -> bool:
        return self._service.verbatim(key) and (self._service.marks or not key.endswith("/"))

    async def _delete_one(self, key: str) -> None:
        await self._run(key, partial(self._operator.delete, key))

    def _row(self, entry: Entry, prefix: str) -> Child:
        # The root's own marker is called "/".
        name = entry.path[len(prefix) :] if entry.path != "/" else ""
        if entry.metadata.etag is None:
            return Child(name.removesuffix("/"), None)
        return Child(name, self._service.artifact(prefix + name, entry.metadata))

    async def aclose(self) -> None:
        await self._other.aclose()
        await self._asyncio.aclose()

    def _named(self, what: str) -> AbstractContextManager[None]:
        return named(what, self._service.answers)

    async def _run(self, key: str, call: Callable[[], R], *, receiving: int = 0, shield: bool = False) -> R:
        """`call` in a worker thread; when the deadline passes or the caller is cancelled, nobody waits for it any more."""
        limit = patience(receiving, self._deadline)
        try:
            with trio.fail_after(limit, shield=shield), self._named(key):
                return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._threads)
        except trio.TooSlowError as error:
            raise TimedOut(f"{key}: no answer within {limit:g} s") from error

    async def _finish(self, call: Callable[[], R]) -> R:
        """`call`, which changes the store, in a worker thread that is waited for to its end; the client's own time-outs bound it."""
        return await trio.to_thread.run_sync(call, limiter=self._threads)

    async def _ask(self, prefix: str, call: Callable[[], Awaitable[R]], *, shield: bool = False) -> R:
        """`call` on the asyncio loop, within the deadline."""
        what = prefix or self.uri
        try:
            with trio.fail_after(self._deadline, shield=shield), self._named(what):
                return await self._asyncio.run(call)
        except trio.TooSlowError as error:
            raise TimedOut(f"{what}: no answer within {self._deadline:g} s") from error


@cache
def _linger_at_exit() -> None:
    """OpenDAL's threads end their part of a listing a moment after its answer is here. One that comes back to an interpreter that is just
    ending aborts the process, when all is done; so the interpreter waits for them, once."""
    atexit.register(time.sleep, LINGER)


def _bounded(operator: opendal.Operator, seconds: float, retries: int, deadline: float) -> opendal.Operator:
    """`operator` that gives each attempt so many seconds, and tries again after short waits that fit the deadline."""
    retry = RetryLayer(max_times=retries, factor=2.0, jitter=False, min_delay=deadline / 200, max_delay=deadline / 50)
    return operator.layer(TimeoutLayer(timeout=seconds, io_timeout=seconds)).layer(retry)


def _can_be_stub(row: Child) -> bool:
    return row.artifact is not None and not row.artifact.size and not row.name.endswith("/") and row.name != ""


async def _rows(lister: AsyncIterable[Entry], most: int, row: Callable[[Entry], Child]) -> list[Child]:
    """The next rows of a listing; fewer than `most` when it ends. Runs on the asyncio loop."""
    rows: list[Child] = []
    async for entry in lister:
        rows.append(row(entry))
        if len(rows) == most:
            break
    return rows
