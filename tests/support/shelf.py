"""Store classes as users write them, for the suites: with the faults of the classes that they stand for.

What it is: `Shelf`, a folder: `mkdir` and `makedirs` make one level, `rename` and `copyfile` refuse to replace, `listdir` is unsorted and
names things twice, there is no `size`, `remove` of what is not there is silent, and `rmtree` takes all. `AsyncShelf`, the same in
coroutines, with a `rename` that can replace. `Bag`, objects in a dictionary: directories are only what is in them, `makedirs` does nothing,
`rename` does not exist, and files are read from the beginning only.
What it is not: like the product in anything; it imports nothing of it.
"""

from __future__ import annotations

import glob
import io
import itertools
import os
import shutil
from collections.abc import Iterator
from typing import IO, Any, ClassVar


class Shelf:
    FLAVOR = "shelf"
    SUPPORTED_SCHEMES: ClassVar[set[str]] = {"shelf://"}

    def __init__(self, path: str, base: str, label: str = "", api_token: str = "") -> None:
        self._uri = path.rstrip("/")
        self._base = base

    def real(self, path: str) -> str:
        assert path == self._uri or path.startswith(self._uri + "/"), path
        return self._base + path[len(self._uri) :]

    def open(self, path: str, mode: str = "r") -> IO[Any]:
        return open(self.real(path), mode)

    def exists(self, path: str) -> bool:
        return os.path.exists(self.real(path))

    def isdir(self, path: str) -> bool:
        return os.path.isdir(self.real(path))

    def listdir(self, path: str) -> list[str]:
        names = os.listdir(self.real(path))
        return sorted(names, key=hash) + names[:1]

    def glob(self, pattern: str) -> list[str]:
        return [self._uri + found[len(self._base) :] for found in glob.glob(self.real(pattern))]

    def makedirs(self, path: str) -> None:
        os.mkdir(self.real(path))

    mkdir = makedirs

    def remove(self, path: str) -> None:
        if self.exists(path):
            os.remove(self.real(path))

    def rmtree(self, path: str) -> None:
        shutil.rmtree(self.real(path))

    def rename(self, src: str, dst: str) -> None:
        if self.exists(dst):
            raise FileExistsError(dst)
        os.rename(self.real(src), self.real(dst))

    def copyfile(self, src: str, dst: str) -> None:
        if self.exists(dst):
            raise FileExistsError(dst)
        shutil.copyfile(self.real(src), self.real(dst))

    def stat(self, path: str) -> os.stat_result:
        return os.stat(self.real(path))

    def walk(self, top: str, topdown: bool = True, onerror: object = None) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, folders, files in os.walk(self.real(top)):
            yield self._uri + folder[len(self._base) :], folders, files


class AsyncShelf:
    FLAVOR = "async-shelf"
    SUPPORTED_SCHEMES: ClassVar[set[str]] = {"shelf://"}

    def __init__(self, path: str, base: str) -> None:
        self._shelf = Shelf(path, base)

    async def open(self, path: str, mode: str = "r") -> IO[Any]:
        return self._shelf.open(path, mode)

    async def exists(self, path: str) -> bool:
        return self._shelf.exists(path)

    async def isdir(self, path: str) -> bool:
        return self._shelf.isdir(path)

    async def listdir(self, path: str) -> list[str]:
        return self._shelf.listdir(path)

    async def makedirs(self, path: str) -> None:
        os.makedirs(self._shelf.real(path), exist_ok=True)

    async def remove(self, path: str) -> None:
        os.remove(self._shelf.real(path))

    async def rmtree(self, path: str) -> None:
        self._shelf.rmtree(path)

    async def rename(self, src: str, dst: str, overwrite: bool = False) -> None:
        if not overwrite and self._shelf.exists(dst):
            raise FileExistsError(dst)
        os.rename(self._shelf.real(src), self._shelf.real(dst))

    async def stat(self, path: str) -> os.stat_result:
        return self._shelf.stat(path)


class Bag:
    FLAVOR = "bag"
    SUPPORTED_SCHEMES: ClassVar[set[str]] = {"bag://"}
    CONTENTS: ClassVar[dict[str, dict[bytes, tuple[bytes, int]]]] = {}
    """Of each bag: path -> (bytes, version)."""

    _versions = itertools.count(1)
    path: str

    @property
    def _objects(self) -> dict[bytes, tuple[bytes, int]]:
        return self.CONTENTS.setdefault(self.path, {})

    def open(self, path: bytes, mode: str = "r") -> _Stream:
        if mode == "rb" and path not in self._objects:
            raise FileNotFoundError(path)
        return _Stream(self, path, self._objects[path][0] if mode == "rb" else b"", writing=mode == "wb")

    def keep(self, path: bytes, data: bytes) -> None:
        self._objects[path] = (data, next(self._versions))

    def exists(self, path: bytes) -> bool:
        return path in self._objects or self.isdir(path)

    def isdir(self, path: bytes) -> bool:
        return any(each.startswith(path + b"/") for each in [*self._objects])

    def listdir(self, path: bytes) -> list[bytes]:
        below = [each[len(path) + 1 :] for each in [*self._objects] if each.startswith(path + b"/")]
        return [each.partition(b"/")[0] for each in below]

    def makedirs(self, path: bytes) -> None:
        pass

    def remove(self, path: bytes) -> None:
        del self._objects[path]

    def rmtree(self, path: bytes) -> None:
        for each in [each for each in self._objects if each.startswith(path + b"/")]:
            del self._objects[each]

    def stat(self, path: bytes) -> dict[str, object]:
        if path not in self._objects:
            raise FileNotFoundError(path)
        return {"version": self._objects[path][1]}


class _Stream(io.BytesIO):
    """Nothing but the next bytes; what was written is there when it is closed."""

    def __init__(self, bag: Bag, path: bytes, data: bytes, *, writing: bool) -> None:
        super().__init__(data)
        self._bag, self._path, self._writing = bag, path, writing

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0, /) -> int:
        raise io.UnsupportedOperation("seek")

    def close(self) -> None:
        if not self.closed and self._writing:
            self._bag.keep(self._path, self.getvalue())
        super().close()
