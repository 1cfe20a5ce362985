"""AzureStore: a container of Azure Blob Storage through azure-storage-blob, one request at a time.

What it is: the fsspec engine of the azure flavor (the client that adlfs stands on), and the single calls that the native engine lacks.
What it is not: adlfs's file system interface, which makes no directories, cannot pin a version, and tries for over a minute to reach a
store that is down. Renames are copies, on accounts with a hierarchical namespace too: their own rename is another API.
Invariants: every key is sent as it is, or refused. Blocks that were sent are seen by nobody until `commit_block_list` publishes them all
(S6); there is no way, and no need, to take them back. A condition (S9) is checked by the service in the request that publishes.
"""

from __future__ import annotations

import io
import logging
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import trio

from storemount.errors import (
    AlreadyExists,
    Changed,
    Corrupt,
    InvalidName,
    MissingStore,
    NoSpace,
    NotEmpty,
    NotFound,
    StoreMountError,
    TimedOut,
    Unavailable,
)
from storemount.stores.azureanswers import artifact_of, described, headers, made, pin, row, tag
from storemount.stores.azurenames import FOLDER, is_holdable, refuse_unholdable, says_folder, stub, traits
from storemount.stores.azurerequests import AzureRequests
from storemount.stores.azuresettings import AzureSettings
from storemount.stores.base import Artifact, Child, Meta, Source
from storemount.stores.budget import Uploads
from storemount.stores.conditions import Condition
from storemount.stores.dialects import azure_written, length, merged, read
from storemount.stores.flat import FlatStore, distinct
from storemount.stores.metadata import whole_seconds
from storemount.stores.parallel import for_each, resolve
from storemount.stores.parts import CONCURRENT, SINGLE_PUT, in_memory, part_size, patience, ranges, read_part

log = logging.getLogger(__name__)

PAGE = 1000
BULK = 256
DELETES = 16
BLOCK_NAME = 16
"""Characters of a block's name. All of one blob must be equally long, those that OpenDAL left uncommitted included."""


