"""OpendalService: any service of OpenDAL with the methods of the artifact-store abstraction.

What it is: what makes of an operator (webdav, hdfs, a drive in some cloud, ...) a class like a user's own, to be tried out like one.
What it is not: the engine of the flavors that storemount knows well (`native`), or a store.
Invariants: every call is one of its asynchronous interface, as its blocking listing holds the interpreter's lock while it waits for the
network, and no deadline could end that. OpenDAL rewrites paths (it drops empty segments, and spaces at the end); such a key is refused,
never taken for another. What is not found is said as Python says it, all else under the names of `errors`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import opendal
from opendal.layers import RetryLayer, TimeoutLayer

from storemount.config import MIB
from storemount.errors import Invalid, InvalidName, NotFound, TooLarge, Unavailable, Unsupported
from storemount.stores.native_errors import Answers, named
from storemount.stores.s3errors import s3_error

LARGEST = 256 * MIB
"""What a file may have that is sent in one piece, from memory (S15)."""

ANSWERS = Answers(re.compile(r'\w+Error { code: "(\w+)"'), "ListObjects", s3_error)
"""How any service refuses something: those that have words for it mostly took S3's, and an HTTP status means the same everywhere."""

_BELOW_A_FILE = "(os error 20)"
"""How the services that are a folder say that a file is in the way."""


@contextmanager
def _calling(path: str) -> Iterator[None]:
    try:
        with named(path, ANSWERS):
            yield
    except NotFound as error:
        raise FileNotFoundError(path) from error
    except Unavailable as error:
        if _BELOW_A_FILE in str(error):
            raise FileNotFoundError(path) from error
        raise


class _Stream:
    """A file of OpenDAL, whose failures are named."""

    def __init__(self, file: Any, path: str) -> None:
        self._file = file
        self._path = path

    async def read(self, most: int) -> bytes:
        with _calling(self._path):
            return bytes(await self._file.read(most))

    async def write(self, data: bytes) -> None:
        with _calling(self._path):
            await self._file.write(data)

    async def seek(self, offset: int) -> None:
        with _calling(self._path):
            await self._file.seek(offset)

    async def close(self) -> None:
        with _calling(self._path):
            await self._file.close()


class _InOnePiece:
    """What is written to a service that takes a file only whole: kept in memory, and sent when it is closed without a failure."""

    def __init__(self, send: Callable[[bytes], Awaitable[Any]], path: str) -> None:
        self._send = send
        self._path = path
        self._data = bytearray()

    async def __aenter__(self) -> _InOnePiece:
        return self

    async def write(self, data: bytes) -> None:
        if len(self._data) + len(data) > LARGEST:
            raise TooLarge(f"{self._path}: this service takes a file in one piece only, of at most {LARGEST // MIB} MiB")
        self._data += data

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            with _calling(self._path):
                await self._send(bytes(self._data))


class OpendalService:
    """The service `scheme` with its `options`. Paths begin with `root`, which stands for the operator's own root. `deadline` in seconds
    bounds one request and its retries. Raises Invalid for options that OpenDAL refuses."""

    def __init__(self, root: str, scheme: str, options: Mapping[str, str], *, deadline: float) -> None:
        self._root = root.rstrip("/")
        try:
            with named(root, ANSWERS):
                operator = opendal.Operator(scheme, **options)
        except Unsupported as error:
            raise Invalid(f"OpenDAL has no service {scheme!r} here; see its documentation for their names") from error
        bounded = TimeoutLayer(timeout=deadline, io_timeout=deadline)
        self._operator = (
            operator.layer(bounded).layer(RetryLayer(max_times=2, min_delay=0.2, max_delay=1.0, jitter=True)).to_async_operator()
        )
        can = operator.capability()
        self._renames, self._copies, self._makes = can.rename, can.copy, can.create_dir
        self.in_parts: bool = can.write_can_multi

    def _key(self, path: str) -> str:
        key = path[len(self._root) :].lstrip("/")
        if key != key.strip() or "//" in key:
            raise InvalidName(f"{key!r}: OpenDAL would take it for another name")
        return key

    async def open(self, path: str, mode: str = "r") -> Any:
        key = self._key(path)
        if mode == "wb" and not self.in_parts:
            return _InOnePiece(lambda data: self._operator.write(key, data), path)
        if mode == "rb":
            await self.stat(path)  # The file itself says only later, and less clearly, that it is not there.
        with _calling(path):
            return _Stream(await self._operator.open(key, mode), path)

    async def exists(self, path: str) -> bool:
        try:
            await self.stat(path)
        except FileNotFoundError:
            return await self.isdir(path)
        return True

    async def isdir(self, path: str) -> bool:
        key = self._key(path)
        try:
            with _calling(path):
                return not key or (await self._operator.stat(key + "/")).mode.is_dir()
        except FileNotFoundError:
            return False

    async def listdir(self, path: str) -> list[str]:
        key = self._key(path)
        with _calling(path):
            paths = [entry.path async for entry in await self._operator.list(key + "/")]
        return [each.rstrip("/").rpartition("/")[2] for each in paths if each.strip("/") != key]

    async def makedirs(self, path: str) -> None:
        if self._makes:
            with _calling(path):
                await self._operator.create_dir(self._key(path) + "/")

    async def remove(self, path: str) -> None:
        """Only a file: some services would take a whole directory for it."""
        if await self.isdir(path):
            raise IsADirectoryError(path)
        with _calling(path):
            await self._operator.delete(self._key(path))

    async def rmdir(self, path: str) -> None:
        with _calling(path):
            await self._operator.delete(self._key(path) + "/")

    async def rmtree(self, path: str) -> None:
        with _calling(path):
            await self._operator.remove_all(self._key(path) + "/")

    async def rename(self, src: str, dst: str) -> None:
        if not self._renames:
            raise NotImplementedError("this service does not rename")
        with _calling(src):
            await self._operator.rename(self._key(src), self._key(dst))

    async def copyfile(self, src: str, dst: str) -> None:
        if not self._copies:
            raise NotImplementedError("this service does not copy")
        with _calling(src):
            await self._operator.copy(self._key(src), self._key(dst))

    async def stat(self, path: str) -> dict[str, Any]:
        with _calling(path):
            told = await self._operator.stat(self._key(path))
        kind = "directory" if told.mode.is_dir() else "file"
        return {"size": told.content_length, "mtime": told.last_modified, "etag": told.etag, "version": told.version, "type": kind}
