"""A GCS server for the tests: gcp-storage-emulator with its gaps closed, as a program of its own.

What it is: the emulator's routes, uploads and resources, and in front of them what the real service does and the emulator does not:
preconditions on generations, 404s that say whether the bucket is missing, paging (`maxResults`, `pageToken`), reads of a range and of one
generation, merging PATCH, batches, unfinished uploads that can be cancelled, keys that are not paths, connections that are kept.
What it is not: part of the product, which knows nothing of emulators. Not emulated: the XML interface, encryption.
Access: `PUT /access/BUCKET` says which tokens are taken there, and for which methods; a request without a token may do all.
Invariants: one request is done at a time. `GET /unfinished/BUCKET` lists the keys of uploads that were begun, and neither ended nor were
cancelled; `DELETE` forgets them, as a server would that was started again.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.server import Request, RequestHandler, Response, Router
from gcp_storage_emulator.storage import Storage, _FileStore

BUCKET = r"(?:/storage/v1)?/b/(?P<bucket_name>[-.\w]+)"
OBJECT = BUCKET + r"/o/(?P<object_id>[^/]+)"
PAGE = int(os.environ.get("GCS_PAGE", "1000"))


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Contents(_FileStore):  # type: ignore[misc]
    """Bytes by whole keys: the emulator's own would take them for paths, and clean them."""

    @staticmethod
    def _norm(path: str) -> str:
        return path

    def write_bytes(self, rel: str, content: bytes) -> None:
        self._files[rel] = content


class Conditions:
    """The preconditions of one request, by the names of its parameters."""

    def __init__(self, query: Mapping[str, list[str]], source: bool = False) -> None:
        name = "ifSourceGenerationMatch" if source else "ifGenerationMatch"
        self._generation = query.get(name, [None])[0]

    def check(self, held: Mapping[str, Any] | None) -> None:
        if self._generation is not None and self._generation != (held["generation"] if held else "0"):
            raise Refused(HTTPStatus.PRECONDITION_FAILED, "At least one of the pre-conditions you specified did not hold.")


