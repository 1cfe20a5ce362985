"""S3Store: an S3 bucket through s3fs's session, one S3 request at a time.

What it is: the fsspec engine of the s3 flavor, and the single calls that the native engine lacks.
What it is not: s3fs's file system interface, which hides markers, caches listings and cannot pin a version; its session and its way
to configure credentials are what is used.
Invariants: s3fs is imported and a connection made with the first request, not before. Every key is sent as it is. A multipart upload that
this store began is completed or aborted before `write` or `copy` ends, or left to `unfinished`. A condition (S9) goes with the request that
publishes, and the store is asked for what it holds before: some servers take one and ignore it, when an upload ends or always.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

import trio

from storemount.errors import (
    AlreadyExists,
    Changed,
    Corrupt,
    Denied,
    Invalid,
    InvalidName,
    MissingStore,
    NoSpace,
    NotFound,
    StoreMountError,
    TimedOut,
    Unsupported,
)
from storemount.stores.base import EMPTY, Artifact, Child, Meta, Source
from storemount.stores.botocore_errors import named
from storemount.stores.bridge import AsyncioThread
from storemount.stores.budget import Uploads
from storemount.stores.conditions import ALWAYS, Condition
from storemount.stores.dialects import length, merged, read, s3_written
from storemount.stores.flat import FlatStore
from storemount.stores.metadata import whole_seconds
from storemount.stores.parallel import for_each, resolve
from storemount.stores.parts import CONCURRENT, SINGLE_PUT, in_memory, part_size, patience, ranges, read_part
from storemount.stores.s3answers import conditions, kept_headers, rows, server_time, tag
from storemount.stores.s3errors import NoSuchUpload
from storemount.stores.s3settings import S3Settings, client_config
from storemount.stores.unfinished import Unfinished, Upload, found_in

log = logging.getLogger(__name__)

BULK = 1000
LARGEST_COPY = 5 * 1024**3
COPY_PART = 512 * 1024**2

PartCall = Callable[[str, int, int, int], Awaitable[str]]
"""(upload id, number, start, stop) -> the part's ETag."""


