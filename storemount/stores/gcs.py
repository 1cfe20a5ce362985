"""GcsStore: a bucket of Google Cloud Storage through gcsfs's session, one request of the JSON interface at a time.

What it is: the fsspec engine of the gcp flavor, and the calls that the native engine lacks.
What it is not: gcsfs's file system interface, which hides markers, caches listings, cannot pin a generation and tries six times; its
session is what is used (`gcsrequests`).
Invariants: every key is sent as it is. A version is a generation, and the server itself holds every read, copy and condition (S9) to it.
What is larger than one request goes up in a resumable session, which nobody can see or list, and which is cancelled when `write` fails;
one that a killed process left ends by itself in a week.
The interface is described at https://cloud.google.com/storage/docs/json_api/v1.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

import trio

from storemount.config import MIB
from storemount.errors import AlreadyExists, Changed, Corrupt, MissingStore, NoSpace, NotFound, StoreMountError, TimedOut, Unavailable
from storemount.stores.base import Artifact, Child, Meta, Source
from storemount.stores.budget import Uploads
from storemount.stores.conditions import Condition
from storemount.stores.dialects import gcs_written, length, merged, read
from storemount.stores.flat import FlatStore
from storemount.stores.gcsbatch import BATCH, batch_body, outcomes
from storemount.stores.gcscredentials import GcsCredentials
from storemount.stores.gcsrequests import ATTEMPTS, Answer, GcsRequests
from storemount.stores.gcssettings import GcsSettings
from storemount.stores.metadata import whole_seconds
from storemount.stores.parallel import for_each, resolve
from storemount.stores.parts import CONCURRENT, SINGLE_PUT, read_part

log = logging.getLogger(__name__)

PART = SINGLE_PUT
"""Bytes of one request of a resumable session; a multiple of 256 KiB."""

REWRITE = 16 * MIB
"""A large copy goes in steps of up to half a minute: as long as a slow line takes for so many bytes."""

ROW = "name,generation,size,updated"
WHOLE = f"{ROW},metadata"
CANCELLED = 499
INCOMPLETE = 308


class GcsStore(FlatStore):
    """One bucket, or a prefix of it. `deadline` in seconds bounds every request, its retries included (S14). `uploads` may be shared."""

    def __init__(
        self, settings: GcsSettings, *, deadline: float, uploads: Uploads | None = None, credentials: GcsCredentials | None = None
    ) -> None:
        self.uri = settings.uri
        self.traits = settings.traits("fsspec")
        self._settings = settings
        self._requests = GcsRequests(settings, credentials or GcsCredentials(settings.token, seconds=deadline * 0.3), deadline=deadline)
        self._uploads = uploads or Uploads()
        self._objects = f"{settings.endpoint}/storage/v1/b/{settings.bucket}/o"
        self._inserts = f"{settings.endpoint}/upload/storage/v1/b/{settings.bucket}/o"

    async def check(self) -> None:
        await self._listing("", prefix=self._settings.root, maxResults="1")

    async def stat(self, key: str) -> Child:
        return await resolve(key, self._head, self._is_directory)

    async def _head(self, key: str) -> Artifact:
        told = (await self._ask(key, "GET", self._object(key), parameters={"fields": WHOLE})).json(key)
        return replace(_artifact(key, told), meta=read(told.get("metadata", {})))

    async def describe(self, key: str) -> Artifact:
        return await self._head(key)

    async def _is_directory(self, key: str) -> bool:
        told = await self._listing(key, prefix=self._full(key) + "/", maxResults="1", fields="items(name)")
        return bool(told.get("items"))

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        asked = {"prefix": self._full(prefix), "fields": f"items({ROW}),prefixes,nextPageToken", "maxResults": "1000"}
        if not recursive:
            asked["delimiter"] = "/"
        while True:
            told = await self._listing(prefix, **asked)
            if rows := _rows(told, prefix, len(asked["prefix"])):
                yield rows
            if not told.get("nextPageToken"):
                return
            asked["pageToken"] = told["nextPageToken"]

    async def _listing(self, what: str, **asked: str) -> dict[str, Any]:
        """A page of a listing. Raises MissingStore for "not found": nothing below a prefix is an empty listing (S3)."""
        try:
            return (await self._ask(what, "GET", self._objects, parameters=asked)).json(what or self.uri)
        except NotFound as error:
            raise MissingStore(f"{what or self.uri}: a listing was not found: {error}") from error

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes:
        # gzip: an object that says it is compressed comes as it is stored.
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "gzip"}
        asked = {"alt": "media", "generation": artifact.version}
        try:
            told = await self._ask(artifact.key, "GET", self._object(artifact.key), headers=headers, moving=stop - start, parameters=asked)
        except NotFound as error:
            raise Changed(artifact.key) from error
        if len(told.body) != stop - start:
            raise Corrupt(f"{artifact.key}: {len(told.body)} bytes came for {stop - start}")
        return told.body

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        asked = _parameters(Condition(over, absent))
        # A small one is in memory twice: by itself, and as the body of its request.
        async with self._uploads.hold(source, 2 * source.size if source.size <= SINGLE_PUT else 2 * PART):
            try:
                told = await (self._put if source.size <= SINGLE_PUT else self._put_in_parts)(key, source, asked)
            except Changed as error:
                if not absent:
                    raise
                raise AlreadyExists(key) from error
            except NotFound as error:
                raise MissingStore(f"{self.uri}: {error}") from error
        return replace(_artifact(key, told.json(key)), meta=source.meta)

    async def _put(self, key: str, source: Source, asked: Mapping[str, str]) -> Answer:
        data = await trio.to_thread.run_sync(read_part, source, 0, source.size)
        boundary = secrets.token_hex(16)
        kind = {"Content-Type": f"multipart/related; boundary={boundary}"}
        body = _multipart(boundary, self._resource(key, source), data)
        return await self._ask(
            key,
            "POST",
            self._inserts,
            headers=kind,
            data=body,
            moving=source.size,
            parameters={"uploadType": "multipart", "fields": ROW, **asked},
        )

    async def _put_in_parts(self, key: str, source: Source, asked: Mapping[str, str]) -> Answer:
        session = await self._begin(key, source, asked)
        try:
            stored = idle = 0
            while idle < ATTEMPTS:
                told = await self._part(key, session, source, stored, min(stored + PART, source.size))
                if told.status != INCOMPLETE:
                    return told
                idle = 0 if _stored(told) > stored else idle + 1
                stored = _stored(told)
            raise Unavailable(f"{key}: the upload does not get beyond {stored} bytes")
        except BaseException:
            await self._give_up(key, session)
            raise

    async def _begin(self, key: str, source: Source, asked: Mapping[str, str]) -> str:
        # Shielded: the address of a session that was begun must be known, or it could not be cancelled.
        kind = {"Content-Type": "application/json", "X-Upload-Content-Type": "application/octet-stream"}
        body = json.dumps(self._resource(key, source)).encode()
        begun = await self._ask(
            key,
            "POST",
            self._inserts,
            headers=kind,
            data=body,
            shield=True,
            parameters={"uploadType": "resumable", "name": self._full(key), "fields": ROW, **asked},
        )
        if not (session := begun.headers.get("Location")):
            raise Corrupt(f"{key}: the store began an upload and did not say where")
        return session

    async def _part(self, key: str, session: str, source: Source, start: int, stop: int) -> Answer:
        """Send one part; when the connection breaks, ask what came of it. The last one is waited for: cancelled, nobody could say
        whether the object is there."""
        data = await trio.to_thread.run_sync(read_part, source, start, stop)
        shield = stop == source.size
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{source.size}"}
        try:
            return await self._ask(key, "PUT", session, headers=headers, data=data, moving=stop - start, shield=shield, attempts=1)
        except Unavailable as error:
            if isinstance(error, TimedOut):
                raise
            return await self._ask(key, "PUT", session, headers={"Content-Range": f"bytes */{source.size}"}, shield=shield)

    async def _give_up(self, key: str, session: str) -> None:
        """Cancel the session, even when cancelled. A failure is logged: the caller is on its way out with the one that led here."""
        with trio.CancelScope(shield=True):
            try:
                await self._ask(key, "DELETE", session, welcome=(CANCELLED, 404, 410))
            except StoreMountError as error:
                log.info("an unfinished upload of %s ends by itself in a week: %s", key, error)

    async def sweep(self, key: str) -> None:
        """Nothing to do: a session that nobody continues is not in the bucket, cannot be listed, and ends by itself in a week."""
        await trio.lowlevel.checkpoint()

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        """A merging PATCH, which names only what changes: the generation stays, and so does what others say meanwhile."""
        key = artifact.key
        try:
            told = await self._ask(key, "GET", self._object(key), parameters={"fields": WHOLE, "generation": artifact.version})
            held = told.json(key).get("metadata", {})
            said = merged(held, replace(meta, mode=None) if artifact.is_symlink else meta, gcs_written)
            if said != held:
                told = await self._patch(artifact, {**dict.fromkeys(held), **said})
        except NotFound as error:
            raise Changed(key) from error
        return replace(_artifact(key, told.json(key)), meta=read(said))

    async def _patch(self, artifact: Artifact, metadata: Mapping[str, str | None]) -> Answer:
        size = length({name: text for name, text in metadata.items() if text is not None})
        if size > self.traits.meta_bytes:
            raise NoSpace(f"{artifact.key}: GCS takes {self.traits.meta_bytes} bytes of metadata, and this were {size}")
        asked = {"fields": ROW, "ifGenerationMatch": artifact.version}
        body = json.dumps({"metadata": metadata}).encode()
        headers = {"Content-Type": "application/json"}
        return await self._ask(artifact.key, "PATCH", self._object(artifact.key), headers=headers, data=body, parameters=asked)

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        target = f"{self._object(artifact.key)}/rewriteTo/b/{self._settings.bucket}/o/{_quoted(self._full(key))}"
        asked = {"sourceGeneration": artifact.version}
        try:
            while True:
                told = (await self._ask(artifact.key, "POST", target, data=b"", moving=min(artifact.size, REWRITE), parameters=asked)).json(
                    key
                )
                if told.get("done"):
                    return replace(_artifact(key, told.get("resource", {})), meta=artifact.meta)
                if not (token := told.get("rewriteToken")):
                    raise Corrupt(f"{key}: a copy that is not done names no next step")
                # A copy to another class or place goes in steps, each within its own deadline.
                asked["rewriteToken"] = str(token)
        except NotFound as error:
            raise Changed(artifact.key) from error

    async def delete(self, keys: Sequence[str]) -> None:
        if len(keys) == 1:
            await self._delete_one(keys[0])
        else:
            await for_each([keys[start : start + BATCH] for start in range(0, len(keys), BATCH)], CONCURRENT, self._delete_many)

    async def _delete_one(self, key: str) -> None:
        try:
            await self._ask(key, "DELETE", self._object(key))
        except NotFound as error:
            # Said of a key; of the bucket it were MissingStore.
            log.debug("%s was gone already: %s", key, error)

    async def _delete_many(self, keys: Sequence[str]) -> None:
        boundary = secrets.token_hex(16)
        pays = f"?userProject={quote(self._settings.requester_pays)}" if self._settings.requester_pays else ""
        paths = [self._object(key).removeprefix(self._settings.endpoint) + pays for key in keys]
        kind = {"Content-Type": f"multipart/mixed; boundary={boundary}"}
        told = await self._ask(
            keys[0], "POST", f"{self._settings.endpoint}/batch/storage/v1", headers=kind, data=batch_body(boundary, paths)
        )
        done = {number for number, status in outcomes(told.body).items() if status < 300}
        # Asked one by one, each gives its own failure, or succeeds after a passing one.
        await for_each([key for number, key in enumerate(keys) if number not in done], CONCURRENT, self._delete_one)

    async def aclose(self) -> None:
        await self._requests.aclose()

    def _full(self, key: str) -> str:
        return self._settings.root + key

    def _object(self, key: str) -> str:
        return f"{self._objects}/{_quoted(self._full(key))}"

    def _resource(self, key: str, source: Source) -> dict[str, Any]:
        return {"name": self._full(key), "metadata": gcs_written(source.meta)}

    async def _ask(self, what: str, method: str, url: str, **asked: Any) -> Answer:
        return await self._requests.ask(what or self.uri, method, url, **asked)


def _quoted(full: str) -> str:
    """A key as one segment of an address, and never one of the two that mean another place."""
    return full.replace(".", "%2E") if full in (".", "..") else quote(full, safe="")


def _multipart(boundary: str, resource: Mapping[str, Any], data: bytes) -> bytes:
    """The object's resource and its bytes as one body."""
    head = f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(resource)}\r\n"
    head += f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
    return b"".join((head.encode(), data, f"\r\n--{boundary}--\r\n".encode()))


def _parameters(condition: Condition) -> dict[str, str]:
    """The condition as a parameter of a request."""
    if condition.absent:
        return {"ifGenerationMatch": "0"}
    return {"ifGenerationMatch": condition.over.version} if condition.over is not None else {}


def _stored(told: Answer) -> int:
    """How many bytes of a session the store has."""
    return int(told.headers["Range"].rpartition("-")[2]) + 1 if "Range" in told.headers else 0


def _rows(told: Mapping[str, Any], prefix: str, skip: int) -> list[Child]:
    rows = [Child(found[skip:].removesuffix("/"), None) for found in told.get("prefixes", ())]
    for found in told.get("items", ()):
        name = found["name"][skip:]
        rows.append(Child(name, _artifact(prefix + name, found)))
    return rows


def _artifact(key: str, told: Mapping[str, Any]) -> Artifact:
    """What a resource tells of an object. Raises Corrupt."""
    try:
        return Artifact(key, str(told["generation"]), int(told["size"]), whole_seconds(datetime.fromisoformat(told["updated"])))
    except (LookupError, ValueError, TypeError) as error:
        raise Corrupt(f"{key}: the store does not name a generation, a size and a time") from error
