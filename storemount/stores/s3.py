"""S3Store: an S3 bucket through s3fs's session, one S3 request at a time.

What it is: the fsspec engine of the s3 flavor, and the single calls that the native engine lacks.
What it is not: s3fs's file system interface, which hides markers, caches listings and cannot pin a version; its session and its way
to configure credentials are what is used.
Invariants: s3fs is imported and a connection made with the first request, not before. Every key is sent as it is. A multipart upload that
this store began is completed or aborted before `write` or `copy` ends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import trio

from storemount.errors import Changed, Corrupt, InvalidName, MissingStore, NotFound, StoreMountError, TimedOut
from storemount.stores.base import Artifact, Capacity, Child, Source, Traits
from storemount.stores.botocore_errors import named
from storemount.stores.bridge import AsyncioThread
from storemount.stores.budget import ByteBudget
from storemount.stores.metadata import SECOND, user_metadata, whole_seconds
from storemount.stores.parallel import for_each, resolve
from storemount.stores.parts import CONCURRENT, SINGLE_PUT, UPLOAD_BYTES, in_memory, part_size, patience, ranges, read_part
from storemount.stores.s3settings import S3Settings

log = logging.getLogger(__name__)

BULK = 1000
LARGEST_COPY = 5 * 1024**3
COPY_PART = 512 * 1024**2

PartCall = Callable[[str, int, int, int], Awaitable[str]]
"""(upload id, number, start, stop) -> the part's ETag."""


