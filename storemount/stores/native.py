"""NativeStore: an S3 bucket through OpenDAL, whose requests run outside the interpreter's lock.

What it is: the fast path of the protocol; each call is a blocking call of the client in a worker thread.
What it is not: complete by itself. What OpenDAL cannot do goes to the same bucket through `S3Store`, which loads its client only then:
keys that OpenDAL would rewrite (it drops empty segments, and spaces at both ends), pinned copies, changes of metadata, the metadata of
markers, bulk deletes, sweeping up after an unfinished upload, and writes on a condition (S9): OpenDAL does not tell which version a write
made, and what is found there afterwards can be another's, which the next write over "our" version would destroy.
Invariants:
- No call holds the interpreter's lock while it waits for the network. OpenDAL's blocking listing would, so listings use its
  asynchronous interface.
- A file object of OpenDAL publishes what it has when it is closed; so an upload is closed only when every byte of its source is in it.
- An upload is never left to itself: a cancelled `write` ends its thread before it returns.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import opendal
import trio
from opendal.layers import RetryLayer, TimeoutLayer

from storemount.errors import Changed, Corrupt, Invalid, InvalidName, NotFound, StoreMountError, TimedOut
from storemount.stores.base import Artifact, Child, Meta, Source
from storemount.stores.bridge import AsyncioThread
from storemount.stores.budget import ByteBudget
from storemount.stores.dialects import read, s3_written
from storemount.stores.flat import FlatStore
from storemount.stores.metadata import whole_seconds
from storemount.stores.native_errors import named
from storemount.stores.parallel import for_each, resolve
from storemount.stores.parts import CONCURRENT, SINGLE_PUT, UPLOAD_BYTES, in_memory, part_size, patience, ranges, read_part
from storemount.stores.s3 import S3Store
from storemount.stores.s3settings import S3Settings

if TYPE_CHECKING:
    from opendal.types import Entry, Metadata

R = TypeVar("R")

log = logging.getLogger(__name__)

PAGE = 1000
THREADS = 64
FEW = 50
"""Up to here deletes are single requests in parallel; above, bulk requests of the other client."""
DELETES = 16


class NativeStore(FlatStore):
    """One bucket, or a prefix of it. `deadline` in seconds bounds every request, its retries included (S14)."""

    def __init__(self, settings: S3Settings, *, deadline: float) -> None:
        self.uri = settings.uri
        self.traits = settings.traits("native")
        self._deadline = deadline
        self._bare = _operator(settings)
        self._operator = _bounded(self._bare, deadline * 0.3, 2, deadline)
        self._listings = self._operator.to_async_operator()
        self._asyncio = AsyncioThread("native-listings")
        self._uploads = ByteBudget(UPLOAD_BYTES)
        self._botocore = S3Store(settings, deadline=deadline, uploads=self._uploads)
        self._threads = trio.CapacityLimiter(THREADS)

    async def check(self) -> None:
        await self._first_row("")

    async def stat(self, key: str) -> Child:
        if not _verbatim(key):
            return await self._botocore.stat(key)
        return await resolve(key, self._head, self._is_directory)

    async def _head(self, key: str, *, shield: bool = False) -> Artifact:
        told = await self._run(key, partial(self._operator.stat, key), shield=shield)
        return replace(_artifact(key, told), meta=read(told.user_metadata or {}))

    async def describe(self, key: str) -> Artifact:
        # OpenDAL asks a listing for a directory, which does not tell.
        return await (self._botocore.describe(key) if key.endswith("/") or not _verbatim(key) else self._head(key))

    async def _is_directory(self, key: str) -> bool:
        try:
            # For a name with a slash this is a listing of at most one key.
            await self._run(key, partial(self._operator.stat, key + "/"))
        except NotFound:
            return False
        return True

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        if not _verbatim(prefix):
            async with aclosing(self._botocore.list(prefix, recursive=recursive)) as pages:
                async for page in pages:
                    yield page
            return
        lister = await self._ask(prefix, partial(self._listings.list, prefix, recursive=recursive))
        while page := await self._ask(prefix, partial(_rows, lister, prefix, PAGE)):
            yield page
            if len(page) < PAGE:
                return

    async def _first_row(self, prefix: str, *, shield: bool = False) -> Child | None:
        lister = await self._ask(prefix, partial(self._listings.list, prefix, limit=1), shield=shield)
        rows = await self._ask(prefix, partial(_rows, lister, prefix, 1), shield=shield)
        return rows[0] if rows else None

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes:
        if not _verbatim(artifact.key):
            return await self._botocore.read(artifact, start, stop)
        pinned = partial(self._operator.read, artifact.key, offset=start, size=stop - start, if_match=artifact.version)
        try:
            return await self._run(artifact.key, pinned, receiving=stop - start)
        except NotFound as error:
            raise Changed(artifact.key) from error

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        told_of_marker = key.endswith("/") and bool(s3_written(source.meta))
        if over is not None or absent or told_of_marker or not _verbatim(key):
            return await self._botocore.write(key, source, over=over, absent=absent)
        try:
            if key.endswith("/"):
                return await self._mark(key)
            async with self._uploads.hold(in_memory(source)):
                await (self._finish(partial(self._put, key, source)) if source.size <= SINGLE_PUT else self._upload(key, source))
        except NotFound as error:
            # The bucket is there (or this were MissingStore): what the server cannot find its way to is this name.
            raise InvalidName(f"{key}: the store takes no such name") from error
        try:
            return await self._head(key, shield=True)
        except NotFound as error:
            raise Changed(f"{key}: the object was removed as soon as it was written") from error

    async def _mark(self, key: str) -> Artifact:
        with named(key):
            await self._finish(partial(self._operator.create_dir, key))
        row = await self._first_row(key, shield=True)
        if row is None or row.artifact is None:
            raise Changed(f"{key}: the directory was removed while it was made")
        return row.artifact

    def _put(self, key: str, source: Source) -> None:
        data = read_part(source, 0, source.size)
        with named(key):
            self._writing(source.size).write(key, data, user_metadata=s3_written(source.meta))

    async def _upload(self, key: str, source: Source) -> None:
        try:
            await self._finish(partial(self._send_parts, key, source))
        except BaseException:
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
        await self._botocore.sweep(key)

    def _send_parts(self, key: str, source: Source) -> None:
        part = part_size(source.size)
        operator = self._writing(part * CONCURRENT)
        with named(key):
            writer = operator.open(key, "wb", chunk=part, concurrent=CONCURRENT, user_metadata=s3_written(source.meta))
        for _, start, stop in ranges(source.size, part):
            trio.from_thread.check_cancelled()
            data = read_part(source, start, stop)
            with named(key):
                writer.write(data)
        trio.from_thread.check_cancelled()
        # Not a `with` block: only here, where all is written, may it be closed; a writer that is dropped publishes nothing.
        with named(key):
            writer.close()

    def _writing(self, in_flight: int) -> opendal.Operator:
        """An operator that gives a slow line the time for so many bytes."""
        return _bounded(self._bare, patience(in_flight, self._deadline * 0.45), 1, self._deadline)

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        return await self._botocore.annotate(artifact, meta)

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        return await self._botocore.copy(artifact, key)

    async def delete(self, keys: Sequence[str]) -> None:
        if len(keys) > FEW or not all(map(_verbatim, keys)):
            await self._botocore.delete(keys)
        else:
            await for_each(keys, DELETES, self._delete_one)

    async def _delete_one(self, key: str) -> None:
        await self._run(key, partial(self._operator.delete, key))

    async def aclose(self) -> None:
        await self._botocore.aclose()
        await self._asyncio.aclose()

    async def _run(self, key: str, call: Callable[[], R], *, receiving: int = 0, shield: bool = False) -> R:
        """`call` in a worker thread; when the deadline passes or the caller is cancelled, nobody waits for it any more."""
        limit = patience(receiving, self._deadline)
        try:
            with trio.fail_after(limit, shield=shield), named(key):
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
            with trio.fail_after(self._deadline, shield=shield), named(what):
                return await self._asyncio.run(call)
        except trio.TooSlowError as error:
            raise TimedOut(f"{what}: no answer within {self._deadline:g} s") from error


def _verbatim(key: str) -> bool:
    """Whether OpenDAL sends this key as it is: it strips spaces, drops empty segments, replaces what is not text, and resolves dots."""
    if not key:
        return True
    segments = key.removesuffix("/").split("/")
    return key == key.strip() and not any(segment in ("", ".", "..") for segment in segments) and _is_text(key)


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _operator(settings: S3Settings) -> opendal.Operator:
    options = settings.native()
    try:
        return opendal.Operator("s3", **options)
    except opendal.exceptions.ConfigInvalid as error:
        if "region" in options:
            raise Invalid(f"{settings.uri}: {str(error).partition('Context')[0].strip()}") from error
    # botocore's default, where neither the user nor the environment names a region.
    return opendal.Operator("s3", **options, region="us-east-1")


def _bounded(operator: opendal.Operator, seconds: float, retries: int, deadline: float) -> opendal.Operator:
    """`operator` that gives each attempt so many seconds, and tries again after short waits that fit the deadline."""
    retry = RetryLayer(max_times=retries, factor=2.0, jitter=False, min_delay=deadline / 200, max_delay=deadline / 50)
    return operator.layer(TimeoutLayer(timeout=seconds, io_timeout=seconds)).layer(retry)


def _artifact(key: str, metadata: Metadata) -> Artifact:
    if metadata.etag is None or metadata.last_modified is None:
        raise Corrupt(f"{key}: the store names no ETag")
    return Artifact(key, metadata.etag, metadata.content_length, whole_seconds(metadata.last_modified))


async def _rows(lister: AsyncIterable[Entry], prefix: str, most: int) -> list[Child]:
    """The next rows of a listing; fewer than `most` when it ends. Runs on the asyncio loop."""
    rows: list[Child] = []
    async for entry in lister:
        rows.append(_child(entry, prefix))
        if len(rows) == most:
            break
    return rows


def _child(entry: Entry, prefix: str) -> Child:
    metadata = entry.metadata
    # The root's own marker is called "/".
    name = entry.path[len(prefix) :] if entry.path != "/" else ""
    if metadata.etag is None:
        return Child(name.removesuffix("/"), None)
    return Child(name, _artifact(prefix + name, metadata))