class AzureStore(FlatStore):
    """One container, or a prefix of it. `deadline` in seconds bounds every request, its retries included (S14). `uploads` may be shared."""

    def __init__(self, settings: AzureSettings, *, deadline: float, uploads: Uploads | None = None) -> None:
        self.uri = settings.uri
        self.traits = traits("fsspec", settings.root)
        self._settings = settings
        self._deadline = deadline
        self._requests = AzureRequests(settings, deadline=deadline)
        self._uploads = uploads or Uploads()

    async def check(self) -> None:
        await self._page("", self._settings.root, None, most=1)

    async def stat(self, key: str) -> Child:
        if not is_holdable(key):
            await trio.lowlevel.checkpoint()
            raise NotFound(f"{key!r}: Azure holds no such name")
        return await resolve(key, self._head, self._is_directory)

    async def _head(self, key: str, *, shield: bool = False) -> Artifact | None:
        """The blob with this key; None when it stands for a directory."""
        told = await self._blob(key, self._full(key), "get_blob_properties", shield=shield)
        return None if says_folder(told.metadata) else described(key, told)

    async def describe(self, key: str) -> Artifact:
        return described(key, await self._properties(key))

    async def _properties(self, key: str) -> Any:
        """Of the blob with this key; of a directory's key, of whatever stands for it. Raises NotFound."""
        full = self._full(key)
        if key.endswith("/") and (name := stub(full)) is not None:
            with suppress(NotFound):
                if says_folder((told := await self._blob(key, name, "get_blob_properties")).metadata):
                    return told
        told = await self._blob(key, full, "get_blob_properties")
        if not key.endswith("/") and says_folder(told.metadata):
            raise NotFound(f"{key}: that is a directory")
        return told

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        key = artifact.key
        try:
            told = await self._properties(key)
            if tag(told.etag) != artifact.version:
                raise Changed(key)
            held: dict[str, str] = dict(told.metadata or {})
            said = merged(held, replace(meta, mode=None) if artifact.is_symlink else meta, azure_written)
            if said == held:
                return described(key, told)
            if length(said) > self.traits.meta_bytes:
                raise NoSpace(f"{key}: Azure takes {self.traits.meta_bytes} bytes of metadata, and this were {length(said)}")
            made = await self._blob(key, told.name, "set_blob_metadata", metadata=said, **pin(artifact.version))
        except NotFound as error:
            raise Changed(key) from error
        return replace(artifact, version=tag(made["etag"]), mtime_ns=whole_seconds(made["last_modified"]), meta=read(said))

    async def _is_directory(self, key: str) -> bool:
        token: str | None = None
        while True:
            # The service may answer an empty page and say that there is more.
            items, token = await self._page(key, self._full(key) + "/", token, most=1)
            if items or not token:
                return bool(items)

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        from azure.storage.blob import BlobProperties

        full = self._full(prefix)
        token: str | None = None
        directories: set[str] = set()
        while True:
            items, token = await self._page(prefix, full, token, most=PAGE, recursive=recursive)
            rows = [
                row(item, prefix, len(full), recursive) if isinstance(item, BlobProperties) else Child(item.name[len(full) : -1], None)
                for item in items
            ]
            if page := distinct(rows, directories):
                yield page
            if not token:
                return

    async def _page(
        self, what: str, full: str, token: str | None, *, most: int, recursive: bool = True
    ) -> tuple[Sequence[Any], str | None]:
        """Up to `most` items of a listing, and where the next page begins. Raises MissingStore for "not found": nothing below a prefix is
        an empty listing, so what answered is no container (S3)."""
        try:
            return await self._requests.page(what or self.uri, full, token, most, recursive)
        except NotFound as error:
            raise MissingStore(f"{what or self.uri}: a listing was not found: {error}") from error

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes:
        try:
            data = await self._requests.get(artifact.key, self._full(artifact.key), artifact.version, start, stop - start)
        except NotFound as error:
            raise Changed(artifact.key) from error
        if len(data) != stop - start:
            raise Corrupt(f"{artifact.key}: {len(data)} bytes came for {stop - start}")
        return data

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        condition = Condition(over, absent)
        refuse_unholdable(self._full(key))
        if key.endswith("/") and over is None:
            return await self._mark(key, source.meta, absent)
        try:
            async with self._uploads.hold(source, in_memory(source)):
                return await (self._put if source.size <= SINGLE_PUT else self._put_in_blocks)(key, source, condition)
        except Changed as error:
            if not absent:
                raise
            raise AlreadyExists(key) from error
        except AlreadyExists as error:
            if absent:
                raise
            raise Unavailable(f"{key}: the store says that it exists already") from error
        except NotFound as error:
            if over is not None:
                raise Changed(key) from error
            # The container is there (or this were MissingStore): what the server cannot find its way to is this name.
            raise InvalidName(f"{key}: the store takes no such name") from error

    async def _put(self, key: str, source: Source, condition: Condition) -> Artifact:
        data = await trio.to_thread.run_sync(read_part, source, 0, source.size)
        asked: dict[str, Any] = {"data": data, "length": source.size, "overwrite": True, "metadata": azure_written(source.meta)}
        told = await self._blob(key, self._full(key), "upload_blob", moving=source.size, **asked, **headers(condition))
        return replace(made(key, source.size, told), meta=source.meta)

    async def _put_in_blocks(self, key: str, source: Source, condition: Condition) -> Artifact:
        from azure.storage.blob import BlobBlock

        await self._confirm(key, condition)
        part = part_size(source.size)
        names: dict[int, str] = {}

        async def send(piece: tuple[int, int, int]) -> None:
            number, start, stop = piece
            data = await trio.to_thread.run_sync(read_part, source, start, stop)
            # A name of its own: whoever uploads the same key at the same time adds to the same heap.
            names[number] = uuid.uuid4().hex[:BLOCK_NAME]
            asked: dict[str, Any] = {"block_id": names[number], "data": io.BytesIO(data), "length": len(data)}
            await self._blob(key, self._full(key), "stage_block", moving=part * CONCURRENT, **asked)

        await for_each(ranges(source.size, part), CONCURRENT, send)
        blocks = [BlobBlock(names[number]) for number in sorted(names)]
        asked: dict[str, Any] = {"block_list": blocks, "metadata": azure_written(source.meta), **headers(condition)}
        # Once asked for, it is waited for: cancelled half-way, nobody could say whether the object is there.
        told = await self._blob(key, self._full(key), "commit_block_list", shield=True, **asked)
        return replace(made(key, source.size, told), meta=source.meta)

    async def _confirm(self, key: str, condition: Condition) -> None:
        """Spares the sending of blocks that could not be published. Raises Changed or AlreadyExists."""
        if not condition.given:
            return
        held: Artifact | None = None
        try:
            held = artifact_of(key, await self._blob(key, self._full(key), "get_blob_properties"))
        except NotFound:
            pass
        condition.check(key, held)

    async def _mark(self, key: str, meta: Meta, absent: bool) -> Artifact:
        """A directory: the blob that stands for it, or where a file has that name, one with a slash at its end."""
        full = self._full(key)
        marked = FOLDER | azure_written(meta)
        for name in (stub(full), full):
            if name is None:
                continue
            try:
                told = await self._blob(key, name, "upload_blob", data=b"", length=0, overwrite=False, metadata=marked)
                return replace(made(key, 0, told), meta=meta)
            except (AlreadyExists, Changed) as error:
                there = await self._blob(key, name, "get_blob_properties", shield=True)
                if name != full and not says_folder(there.metadata):
                    continue
                if absent:
                    raise AlreadyExists(key) from error
                return await self.annotate(described(key, there), meta)
            except NotFound as error:
                raise InvalidName(f"{key}: the store takes no such name") from error
        raise Unavailable(f"{key}: the store neither has this directory nor lets it be made")

    async def sweep(self, key: str) -> None:
        """Nothing is left that could be cleared: Azure keeps blocks that were never committed apart from every blob, drops them with the
        next write of the key or after a week, and has no request that would do it sooner."""
        await trio.lowlevel.checkpoint()

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        full = self._full(key)
        refuse_unholdable(full)
        if key.endswith("/") and artifact.key.endswith("/") and not artifact.size:
            return await self._mark(key, (await self.describe(artifact.key)).meta or Meta(), absent=False)
        try:
            told = await self._requests.copy(artifact.key, self._full(artifact.key), artifact.version, full)
        except NotFound as error:
            raise Changed(artifact.key) from error
        begun = replace(made(key, artifact.size, told), meta=artifact.meta)
        return begun if told["copy_status"] == "success" else await self._copied(begun, full, told["copy_id"])

    async def _copied(self, begun: Artifact, full: str, copy_id: str) -> Artifact:
        """What a copy made, once it is whole, when the service takes its time (rarely, inside one account). Given up, it leaves nothing."""
        limit = patience(begun.size // 16, self._deadline)
        try:
            with trio.fail_after(limit):
                while (told := await self._blob(begun.key, full, "get_blob_properties")).copy.id == copy_id:
                    if told.copy.status == "success":
                        return replace(begun, version=tag(told.etag), mtime_ns=whole_seconds(told.last_modified))
                    if told.copy.status != "pending":
                        raise Unavailable(f"{begun.key}: the copy ended as {told.copy.status}")
                    await trio.sleep(self._deadline / 40)
            raise Changed(f"{begun.key}: it was replaced while it was copied")
        except trio.TooSlowError as error:
            await self._undo(begun.key, full, copy_id)
            raise TimedOut(f"{begun.key}: the copy is not done after {limit:g} s") from error
        except BaseException:
            await self._undo(begun.key, full, copy_id)
            raise

    async def _undo(self, key: str, full: str, copy_id: str) -> None:
        """Abort a copy, and remove the empty blob that it leaves, even when cancelled. A failure is logged: the caller is on its way out
        with the one before."""
        with trio.CancelScope(shield=True):
            try:
                with suppress(NotFound):
                    await self._blob(key, full, "abort_copy", copy_id=copy_id)
                with suppress(NotFound, Changed):
                    left = await self._blob(key, full, "get_blob_properties")
                    if left.copy.id == copy_id and left.copy.status != "success":
                        await self._drop(key, full, **pin(tag(left.etag)))
            except StoreMountError as error:
                log.warning("an unfinished copy may be left in the store as %s: %s", key, error)

    async def delete(self, keys: Sequence[str]) -> None:
        files = [key for key in keys if not key.endswith("/")]
        for start in range(0, len(files), BULK):
            some = files[start : start + BULK]
            if len(some) == 1 or not await self._delete_in_bulk(some):
                await for_each(some, DELETES, self._delete_one)
        await for_each([key for key in keys if key.endswith("/")], DELETES, self._delete_marker)

    async def _delete_in_bulk(self, keys: Sequence[str]) -> bool:
        """Whether every one of them has gone; asked one by one, each gives its own failure, or succeeds after a passing one."""
        try:
            statuses = await self._requests.delete(keys[0], [self._full(key) for key in keys])
        except StoreMountError as error:
            if error.transient or isinstance(error, MissingStore):
                raise
            return False
        return len(statuses) == len(keys) and all(status in (202, 404) for status in statuses)

    async def _delete_one(self, key: str) -> None:
        await self._drop(key, self._full(key))

    async def _drop(self, key: str, name: str, **condition: Any) -> None:
        try:
            await self._blob(key, name, "delete_blob", **condition)
        except NotFound:
            return

    async def _delete_marker(self, key: str) -> None:
        """Whatever stands for this directory, in either dialect; never a file of its name."""
        full = self._full(key)
        await self._drop(key, full)
        if (name := stub(full)) is None:
            return
        try:
            told = await self._blob(key, name, "get_blob_properties")
            if says_folder(told.metadata):
                await self._drop(key, name, **pin(tag(told.etag)))
        except (NotFound, NotEmpty, Changed):
            # Not empty: on an account with a hierarchical namespace. Changed: it has just become something else.
            return

    async def aclose(self) -> None:
        await self._requests.aclose()

    def _full(self, key: str) -> str:
        return self._settings.root + key

    async def _blob(self, what: str, name: str, method: str, *, moving: int = 0, shield: bool = False, **asked: Any) -> Any:
        return await self._requests.blob(what or self.uri, name, method, moving=moving, shield=shield, **asked)
