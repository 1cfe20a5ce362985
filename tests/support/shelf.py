"""A store class as users write them, for the suites: a folder, with the faults of the classes that it stands for.

What it is: the abstraction's methods with the originals' manners: `mkdir` and `makedirs` make one level, `rename` and `copyfile` refuse to
replace, `listdir` is unsorted and names things twice, there is no `size`, `remove` of what is not there is silent, and `rmtree` takes all.
What it is not: like the product in anything; it imports nothing of it.
"""

from __future__ import annotations

import glob
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

    def _real(self, path: str) -> str:
        assert path == self._uri or path.startswith(self._uri + "/"), path
        return self._base + path[len(self._uri) :]

    def open(self, path: str, mode: str = "r") -> IO[Any]:
        return open(self._real(path), mode)

    def exists(self, path: str) -> bool:
        return os.path.exists(self._real(path))

    def isdir(self, path: str) -> bool:
        return os.path.isdir(self._real(path))

    def listdir(self, path: str) -> list[str]:
        names = os.listdir(self._real(path))
        return sorted(names, key=hash) + names[:1]

    def glob(self, pattern: str) -> list[str]:
        return [self._uri + found[len(self._base) :] for found in glob.glob(self._real(pattern))]

    def makedirs(self, path: str) -> None:
        os.mkdir(self._real(path))

    mkdir = makedirs

    def remove(self, path: str) -> None:
        if self.exists(path):
            os.remove(self._real(path))

    def rmtree(self, path: str) -> None:
        shutil.rmtree(self._real(path))

    def rename(self, src: str, dst: str) -> None:
        if self.exists(dst):
            raise FileExistsError(dst)
        os.rename(self._real(src), self._real(dst))

    def copyfile(self, src: str, dst: str) -> None:
        if self.exists(dst):
            raise FileExistsError(dst)
        shutil.copyfile(self._real(src), self._real(dst))

    def stat(self, path: str) -> os.stat_result:
        return os.stat(self._real(path))

    def walk(self, top: str, topdown: bool = True, onerror: object = None) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, folders, files in os.walk(self._real(top)):
            yield self._uri + folder[len(self._base) :], folders, files