class S3Store:
    """One bucket, or a prefix of it. `deadline` in seconds bounds every request, its retries included (S14)."""

    def __init__(self, settings: S3Settings, *, deadline: float) -> None:
        self.uri = settings.uri
        self.traits = Traits(engine="fsspec", max_key_bytes=1024 - len(settings.root.encode()))
        self._settings = settings
        self._deadline = deadline
        self._asyncio = AsyncioThread("s3-requests")
        self._uploads = ByteBudget(UPLOAD_BYTES)
        self._session: Any = None

    async def check(self) -> None:
        await self._listing("", Prefix=self._settings.root, MaxKeys=1)

    async def stat(self, key: str) -> Child:
        return await resolve(key, self._head, self._is_directory)

    async def _head(self, key: str, *, shield: bool = False) -> Artifact:
        told = await self._call(key, "head_object", shield=shield, Key=self._full(key))
        return Artifact(key, _tag(told), told["ContentLength"], whole_seconds(told["LastModified"]))

    async def _is_directory(self, key: str) -> bool:
        told = await self._listing(key, Prefix=self._full(key) + "/", MaxKeys=1)
        return bool(told.get("Contents"))

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        asked: dict[str, Any] = {"Prefix": self._full(prefix)}
        if not recursive:
            asked["Delimiter"] = "/"
        while True:
            told = await self._listing(prefix, **asked)
            if rows := _rows(told, prefix, len(asked["Prefix"])):
                yield rows
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

    async def write(self, key: str, source: Source) -> Artifact:
        async with self._uploads.hold(in_memory(source)):
            try:
                return await (self._put(key, source) if source.size <= SINGLE_PUT else self._put_in_parts(key, source))
            except NotFound as error:
                # The bucket is there (or this were MissingStore): what the server cannot find its way to is this name.
                raise InvalidName(f"{key}: the store takes no such name") from error

    async def _put_in_parts(self, key: str, source: Source) -> Artifact:
        part = part_size(source.size)

        async def send(upload: str, number: int, start: int, stop: int) -> str:
            data = await trio.to_thread.run_sync(read_part, source, start, stop)
            asked: dict[str, Any] = {"Key": self._full(key), "UploadId": upload, "PartNumber": number, "Body": data}
            return str((await self._call(key, "upload_part", sending=part * CONCURRENT, **asked))["ETag"])

        return await self._upload(key, user_metadata(source), source.size, part, send)

    async def _put(self, key: str, source: Source) -> Artifact:
        data = await trio.to_thread.run_sync(read_part, source, 0, source.size)
        asked: dict[str, Any] = {"Key": self._full(key), "Body": data, "Metadata": user_metadata(source)}
        told = await self._call(key, "put_object", sending=source.size, **asked)
        return Artifact(key, _tag(told), source.size, _server_time(told))

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        if artifact.size > LARGEST_COPY:
            return await self._copy_in_parts(artifact, key)
        told = await self._pinned(artifact, "copy_object", Key=self._full(key), **self._origin(artifact))
        made = told["CopyObjectResult"]
        # Some servers copy without looking at the condition. An equal ETag shows that the right version was copied; another one
        # can also come of the origin having had parts, so the origin is asked.
        if _tag(made) != artifact.version and not await self._is_current(artifact):
            await self.delete([key])
            raise Changed(artifact.key)
        return Artifact(key, _tag(made), artifact.size, whole_seconds(made["LastModified"]), artifact.mode)

    async def _copy_in_parts(self, artifact: Artifact, key: str) -> Artifact:
        told = await self._pinned(artifact, "head_object", Key=self._full(artifact.key), IfMatch=artifact.version)
        part = part_size(artifact.size, COPY_PART)

        async def send(upload: str, number: int, start: int, stop: int) -> str:
            asked = {"Key": self._full(key), "UploadId": upload, "PartNumber": number, "CopySourceRange": f"bytes={start}-{stop - 1}"}
            made = await self._pinned(artifact, "upload_part_copy", **asked, **self._origin(artifact))
            return str(made["CopyPartResult"]["ETag"])

        return await self._upload(key, told.get("Metadata", {}), artifact.size, part, send)

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

    async def _upload(self, key: str, metadata: dict[str, str], size: int, part: int, send: PartCall) -> Artifact:
        """An object made of parts that `send` sends, several at once. Failed or cancelled, the upload is aborted."""
        full = self._full(key)
        begun = await self._begin(key, full, metadata)
        tags: dict[int, str] = {}

        async def one(piece: tuple[int, int, int]) -> None:
            tags[piece[0]] = await send(begun, *piece)

        try:
            await for_each(ranges(size, part), CONCURRENT, one)
            parts = [{"PartNumber": number, "ETag": tags[number]} for number in sorted(tags)]
            # Once asked for, completion is waited for: cancelled half-way, nobody could say whether the object is there.
            await self._call(key, "complete_multipart_upload", shield=True, Key=full, UploadId=begun, MultipartUpload={"Parts": parts})
        except BaseException:
            await self._abort(key, begun)
            raise
        # The time of such an object is when its upload began, and no answer has said it.
        return await self._head(key, shield=True)

    async def _begin(self, key: str, full: str, metadata: dict[str, str]) -> str:
        # Shielded: the id of an upload that was begun must be known, or it could not be aborted.
        begun = await self._call(key, "create_multipart_upload", shield=True, Key=full, Metadata=metadata)
        return str(begun["UploadId"])

    async def _abort(self, key: str, upload: str) -> None:
        try:
            await self._call(key, "abort_multipart_upload", shield=True, Key=self._full(key), UploadId=upload)
        except NotFound:
            return
        except StoreMountError as error:
            log.warning("an unfinished upload of %s is left in the store: %s", key, error)

    async def sweep_uploads(self, key: str) -> None:
        """Abort every multipart upload of `key`, even when cancelled. Another writer of this very key has to begin again.

        A failure is logged: the caller is on its way out with the one that led here."""
        full = self._full(key)
        try:
            told = await self._call(key, "list_multipart_uploads", shield=True, Prefix=full)
        except StoreMountError as error:
            log.warning("an unfinished upload of %s may be left in the store: %s", key, error)
            return
        for upload in told.get("Uploads", ()):
            if upload["Key"] == full:
                await self._abort(key, upload["UploadId"])

    async def rename(self, key: str, to: str) -> None:
        raise NotImplementedError("a flat store has no rename; traits.rename is False")

    async def delete(self, keys: Sequence[str]) -> None:
        # A control character cannot be written in the body of a bulk request.
        single = [key for key in keys if len(keys) == 1 or not key.isprintable()]
        bulk = [key for key in keys if len(keys) > 1 and key.isprintable()]
        await for_each(single, CONCURRENT, self._delete_one)
        for start in range(0, len(bulk), BULK):
            await self._delete_many(bulk[start : start + BULK])

    async def _delete_one(self, key: str) -> None:
        try:
            await self._call(key, "delete_object", Key=self._full(key))
        except NotFound:
            return

    async def _delete_many(self, keys: Sequence[str]) -> None:
        names = [{"Key": self._full(key)} for key in keys]
        told = await self._call(keys[0], "delete_objects", Delete={"Objects": names, "Quiet": True})
        refused = [self._relative(failure["Key"]) for failure in told.get("Errors", ()) if failure.get("Code") != "NoSuchKey"]
        # Asked one by one, each gives its own failure, or succeeds after a passing one.
        await for_each(refused, CONCURRENT, self._delete_one)

    def open_local(self, artifact: Artifact) -> int:
        raise NotImplementedError("an S3 store has no files; traits.local_files is False")

    async def sync(self, key: str) -> None:
        raise NotImplementedError("what S3 has accepted is durable; traits.lazy is False")

    async def capacity(self) -> Capacity | None:
        await trio.lowlevel.checkpoint()
        return None

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

            config: dict[str, Any] = {
                "connect_timeout": self._deadline * 0.3,
                "read_timeout": self._deadline * 0.3,
                "max_pool_connections": 64,
            }
            config |= {"retries": {"mode": "standard", "total_max_attempts": 3}}
            # Other servers than AWS often refuse the newer checksum headers.
            config |= {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
            options = self._settings.s3fs(config)
            self._session = s3fs.S3FileSystem(asynchronous=True, skip_instance_cache=True, use_listings_cache=False, **options)
            self._session.retries = 1  # botocore has retried already
        return self._session

    async def _disconnect(self) -> None:
        client = await self._session.set_session()
        self._session = None
        await client.close()


def _rows(told: dict[str, Any], prefix: str, skip: int) -> list[Child]:
    rows = [Child(found["Prefix"][skip:].removesuffix("/"), None) for found in told.get("CommonPrefixes", ())]
    for found in told.get("Contents", ()):
        name = found["Key"][skip:]
        rows.append(Child(name, Artifact(prefix + name, _tag(found), found["Size"], whole_seconds(found["LastModified"]))))
    return rows


def _tag(told: dict[str, Any]) -> str:
    """The ETag as a condition wants it: in quotes, which some servers forget in some answers."""
    tag = str(told["ETag"])
    return tag if tag.endswith('"') else f'"{tag}"'


def _server_time(told: dict[str, Any]) -> int:
    """When the store wrote what it just answered for, by its own clock; ours where it does not say."""
    date = told["ResponseMetadata"]["HTTPHeaders"].get("date")
    return whole_seconds(parsedate_to_datetime(date)) if date else int(time.time()) * SECOND
