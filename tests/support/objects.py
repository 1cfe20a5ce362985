"""File systems of fsspec for the suites, beside those that fsspec brings.

What it is: `AsyncObjects`, an asynchronous one as the clouds' are: objects in a dictionary, directories only by what is in them. `View`,
the objects of any file system of fsspec from outside.
What it is not: like the product in anything.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import fsspec
from fsspec.asyn import AsyncFileSystem


class AsyncObjects(AsyncFileSystem):
    """`asyncobjects://` once `register` was called. All instances share the objects of the class: path -> (bytes, etag)."""

    protocol = "asyncobjects"
    OBJECTS: ClassVar[dict[str, tuple[bytes, str]]] = {}
    _tags = itertools.count(1)

    @classmethod
    def register(cls) -> None:
        fsspec.register_implementation(cls.protocol, cls, clobber=True)

    def _row(self, path: str) -> dict[str, Any]:
        data, tag = self.OBJECTS[path]
        return {"name": path, "size": len(data), "type": "file", "ETag": tag}

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        plain = path.rstrip("/")
        if plain in self.OBJECTS:
            return self._row(plain)
        if any(each.startswith(plain + "/") for each in self.OBJECTS):
            return {"name": plain, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        plain = path.rstrip("/") + "/"
        below = {each[len(plain) :] for each in self.OBJECTS if each.startswith(plain)}
        if not below:
            raise FileNotFoundError(path)
        folders = {name.partition("/")[0] for name in below if "/" in name}
        rows = [{"name": plain + name, "size": 0, "type": "directory"} for name in folders]
        rows += [self._row(plain + name) for name in below if "/" not in name]
        return rows if detail else [row["name"] for row in rows]

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        if path not in self.OBJECTS:
            raise FileNotFoundError(path)
        return self.OBJECTS[path][0][start:end]

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        self.OBJECTS[path] = (value, f"tag-{next(self._tags)}")

    async def _put_file(self, lpath: str, rpath: str, mode: str = "overwrite", **kwargs: Any) -> None:
        with open(lpath, "rb") as file:  # noqa: ASYNC230 - as every client does
            await self._pipe_file(rpath, file.read())

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        await self._pipe_file(path2, await self._cat_file(path1))

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        if path not in self.OBJECTS:
            raise FileNotFoundError(path)
        del self.OBJECTS[path]


@dataclass
class View:
    """What is below `root` in the file system that all instances of its class share."""

    files: Any
    root: str

    def put(self, key: str, data: bytes = b"") -> None:
        self.files.makedirs(f"{self.root}/{key}".rpartition("/")[0], exist_ok=True)
        self.files.pipe_file(f"{self.root}/{key}", data)

    def get(self, key: str) -> bytes:
        return bytes(self.files.cat_file(f"{self.root}/{key}"))

    def delete(self, *keys: str) -> None:
        for key in keys:
            self.files.rm_file(f"{self.root}/{key}")

    def list(self, prefix: str = "") -> dict[str, int]:
        self.files.invalidate_cache()
        rows = self.files.find(self.root, detail=True) if self.files.exists(self.root) else {}
        keys = {path.lstrip("/")[len(self.root.lstrip("/")) + 1 :]: int(row["size"]) for path, row in rows.items()}
        return {key: size for key, size in keys.items() if key.startswith(prefix) and not key.endswith("/")}
