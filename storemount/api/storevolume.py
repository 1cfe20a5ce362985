"""StoreVolume: a store as a volume, for programs that know nothing of trio.

What it is: `Keyspace` called through the portal, its failures as Python's own, and the two ends of a file: fetched in pieces, published
whole.
What it is not: the rules for names (`keyspace`), or the file objects (`streams`).
Invariants: the store is opened in the portal's thread with the first question, and again in every further run of the portal (after a fork,
too), so a volume outlives both. A file being read is pinned to its version (S4). A file that began with old bytes is published only over
the version they were of (S9).
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import replace
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

import trio

from storemount.api.keyspace import Keyspace
from storemount.api.portal import Portal
from storemount.api.streams import VersionStream, stage
from storemount.api.volume import Access, Draft, Entry
from storemount.config import MIB
from storemount.errors import AlreadyExists, Changed, NotFound, StoreMountError, os_error
from storemount.stores.base import Artifact, ArtifactStore, Child, Meta, Source

P = ParamSpec("P")
R = TypeVar("R")

STEP = 32 * MIB
"""Bytes of an old version that are fetched at once into the draft that begins with them."""

FILE_MODE, DIRECTORY_MODE = 0o644, 0o755
"""Where the store does not say."""


class StoreVolume:
    """`make` opens the store (it is told whether this process was forked from one that had it open); `uri` is its root."""

    def __init__(self, uri: str, make: Callable[[bool], ArtifactStore], portal: Portal) -> None:
        self.uri = uri
        self._make = make
        self._portal = portal
        self._space: Keyspace | None = None
        self._born = 0
        self._closed = False

    # looking

    def kind(self, key: str) -> str | None:
        _, child = self._call(key, Keyspace.follow, key)
        if child is None:
            return None
        return "directory" if child.artifact is None else "file"

    def status(self, key: str) -> os.stat_result:
        _, child = self._call(key, Keyspace.found, key)
        return _status(self.name(key), child)

    def scan(self, key: str) -> Generator[Entry, None, None]:
        pages = self._call(key, _begun, key)
        try:
            while (page := self._call(key, _next, pages)) is not None:
                yield from page
        finally:
            self._portal.let_go(pages.aclose)

    def size(self, key: str) -> int:
        return self._call(key, Keyspace.size, key)

    # changing

    def make_directory(self, key: str) -> None:
        self._call(key, Keyspace.make_directory, key)

    def make_directories(self, key: str) -> None:
        self._call(key, Keyspace.make_directories, key)

    def remove(self, key: str) -> None:
        self._call(key, Keyspace.remove, key)

    def remove_tree(self, key: str) -> None:
        self._call(key, Keyspace.remove_tree, key)

    def rename(self, key: str, to: str, *, replace: bool) -> None:
        self._call(key, Keyspace.rename, key, to, replace=replace)

    def copy(self, key: str, to: str, *, replace: bool) -> bool:
        self._call(key, Keyspace.copy, key, to, replace=replace)
        return True

    # files

    def reader(self, key: str) -> io.RawIOBase:
        artifact = self._call(key, Keyspace.file, key)
        return VersionStream(self.name(key), artifact.size, partial(self._fetch, artifact))

    def _fetch(self, artifact: Artifact, start: int, stop: int) -> bytes | bytearray | memoryview:
        return self._call(artifact.key, Keyspace.read, artifact, start, stop)

    def draft(self, key: str, access: Access) -> Draft:
        key, old = self._call(key, _begin, key, access)
        fd = stage()
        try:
            if old is not None and access.keeps:
                for start in range(0, old.size, STEP):
                    _write(fd, self._fetch(old, start, min(start + STEP, old.size)))
                os.lseek(fd, 0, os.SEEK_SET)
        except BaseException:
            os.close(fd)
            raise
        return Draft(fd, partial(self._publish, key, old, access))

    def _publish(self, key: str, old: Artifact | None, access: Access, path: str, size: int) -> None:
        source = Source(path, size, meta=_kept(old))
        absent = access.exclusive or (access.keeps and old is None)
        try:
            self._call(key, Keyspace.publish, key, source, over=old if access.keeps else None, absent=absent)
        except FileExistsError as error:
            if access.exclusive:
                raise
            raise os_error(Changed("somebody else has made it meanwhile"), self.name(key)) from error

    # the store

    def close(self) -> None:
        if not self._closed:
            self._portal.call(self._aclose)
            self._closed = True

    async def _aclose(self) -> None:
        if self._space is not None and self._born == self._portal.generation:
            await self._space.store.aclose()
        self._space = None

    def name(self, key: str) -> str:
        """The file's URI, for messages."""
        return f"{self.uri}{'' if self.uri.endswith('/') else '/'}{key}" if key else self.uri

    def _call(self, key: str, verb: Callable[Concatenate[Keyspace, P], Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """`verb` of the keyspace, awaited in the portal. `key` is what a failure is about."""
        if self._closed:
            raise ValueError(f"{self.uri} was closed")

        async def ask() -> R:
            return await verb(self._opened(), *args, **kwargs)

        try:
            return self._portal.call(ask)
        except StoreMountError as error:
            raise os_error(error, self.name(key)) from error

    def _opened(self) -> Keyspace:
        """The store, opened if it is not. In the portal's thread, where only one caller is at a time."""
        if self._space is None or self._born != self._portal.generation:
            store = self._make(self._portal.forked)
            self._portal.at_end(store.aclose)
            self._space, self._born = Keyspace(store), self._portal.generation
        return self._space


async def _begun(space: Keyspace, key: str) -> AsyncGenerator[list[Entry], None]:
    await trio.lowlevel.checkpoint()
    return space.pages(key)


async def _next(space: Keyspace, pages: AsyncGenerator[list[Entry], None]) -> list[Entry] | None:
    return await anext(pages, None)


async def _begin(space: Keyspace, key: str, access: Access) -> tuple[str, Artifact | None]:
    """Where the file is or will be, and which version is there now."""
    key, there = await space.place_for(key)
    if there is None and not access.creates:
        raise NotFound(key)
    if there is not None and access.exclusive:
        raise AlreadyExists(key)
    return key, there.artifact if there is not None else None


def _kept(old: Artifact | None) -> Meta:
    """What a file that is written anew keeps of the one before; its time is that of its new bytes."""
    return replace(old.meta, mtime_ns=None) if old is not None and old.meta is not None else Meta()


def _status(name: str, child: Child) -> os.stat_result:
    """What the store says, in the form of `os.stat`. The inode number is made of name and version, so `samefile` tells files apart."""
    artifact = child.artifact
    version = artifact.version if artifact is not None else ""
    inode = int.from_bytes(hashlib.blake2b(f"{name}\0{version}".encode(errors="surrogateescape"), digest_size=7).digest())
    if artifact is None:
        mode, size, mtime_ns = stat.S_IFDIR | DIRECTORY_MODE, 0, 0
    else:
        mode, size, mtime_ns = artifact.mode or stat.S_IFREG | FILE_MODE, artifact.size, artifact.mtime_ns
    seconds = mtime_ns // 1_000_000_000
    fields = (mode, inode, 0, 1, os.getuid(), os.getgid(), size, seconds, seconds, seconds)
    times = {f"st_{each}time{unit}": value for each in "amc" for unit, value in (("", mtime_ns / 1e9), ("_ns", mtime_ns))}
    return os.stat_result(fields, times)


def _write(fd: int, data: bytes | bytearray | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