class S3Store(FlatStore):
    """One bucket, or a prefix of it. `deadline` in seconds bounds every request, its retries included (S14). `uploads` may be shared."""

    def __init__(
        self, settings: S3Settings, *, deadline: float, uploads: Uploads | None = None, unfinished: Unfinished | None = None
    ) -> None:
        self.uri = settings.uri
        self.traits = settings.traits("fsspec")
        self._settings = settings
        self._deadline = deadline
        self._asyncio = AsyncioThread("s3-requests")
        self._uploads = uploads or Uploads()
        self._unfinished = unfinished or Unfinished(keeps=False)
        self._quoted_tags = True
        self._session: Any = None

    async def check(self) -> None:
        await self._listing("", Prefix=self._settings.root, MaxKeys=1)

    async def stat(self, key: str) -> Child:
        return await resolve(key, self._head, self._is_directory)

    async def _head(self, key: str, *, shield: bool = False) -> Artifact:
        told = await self._call(key, "head_object", shield=shield, Key=self._full(key))
        meta = read(told.get("Metadata", {}))
        return Artifact(key, tag(told), told["ContentLength"], whole_seconds(told["LastModified"]), meta)

    async def describe(self, key: str) -> Artifact:
        return await self._head(key)

    async def _is_directory(self, key: str) -> bool:
        told = await self._listing(key, Prefix=self._full(key) + "/", MaxKeys=1)
        return bool(told.get("Contents"))

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        asked: dict[str, Any] = {"Prefix": self._full(prefix)}
        if not recursive:
            asked["Delimiter"] = "/"
        while True:
            told = await self._listing(prefix, **asked)
            if page := rows(told, prefix, len(asked["Prefix"])):
                yield page
            if not told["IsTruncated"]:
                return
            asked["ContinuationToken"] = told["NextContinuationToken"]

    async def _listing(self, what: str, **asked: Any) -> dict[str, Any]:
        """A page of a listing. Raises Corrupt for an answer that is none: botocore would take any XML for an empty one.

        Raises MissingStore for "not found": nothing below a prefix is an empty listing, so what answered is no bucket (S3)."""
        try:
            told = await self._call(what, "list_objects_v2", **asked)
        except NotFound as error:
            raise MissingStore(f"{what or self.uri}: a listing was not found: {error}") from error
        if "IsTruncated" not in told:
            raise Corrupt(f"{what or self.uri}: the answer is not a listing")
        return told

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes:
        asked: dict[str, Any] = {"Key": self._full(artifact.key), "Range": f"bytes={start}-{stop - 1}", "IfMatch": artifact.version}
        try:
            data: bytes = await self._ask(artifact.key, self._get, asked, sending=stop - start)
        except NotFound as error:
            raise Changed(artifact.key) from error
        if len(data) != stop - start:
            raise Corrupt(f"{artifact.key}: {len(data)} bytes came for {stop - start}")
        return data

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        condition = Condition(over, absent)
        async with self._uploads.hold(source, in_memory(source)):
            await self._confirm(key, condition)
            try:
                return await (self._put if source.size <= SINGLE_PUT else self._put_in_parts)(key, source, condition)
            except Changed as error:
                if not absent:
                    raise
                raise AlreadyExists(key) from error
            except NotFound as error:
                if over is not None:
                    raise Changed(key) from error
                # The bucket is there (or this were MissingStore): what the server cannot find its way to is this name.
                raise InvalidName(f"{key}: the store takes no such name") from error

    async def _put_in_parts(self, key: str, source: Source, condition: Condition) -> Artifact:
        part = part_size(source.size)

        async def send(upload: str, number: int, start: int, stop: int) -> str:
            data = await trio.to_thread.run_sync(read_part, source, start, stop)
            asked: dict[str, Any] = {"Key": self._full(key), "UploadId": upload, "PartNumber": number, "Body": data}
            return str((await self._call(key, "upload_part", sending=part * CONCURRENT, **asked))["ETag"])

        begun = await self._left_of(key, source, part) or Upload(await self._begin(key, {"Metadata": s3_written(source.meta)}))
        return await self._upload(key, begun, source.size, part, send, condition, source)

    async def _left_of(self, key: str, source: Source, part: int) -> Upload | None:
        """The upload that ended with the keys before these; what else was left of this key is cleared away."""
        if not self._unfinished.has(key):
            return None
        left = self._unfinished.of(key, source)
        if left is not None and not left.id:
            left = await found_in(self._call, key, self._full(key), source, part)
        if left is None:
            await self.sweep(key)
        self._unfinished.forget(key)
        return left

    async def _put(self, key: str, source: Source, condition: Condition) -> Artifact:
        data = await trio.to_thread.run_sync(read_part, source, 0, source.size)
        asked: dict[str, Any] = {"Key": self._full(key), "Body": data, "Metadata": s3_written(source.meta)}
        told = await self._conditionally(condition, key, partial(self._call, key, "put_object", sending=source.size, **asked))
        return Artifact(key, tag(told), source.size, server_time(told), source.meta)

    async def _conditionally(self, condition: Condition, key: str, request: Callable[..., Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """The answer to `request`, which the server is to do on this condition; it was confirmed just before. A refusal is Changed."""
        if not condition.given:
            return await request()
        quoted = self._quoted_tags
        try:
            return await request(**conditions(condition, quoted))
        except Unsupported:
            # It says that it knows no conditions: what was confirmed has to do.
            return await request()
        except (Changed, NotFound):
            if condition.over is None:
                raise
            await self._confirm(key, condition)
        # It is this version still. Some servers compare what we send, letter by letter, with an ETag that has no quotes.
        told = await request(**conditions(condition, not quoted))
        self._quoted_tags = not quoted
        return told

    async def _confirm(self, key: str, condition: Condition) -> None:
        """Raises Changed or AlreadyExists when the store does not hold what the condition wants."""
        if not condition.given:
            return
        held: Artifact | None = None
        try:
            held = await self._head(key)
        except StoreMountError as error:
            if not error.transient and not (condition.absent and isinstance(error, NotFound)):
                # A HEAD is answered without a word; a listing says when it is the bucket which is missing, or a token expired (S3).
                await self.check()
            if not isinstance(error, NotFound):
                raise
        condition.check(key, held)

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        if artifact.size > LARGEST_COPY:
            told = await self._pinned(artifact, "head_object", Key=self._full(artifact.key), IfMatch=artifact.version)
            headers = {**kept_headers(told, self._settings.s3_additional_kwargs), "Metadata": told.get("Metadata", {})}
            return await self._copy_in_parts(artifact, key, {**headers, **await self._tags(artifact)})
        try:
            told = await self._pinned(artifact, "copy_object", sending=artifact.size // 16, Key=self._full(key), **self._origin(artifact))
        except Invalid:
            if artifact.size or not (key.endswith("/") and artifact.key.endswith("/")):
                raise
            # Some servers (versitygw) copy no markers.
            return await self.write(key, replace(EMPTY, meta=(await self._head(artifact.key)).meta or EMPTY.meta))
        made = told["CopyObjectResult"]
        # Some servers copy without looking at the condition. An equal ETag shows that the right version was copied; another one
        # can also come of the origin having had parts, so the origin is asked.
        if tag(made) != artifact.version and not await self._is_current(artifact):
            await self.delete([key])
            raise Changed(artifact.key)
        return Artifact(key, tag(made), artifact.size, whole_seconds(made["LastModified"]), artifact.meta)

    async def _copy_in_parts(self, artifact: Artifact, key: str, headers: dict[str, Any], condition: Condition = ALWAYS) -> Artifact:
        part = part_size(artifact.size, COPY_PART)

        async def send(upload: str, number: int, start: int, stop: int) -> str:
            asked = {"Key": self._full(key), "UploadId": upload, "PartNumber": number, "CopySourceRange": f"bytes={start}-{stop - 1}"}
            made = await self._pinned(artifact, "upload_part_copy", sending=part // 16, **asked, **self._origin(artifact))
            return str(made["CopyPartResult"]["ETag"])

        return await self._upload(key, Upload(await self._begin(key, headers)), artifact.size, part, send, condition)

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        """A copy onto itself, with other metadata and everything else as it was. On AWS the ACL of a single object is not kept by that."""
        told = await self._pinned(artifact, "head_object", Key=self._full(artifact.key), IfMatch=artifact.version)
        if tag(told) != artifact.version:
            raise Changed(artifact.key)
        if artifact.is_symlink:
            meta = replace(meta, mode=None)
        metadata = merged(told.get("Metadata", {}), meta, s3_written)
        held = replace(artifact, mtime_ns=whole_seconds(told["LastModified"]), meta=read(metadata))
        if metadata == told.get("Metadata", {}):
            return held
        if length(metadata) > self.traits.meta_bytes:
            raise NoSpace(f"{artifact.key}: S3 takes {self.traits.meta_bytes} bytes of metadata, and this were {length(metadata)}")
        headers = {**kept_headers(told, self._settings.s3_additional_kwargs), "Metadata": metadata}
        if artifact.size > LARGEST_COPY:
            made = await self._copy_in_parts(artifact, artifact.key, {**headers, **await self._tags(artifact)}, Condition(over=artifact))
            return replace(made, meta=held.meta)
        asked = {"sending": artifact.size // 16, "MetadataDirective": "REPLACE", **headers, **self._origin(artifact)}
        told = (await self._pinned(artifact, "copy_object", Key=self._full(artifact.key), **asked))["CopyObjectResult"]
        return replace(held, version=tag(told), mtime_ns=whole_seconds(told["LastModified"]))

    async def _tags(self, artifact: Artifact) -> dict[str, Any]:
        """The object's tags, which a copy in parts would lose, as a header; nothing where the server or the credentials offer none."""
        try:
            told = await self._pinned(artifact, "get_object_tagging", Key=self._full(artifact.key))
        except (Unsupported, Denied):
            return {}
        pairs = {each["Key"]: each["Value"] for each in told.get("TagSet", ())}
        return {"Tagging": urlencode(pairs)} if pairs else {}

    def _origin(self, artifact: Artifact) -> dict[str, Any]:
        source = {"Bucket": self._settings.bucket, "Key": self._full(artifact.key)}
        return {"CopySource": source, "CopySourceIfMatch": artifact.version}

    async def _is_current(self, artifact: Artifact) -> bool:
        try:
            return (await self._head(artifact.key)).version == artifact.version
        except NotFound:
            return False

    async def _pinned(self, artifact: Artifact, method: str, **asked: Any) -> dict[str, Any]:
        """A request about exactly this version: that it is gone is `Changed`."""
        try:
            return await self._call(artifact.key, method, **asked)
        except NotFound as error:
            raise Changed(artifact.key) from error

    async def _upload(
        self, key: str, begun: Upload, size: int, part: int, send: PartCall, condition: Condition = ALWAYS, source: Source | None = None
    ) -> Artifact:
        """An object made of parts that `send` sends, several at once. Failed or cancelled, the upload is aborted, but where other keys may
        go on with it."""

        async def one(piece: tuple[int, int, int]) -> None:
            begun.tags[piece[0]] = await send(begun.id, *piece)

        try:
            await for_each((piece for piece in ranges(size, part) if piece[0] not in begun.tags), CONCURRENT, one)
            parts = [{"PartNumber": number, "ETag": begun.tags[number]} for number in sorted(begun.tags)]
            asked: dict[str, Any] = {"Key": self._full(key), "UploadId": begun.id, "MultipartUpload": {"Parts": parts}}
            await self._confirm(key, condition)
            # Once asked for, completion is waited for: cancelled half-way, nobody could say whether the object is there.
            told = await self._conditionally(condition, key, partial(self._call, key, "complete_multipart_upload", shield=True, **asked))
        except BaseException as error:
            if not self._unfinished.leave(error, key, source, begun):
                await self._give_up(key, begun.id)
            raise
        return await self._completed(key, size, told)

    async def _completed(self, key: str, size: int, told: dict[str, Any]) -> Artifact:
        """What has just been made of parts. Its time is when its upload began, which only the object itself tells, while it is there."""
        made = Artifact(key, tag(told), size, server_time(told)) if told.get("ETag") else None
        try:
            held = await self._head(key, shield=True)
        except NotFound as error:
            if made is None:
                raise Changed(f"{key}: the object was removed as soon as it was written") from error
            return made
        # Another's version is not taken for ours; some servers (Ceph) do not say which is.
        return held if made is None or held.version == made.version else made

    async def _begin(self, key: str, headers: dict[str, Any]) -> str:
        # Shielded: the id of an upload that was begun must be known, or it could not be aborted.
        begun = await self._call(key, "create_multipart_upload", shield=True, Key=self._full(key), **headers)
        return str(begun["UploadId"])

    async def _give_up(self, key: str, upload: str) -> None:
        """Abort the upload, even when cancelled. A failure is logged: the caller is on its way out with the one that led here."""
        with trio.CancelScope(shield=True):
            try:
                await self._abort(key, upload)
            except StoreMountError as error:
                log.warning("an unfinished upload of %s is left in the store: %s", key, error)

    async def _abort(self, key: str, upload: str) -> None:
        with suppress(NotFound, NoSuchUpload):
            await self._call(key, "abort_multipart_upload", Key=self._full(key), UploadId=upload)

    async def sweep(self, key: str) -> None:
        full = self._full(key)
        asked: dict[str, Any] = {"Prefix": full}
        while True:
            told = await self._call(key, "list_multipart_uploads", **asked)
            for upload in told.get("Uploads", ()):
                if upload["Key"] == full:
                    await self._abort(key, upload["UploadId"])
            # The key itself comes before all that begin with it.
            if not told.get("IsTruncated") or told["NextKeyMarker"] != full:
                return
            asked |= {"KeyMarker": full, "UploadIdMarker": told["NextUploadIdMarker"]}

    async def delete(self, keys: Sequence[str]) -> None:
        # A control character cannot be written in the body of a bulk request.
        single = [key for key in keys if len(keys) == 1 or not key.isprintable()]
        bulk = [key for key in keys if len(keys) > 1 and key.isprintable()]
        await for_each(single, CONCURRENT, self._delete_one)
        for start in range(0, len(bulk), BULK):
            await self._delete_many(bulk[start : start + BULK])

    async def _delete_one(self, key: str) -> None:
        with suppress(NotFound):
            await self._call(key, "delete_object", Key=self._full(key))

    async def _delete_many(self, keys: Sequence[str]) -> None:
        names = [{"Key": self._full(key)} for key in keys]
        told = await self._call(keys[0], "delete_objects", Delete={"Objects": names, "Quiet": True})
        refused = [self._relative(failure["Key"]) for failure in told.get("Errors", ()) if failure.get("Code") != "NoSuchKey"]
        # Asked one by one, each gives its own failure, or succeeds after a passing one; deepest first, as some servers (versitygw) keep a
        # directory's marker as long as there is something below it.
        for key in sorted(refused, reverse=True):
            await self._delete_one(key)

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            if self._session is not None:
                await self._asyncio.run(self._disconnect)
            await self._asyncio.aclose()

    def _full(self, key: str) -> str:
        return self._settings.root + key

    def _relative(self, full: str) -> str:
        return full[len(self._settings.root) :]

    async def _call(self, what: str, method: str, *, sending: int = 0, shield: bool = False, **asked: Any) -> dict[str, Any]:
        """One request of botocore's client, on this bucket. `sending` bytes of body get a slow line's time on top of the deadline."""
        told: dict[str, Any] = await self._ask(what, partial(self._request, method), asked, sending=sending, shield=shield)
        return told

    async def _ask(
        self, what: str, request: Callable[[dict[str, Any]], Awaitable[Any]], asked: dict[str, Any], *, sending: int, shield: bool = False
    ) -> Any:
        limit = patience(sending, self._deadline)
        try:
            with trio.fail_after(limit, shield=shield), named(what or self.uri):
                return await self._asyncio.run(request, asked)
        except trio.TooSlowError as error:
            raise TimedOut(f"{what or self.uri}: no answer within {limit:g} s") from error

    # What follows runs on the asyncio loop.

    async def _request(self, method: str, asked: dict[str, Any]) -> Any:
        return await self._connected()._call_s3(method, Bucket=self._settings.bucket, **asked)

    async def _get(self, asked: dict[str, Any]) -> bytes:
        told = await self._request("get_object", asked)
        async with told["Body"] as body:
            return bytes(await body.read())

    def _connected(self) -> Any:
        if self._session is None:
            import s3fs

            options = self._settings.s3fs(client_config(self._deadline))
            self._session = s3fs.S3FileSystem(asynchronous=True, skip_instance_cache=True, use_listings_cache=False, **options)
            self._session.retries = 1  # botocore has retried already
        return self._session

    async def _disconnect(self) -> None:
        client = await self._session.set_session()
        self._session = None
        await client.close()
