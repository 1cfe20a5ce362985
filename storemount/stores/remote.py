"""RemoteStore: any file system of fsspec as an artifact store.

What it is: the custom flavor, and the proof that the protocol needs nothing of S3; it uses only what every file system of fsspec has.
What it is not: as strict as the stores made for one service. A version is what `info` says (an ETag or a generation, else size and time);
a read is checked against it afterwards. An object appears whole where the file system writes objects whole (the asynchronous ones: clouds)
or can move a file into place (local, sftp, smb, ...); elsewhere a reader may see a file grow. A condition (S9) is checked just before the
move, or before an object begins to be written where there is no move; and what is found there afterwards is taken for what was written.
Invariants: unfinished files are called `.storemount-*.part` and are shown to nobody. A directory that has no files is made real where the
file system can, else by a marker.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import trio

from storemount.errors import (
    AlreadyExists,
    Changed,
    Corrupt,
    IsADirectory,
    MissingStore,
    NotADirectory,
    NotFound,
    ReadOnly,
    StoreMountError,
    TimedOut,
    Unavailable,
)
from storemount.stores.base import EMPTY, Artifact, Child, Source, Traits, is_partial
from storemount.stores.conditions import ALWAYS, Condition
from storemount.stores.flat import FlatStore
from storemount.stores.fsspec_calls import FileSystemCalls
from storemount.stores.fsspec_info import artifact_of, changed_at, is_directory, is_measured, named
from storemount.stores.metadata import SECOND
from storemount.stores.parallel import for_each
from storemount.stores.partial import ABANDONED, partial_name
from storemount.stores.parts import SINGLE_PUT, patience, read_part
from storemount.stores.uri import without_password

PAGE = 1000
READ_ONLY = "this file system of fsspec only reads"
GROWS = "others see a file grow while it goes up, and half of it if that fails (S6): this file system of fsspec cannot move a file"
DELETES = ASKED = 8


class RemoteStore(FlatStore):
    """The file system behind `url`, made with `options` (keyword arguments of fsspec's). `deadline` in seconds bounds each request (S14).
    Raises Invalid when fsspec cannot open such a URL here."""

    def __init__(self, url: str, options: Mapping[str, Any], *, deadline: float) -> None:
        self.uri = without_password(url).rstrip("/")
        self._deadline = deadline
        self._files = FileSystemCalls(url, dict(options))
        root = self._files.root
        self._base = root.rstrip("/") + "/" if root else ""

    @property
    def traits(self) -> Traits:
        if self._files.read_only:
            return Traits(engine="fsspec", limits=(f"nothing can be written (S5): {READ_ONLY}",))
        whole = self._files.asynchronous or self._files.moves_whole
        return Traits(engine="fsspec", limits=() if whole else (GROWS,))

    async def check(self) -> None:
        root = self._base.rstrip("/") or self._files.root
        try:
            await self._call("", "ls", root, detail=True)
        except (NotFound, NotADirectory) as error:
            # An empty prefix of a bucket is not there to be listed; its bucket is.
            bucket = root.partition("/")[0]
            if not self._files.asynchronous or bucket in ("", root):
                raise MissingStore(f"{self.uri} does not exist") from error
            await self._call("", "ls", bucket, detail=True)

    async def _confirm_root(self) -> None:
        """An absent key is only an absent key while the root is there (an unmounted disk is not an empty store, S3). In an object store
        nothing is there but keys."""
        if self._files.asynchronous:
            return
        try:
            await self._call("", "info", self._base.rstrip("/") or self._files.root)
        except (NotFound, NotADirectory) as error:
            raise MissingStore(f"{self.uri} has gone") from error

    async def stat(self, key: str) -> Child:
        name = key.rpartition("/")[2]
        if is_partial(name):
            raise NotFound(key)
        try:
            info = await self._info(key)
        except NotFound:
            await self._confirm_root()
            raise
        return Child(name, None if is_directory(info) else artifact_of(key, info))

    async def _info(self, key: str) -> dict[str, Any]:
        try:
            info: dict[str, Any] = await self._call(key, "info", self._path(key))
        except NotADirectory as error:
            raise NotFound(key) from error
        return info

    async def describe(self, key: str) -> Artifact:
        return artifact_of(key, await self._info(key.rstrip("/")))

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        below = [""]
        while below:
            above = below.pop()
            rows = await self._scan(prefix + above)
            if recursive:
                below += [f"{above}{row.name}/" for row in reversed(rows) if row.artifact is None and row.name]
                rows = [_deep(row, prefix, above) for row in rows]
            for start in range(0, len(rows), PAGE):
                yield rows[start : start + PAGE]

    async def _scan(self, prefix: str) -> Sequence[Child]:
        """The rows of one directory; none when it is not there."""
        path = self._path(prefix) or self._files.root
        try:
            infos = await self._call(prefix, "ls", path, detail=True)
        except (NotFound, NotADirectory):
            await self._confirm_root()
            return []
        rows = [_row(prefix, path, info) for info in await self._measured(infos)]
        return [row for row in rows if not is_partial(row.name)]

    async def _measured(self, infos: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """The same with the length of each file, which some listings do not tell. What has gone since is left out."""
        lacking = [info for info in infos if not is_measured(info)]
        found: dict[str, dict[str, Any]] = {}

        async def ask(info: dict[str, Any]) -> None:
            with suppress(NotFound):
                found[info["name"]] = {**info, **await self._call(info["name"], "info", info["name"])}

        await for_each(lacking, ASKED, ask)
        return [found.get(info["name"], info) for info in infos if is_measured(info) or info["name"] in found]

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes:
        limit = patience(stop - start, self._deadline)
        try:
            data: bytes = await self._call(artifact.key, "cat_file", self._path(artifact.key), start=start, end=stop, limit=limit)
            now = artifact_of(artifact.key, await self._info(artifact.key))
        except NotFound as error:
            raise Changed(artifact.key) from error
        if now.version != artifact.version:
            raise Changed(artifact.key)
        if len(data) == artifact.size:
            data = data[start:stop]  # An HTTP server that knows no ranges sends it all.
        if len(data) != stop - start:
            raise Corrupt(f"{artifact.key}: {len(data)} bytes came for {stop - start}")
        return data

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        condition = Condition(over, absent)
        self._check_writable()
        await self._confirm(key, condition)
        if key.endswith("/"):
            return await self._mark(key)
        limit = patience(source.size, self._deadline)
        if source.size <= SINGLE_PUT:
            data = await trio.to_thread.run_sync(read_part, source, 0, source.size)
            return await self._publish(key, lambda path: self._call(key, "pipe_file", path, data, finish=True, limit=limit), condition)
        if os.stat(source.path).st_size != source.size:
            raise Corrupt(f"{source.path} is not as long as it was")
        return await self._publish(key, lambda path: self._call(key, "put_file", source.path, path, finish=True, limit=limit), condition)

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        self._check_writable()
        if key.endswith("/"):
            return await self._mark(key)
        await self._confirm(artifact.key, Condition(over=artifact))
        origin, limit = self._path(artifact.key), patience(artifact.size, self._deadline)
        made = await self._publish(key, lambda path: self._call(artifact.key, "cp_file", origin, path, finish=True, limit=limit))
        await self._confirm(artifact.key, Condition(over=artifact))
        return made

    async def _confirm(self, key: str, condition: Condition) -> None:
        """Raises Changed or AlreadyExists when the store does not hold what the condition wants."""
        if not condition.given:
            return
        held: Artifact | None = None
        try:
            held = artifact_of(key, await self._info(key))
        except NotFound:
            await self._confirm_root()
        condition.check(key, held)

    async def _publish(self, key: str, fill: Callable[[str], Awaitable[Any]], condition: Condition = ALWAYS) -> Artifact:
        """Have `fill` make the object at `key`, by way of a partial file where one can be moved into place."""
        path = self._path(key)
        if self._files.moves_whole:
            folder = path.rpartition("/")[0]
            partial = f"{folder}/{partial_name()}"
            await self._make_folder(key, folder)
            try:
                await fill(partial)
                await self._confirm(key, condition)
                await self._put_in_place(key, partial, path, condition)
            except BaseException:
                await self._discard(partial)
                raise
        else:
            try:
                await fill(path)
            except NotFound:
                await self._make_folder(key, path.rpartition("/")[0])
                await fill(path)
        return artifact_of(key, await self._call(key, "info", path))

    async def _put_in_place(self, key: str, partial: str, path: str, condition: Condition) -> None:
        """Move the partial file over what is there. Some file systems do not: one says so (SMB), another says nothing at all (WebHDFS)."""
        with suppress(AlreadyExists):
            await self._call(key, "mv", partial, path, finish=True)
            if not await self._is_there(partial):
                return
        await self._confirm(key, condition)
        with suppress(NotFound):
            await self._call(key, "rm_file", path, finish=True)
        await self._call(key, "mv", partial, path, finish=True)
        if await self._is_there(partial):
            raise Unavailable(f"{key}: the file system has not moved it into its place")

    async def _is_there(self, path: str) -> bool:
        try:
            await self._call(path, "info", path)
        except NotFound:
            return False
        return True

    async def _make_folder(self, key: str, folder: str) -> None:
        """With those above it, but never the root (S3)."""
        await self._confirm_root()
        await self._call(key, "makedirs", folder, exist_ok=True)

    async def _discard(self, partial: str) -> None:
        with trio.CancelScope(shield=True):
            try:
                await self._call(partial, "rm_file", partial)
            except NotFound:
                return

    async def _mark(self, key: str) -> Artifact:
        """A directory: a real one, or where `makedirs` leaves nothing to be seen, a marker."""
        path = self._path(key)
        if not self._files.asynchronous:
            await self._call(key, "makedirs", path, exist_ok=True)
        try:
            info = await self._call(key, "info", path)
        except NotFound:
            await self._call(key, "pipe_file", path + "/", b"")
            info = await self._call(key, "info", path)
        return artifact_of(key, {**info, "size": EMPTY.size})

    async def sweep(self, key: str) -> None:
        """Remove partial files beside `key`. Whether somebody still writes one nobody can say but the clock: it goes when it has not
        changed for an hour, and stays where the file system does not tell when that was."""
        folder = self._path(key).rpartition("/")[0]
        try:
            infos = await self._call(key, "ls", folder, detail=True) if self._files.moves_whole else []
        except (NotFound, NotADirectory):
            return
        before = (time.time() - ABANDONED) * SECOND
        for info in infos:
            name = str(info["name"]).rpartition("/")[2]
            if is_partial(name) and 0 < changed_at(info) < before:
                await self._discard(f"{folder}/{name}")

    def _check_writable(self) -> None:
        if self._files.read_only:
            raise ReadOnly(READ_ONLY)

    async def delete(self, keys: Sequence[str]) -> None:
        self._check_writable()
        await for_each([key for key in keys if not key.endswith("/")], DELETES, self._delete_one)
        # A directory goes after what was in it.
        for key in sorted((key for key in keys if key.endswith("/")), key=len, reverse=True):
            await self._delete_one(key)

    async def _delete_one(self, key: str) -> None:
        path = self._path(key)
        try:
            if not key.endswith("/"):
                await self._call(key, "rm_file", path, finish=True)
            elif self._files.asynchronous:
                await self._call(key, "rm_file", path + "/")
            else:
                await self._call(key, "rmdir", path, finish=True)
        except (NotFound, NotADirectory, IsADirectory):
            return  # A file that has the name of the directory, or the other way round, is not what has this key.
        except StoreMountError:
            # A directory with entries stays; that is no failure, whatever the file system calls it.
            if not key.endswith("/") or not await self._scan(key):
                raise

    async def aclose(self) -> None:
        await self._files.aclose()

    def _path(self, key: str) -> str:
        return (self._base + key).rstrip("/")

    async def _call(self, what: str, method: str, *args: Any, limit: float | None = None, finish: bool = False, **kwargs: Any) -> Any:
        """One call of the file system, within the deadline (or `limit`)."""
        seconds = limit or self._deadline
        try:
            with trio.fail_after(seconds), named(what or self.uri):
                return await self._files.call(method, *args, finish=finish, **kwargs)
        except trio.TooSlowError as error:
            raise TimedOut(f"{what or self.uri}: no answer within {seconds:g} s") from error


def _row(prefix: str, path: str, info: Mapping[str, Any]) -> Child:
    """A row of a listing of `path`; the file system's names are whole paths, spelled in its own way."""
    whole = str(info["name"]).rstrip("/")
    name = "" if whole.lstrip("/") == path.lstrip("/") else whole.rpartition("/")[2]
    return Child(name, None if is_directory(info) else artifact_of(prefix + name, info))


def _deep(row: Child, prefix: str, above: str) -> Child:
    """`row` of the directory `above` as a row of a recursive listing, where a directory is its marker."""
    if row.artifact is not None:
        return Child(above + row.name, row.artifact)
    name = f"{above}{row.name}/"
    return Child(name, Artifact(prefix + name, "directory", 0, 0))