class FaithfulStorage(Storage):  # type: ignore[misc]
    """The emulator's storage, in memory; `conditions` are those of the request that is being done."""

    def __init__(self) -> None:
        super().__init__(use_memory_fs=True)
        self._store = Contents(use_memory=True)
        self.conditions = Conditions({})
        self.sessions: dict[str, Conditions] = {}
        self.access: dict[str, Mapping[str, list[str]]] = {}

    def held(self, bucket: str, key: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.objects.get(bucket, {}).get(key)
        return found

    def create_file(self, bucket_name: str, file_name: str, content: bytes, file_obj: Any, file_id: str | None = None) -> None:
        conditions = self.sessions[file_id] if file_id else self.conditions
        conditions.check(self.held(bucket_name, file_name))
        if file_id:
            del self.sessions[file_id]
        super().create_file(bucket_name, file_name, content, file_obj, file_id)

    def create_resumable_upload(self, bucket_name: str, file_name: str, file_obj: Any) -> str:
        self.conditions.check(self.held(bucket_name, file_name))
        begun = str(super().create_resumable_upload(bucket_name, file_name, file_obj))
        self.sessions[begun] = self.conditions
        return begun

    def _object_path(self, bucket_name: str, file_name: str) -> str:
        return f"{bucket_name}/{file_name}"

    def _write_config_to_file(self) -> None:
        """Nothing outlives the server."""

    def _bucket_soft_delete_retention_seconds(self, bucket_name: str) -> int:
        return 0


class Front(RequestHandler):  # type: ignore[misc]
    """What the real service does and the emulator does not; the rest is the emulator's."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    storage: FaithfulStorage
    lock = threading.Lock()

    def answer(self, method: str) -> None:
        connection, self.rfile = self.rfile, io.BytesIO(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        try:
            with self.lock:
                self._answer(method)
        finally:
            self.rfile = connection

    def _answer(self, method: str) -> None:
        request, response = Request(self, method), Response(self)
        self.storage.conditions = Conditions(request.query)
        try:
            _admit(self.storage, request, method)
            for pattern, methods in ROUTES:
                if (match := re.fullmatch(pattern, request.path)) and method in methods:
                    request.set_match(match)
                    methods[method](self.storage, request, response)
                    break
            else:
                Router(self).handle(method)
                return
        except NotFound:
            response = Response(self)
            self._error(response, HTTPStatus.NOT_FOUND, "No such object")
        except Refused as refused:
            response = Response(self)
            self._error(response, refused.status, str(refused))
        response.close()

    @staticmethod
    def _error(response: Any, status: HTTPStatus, message: str) -> None:
        response.status = status
        response.json({"error": {"code": status.value, "message": message, "errors": [{"message": message}]}})

    do_GET = lambda self: self.answer("GET")  # noqa: E731
    do_POST = lambda self: self.answer("POST")  # noqa: E731
    do_PUT = lambda self: self.answer("PUT")  # noqa: E731
    do_DELETE = lambda self: self.answer("DELETE")  # noqa: E731
    do_PATCH = lambda self: self.answer("PATCH")  # noqa: E731


def _admit(storage: FaithfulStorage, request: Any, method: str) -> None:
    """Whoever says who it is may do only what `/access` lets it."""
    token = request.get_header("authorization", "").removeprefix("Bearer ")
    bucket = re.search(r"/b/([-.\w]+)", request.path)
    allowed = storage.access.get(bucket[1], {}) if token and bucket else {}
    if token not in allowed.get("tokens", [token]):
        raise Refused(HTTPStatus.UNAUTHORIZED, "Invalid Credentials")
    if method not in allowed.get("methods", [method]):
        raise Refused(HTTPStatus.FORBIDDEN, f"The account may not {method} in the bucket.")


def let(storage: FaithfulStorage, request: Any, response: Any) -> None:
    storage.access[request.params["bucket_name"]] = request.data


def _existing(storage: FaithfulStorage, request: Any) -> dict[str, Any]:
    """The object that a request is about, when it is the generation that it asks for."""
    bucket, key = request.params["bucket_name"], request.params["object_id"]
    _require_bucket(storage, bucket)
    held = storage.held(bucket, key)
    if held is None or request.query.get("generation", [held["generation"]])[0] != held["generation"]:
        raise Refused(HTTPStatus.NOT_FOUND, f"No such object: {bucket}/{key}")
    return held


def _require_bucket(storage: FaithfulStorage, bucket: str) -> None:
    if bucket not in storage.buckets:
        raise Refused(HTTPStatus.NOT_FOUND, "The specified bucket does not exist.")


def get_object(storage: FaithfulStorage, request: Any, response: Any) -> None:
    held = _existing(storage, request)
    storage.conditions.check(held)
    if request.query.get("alt") != ["media"]:
        response.json(held)
        return
    data = storage.get_file(held["bucket"], held["name"])
    response["X-Goog-Generation"] = held["generation"]
    if wanted := re.fullmatch(r"bytes=(\d*)-(\d*)", request.get_header("range", "")):
        first, last = wanted.groups()
        start = int(first) if first else max(0, len(data) - int(last))
        stop = min(int(last) + 1, len(data)) if first and last else len(data)
        if start >= len(data):
            raise Refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "The requested range cannot be satisfied.")
        response["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        response.status = HTTPStatus.PARTIAL_CONTENT
        data = data[start:stop]
    response.write_file(data, content_type=held["contentType"])


def delete_object(storage: FaithfulStorage, request: Any, response: Any) -> None:
    held = _existing(storage, request)
    storage.conditions.check(held)
    storage.delete_file(held["bucket"], held["name"])
    response.status = HTTPStatus.NO_CONTENT


def patch_object(storage: FaithfulStorage, request: Any, response: Any) -> None:
    """Metadata is merged name by name; a null removes a name."""
    held = _existing(storage, request)
    storage.conditions.check(held)
    given = {**held.get("metadata", {}), **(request.data.get("metadata") or {})}
    merged = {name: value for name, value in given.items() if value is not None}
    storage.objects[held["bucket"]][held["name"]] = made = objects._patch_object(dict(held), {**request.data, "metadata": merged})
    response.json(made)


def list_objects(storage: FaithfulStorage, request: Any, response: Any) -> None:
    """Keys and prefixes come in one order of their bytes, and count alike for a page."""
    _require_bucket(storage, request.params["bucket_name"])
    asked = {name: values[0] for name, values in request.query.items()}
    items, prefixes = storage.get_file_list(request.params["bucket_name"], asked.get("prefix"), asked.get("delimiter"))
    rows = sorted(
        [(item["name"].encode(), item) for item in items] + [(prefix.encode(), prefix) for prefix in prefixes], key=lambda row: row[0]
    )
    start = int(asked.get("pageToken", "0"))
    stop = start + min(int(asked.get("maxResults", PAGE)), PAGE)
    told: dict[str, Any] = {"kind": "storage#objects"}
    if found := [row for _, row in rows[start:stop] if isinstance(row, dict)]:
        told["items"] = found
    if found := [row for _, row in rows[start:stop] if isinstance(row, str)]:
        told["prefixes"] = found
    if stop < len(rows):
        told["nextPageToken"] = str(stop)
    response.json(told)


def upload(storage: FaithfulStorage, request: Any, response: Any) -> None:
    _require_bucket(storage, request.params["bucket_name"])
    if request.query["uploadType"] == ["media"] and request.data is None:
        request._data = b""
    if "Content-Type" not in request._request_handler.headers:
        request._request_handler.headers["Content-Type"] = "application/octet-stream"
    objects.insert(request, response, storage)


def upload_chunk(storage: FaithfulStorage, request: Any, response: Any) -> None:
    """The emulator, but that an upload of which nothing came yet has no range."""
    began = request.query["upload_id"][0]
    if began not in storage.sessions:
        raise Refused(HTTPStatus.NOT_FOUND, "No such upload")
    objects.upload_partial(request, response, storage)
    if response.status == 308 and not storage.get_resumable_byte_count(began):
        del response._headers["Range"]


def cancel_upload(storage: FaithfulStorage, request: Any, response: Any) -> None:
    if storage.sessions.pop(request.query["upload_id"][0], None) is None:
        raise Refused(HTTPStatus.NOT_FOUND, "No such upload")
    storage.delete_resumable_file_obj(request.query["upload_id"][0])
    response.status = _Cancelled


class _Cancelled:
    value, phrase = 499, "Client Closed Request"


def rewrite(storage: FaithfulStorage, request: Any, response: Any) -> None:
    """Of one generation of the source."""
    held = _existing(storage, request)
    if request.query.get("sourceGeneration", [held["generation"]])[0] != held["generation"]:
        raise Refused(HTTPStatus.NOT_FOUND, "No such object generation")
    Conditions(request.query, source=True).check(held)
    objects.rewrite(request, response, storage)


def batch(storage: FaithfulStorage, request: Any, response: Any) -> None:
    """Deletes only, numbered as storemount numbers them; each with its own answer."""
    said = []
    for number, item in enumerate(request.data):
        status = "204 No Content"
        try:
            storage.delete_file(item["bucket_name"], item["object_id"])
        except NotFound:
            status = "404 Not Found"
        head = f"--batch\r\nContent-Type: application/http\r\nContent-ID: <response-storemount+{number}>\r\n\r\n"
        said.append(f"{head}HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n\r\n")
    response["Content-Type"] = "multipart/mixed; boundary=batch"
    response._content = "".join(said) + "--batch--"


def unfinished(storage: FaithfulStorage, request: Any, response: Any) -> None:
    begun = [storage.resumable[upload] for upload in storage.sessions]
    response.json([told["name"] for told in begun if told["bucket"] == request.params["bucket_name"]])


def forget(storage: FaithfulStorage, request: Any, response: Any) -> None:
    for upload in [upload for upload in storage.sessions if storage.resumable[upload]["bucket"] == request.params["bucket_name"]]:
        del storage.sessions[upload]
        storage.delete_resumable_file_obj(upload)


Route = Callable[[FaithfulStorage, Any, Any], None]
ROUTES: tuple[tuple[str, Mapping[str, Route]], ...] = (
    (OBJECT, {"GET": get_object, "DELETE": delete_object, "PATCH": patch_object}),
    (BUCKET + "/o", {"GET": list_objects}),
    (r"/upload" + BUCKET + "/o", {"POST": upload, "PUT": upload_chunk, "DELETE": cancel_upload}),
    (OBJECT + r"/rewriteTo/b/(?P<dest_bucket_name>[-.\w]+)/o/(?P<dest_object_id>[^/]+)", {"POST": rewrite}),
    (r"/batch/storage/v1", {"POST": batch}),
    (r"/access/(?P<bucket_name>[-.\w]+)", {"PUT": let}),
    (r"/unfinished/(?P<bucket_name>[-.\w]+)", {"GET": unfinished, "DELETE": forget}),
)


class Listener(ThreadingHTTPServer):
    """A burst of connections may wait to be accepted: with socketserver's five it would meet the kernel's retries, of seconds."""

    daemon_threads = True
    request_queue_size = 1024


def main() -> None:
    logging.disable()
    server = Listener(("127.0.0.1", int(sys.argv[1])), partial(Front, FaithfulStorage()))
    print(f"http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
