"""Driver: one step at a time on the mount and on the reference, which must agree.

What it is: the vocabulary of the model test; a step is a verb and three small numbers that choose among what is there.
What it is not: a source of chance; the caller draws the steps.
Invariant: after every step both sides gave the same answer, or the same errno. EIO is the store's failure, not an answer: the step is
tried again, as a patient program would.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import trio
from pyfuse3 import FUSEError

from storemount.errors import EIO
from tests.model.reference import File, Folder, Link, Reference
from tests.support.bare import NOREPLACE, BareMount, faultless, objects, put_object

T = TypeVar("T")
NAMES = ("a", "b", "c", "long-name")
MOST_HANDLES = 6
TRIES = 200
SLOWEST_ANSWER = 10.0
"""Seconds that a question to the store, asked before a change and answered after it, may take at most (see the delays of the tests)."""


@dataclass(frozen=True)
class Step:
    """`verb`, and numbers that it takes as it likes."""

    verb: str
    one: int
    two: int
    three: int


@dataclass(eq=False)
class Handle:
    fh: int
    file: File
    writable: bool


class Driver:
    """Steps below the directory `top` of a mount ("" for the root). `note` is called after each thing that a step has done."""

    def __init__(self, mount: BareMount, reference: Reference, top: str = "", note: Callable[[], None] = lambda: None) -> None:
        self._mount = mount
        self._reference = reference
        self._top = top
        self._note = note
        self._handles: list[Handle] = []

    def follow(self, mount: BareMount) -> None:
        """The daemon was killed, and `mount` is what comes after it: no handle is open any more."""
        self._mount = mount
        self._handles.clear()
        self._reference.die()

    async def do(self, step: Step) -> None:
        verb: Callable[[Step], Awaitable[None]] = getattr(self, "_" + step.verb)
        await verb(step)
        self._note()

    async def close_all(self) -> None:
        while self._handles:
            await self._close(Step("close", 0, 0, 0))

    # choosing

    def _below(self) -> list[str]:
        prefix = self._top + "/" if self._top else ""
        return [path for path, _ in self._reference.paths() if path.startswith(prefix)]

    def _path(self, number: int) -> str:
        """Something that is there, or a name beside it that may not be."""
        there = self._below()
        new = self._new(number // 2, number // 7)
        return there[number // 2 % len(there)] if there and number % 8 else new

    def _new(self, place: int, name: int) -> str:
        folders = [self._top, *(path for path in self._below() if isinstance(self._reference.get(path), Folder))]
        folder = folders[place % len(folders)]
        return f"{folder}/{NAMES[name % len(NAMES)]}".lstrip("/")

    # comparing

    async def _same(self, ours: Callable[[], Awaitable[T]], theirs: Callable[[], T]) -> T | None:
        """What both give; None when both fail, with the same errno."""
        try:
            expected, number = theirs(), 0
            self._note()
        except OSError as error:
            expected, number = None, error.errno or EIO
        for _ in range(TRIES):
            try:
                got = await ours()
            except FUSEError as error:
                if error.errno == EIO:
                    continue
                assert error.errno == number, f"{os.strerror(error.errno)}, not {os.strerror(number)}"
                return None
            assert number == 0, f"no error, where {os.strerror(number)} was due"
            assert expected is None or got == expected
            return got
        raise AssertionError("the store never came back")

    async def _patiently(self, ours: Callable[[], Awaitable[T]]) -> T:
        got = await self._same(ours, lambda: None)
        assert got is not None
        return got

    # names

    async def _mkdir(self, step: Step) -> None:
        path = self._new(step.one, step.two)

        async def ours() -> None:
            await self._mount.mkdir(path)

        await self._same(ours, lambda: self._reference.mkdir(path))

    async def _symlink(self, step: Step) -> None:
        """Where the store keeps links at all."""
        path, target = self._new(step.one, step.two), bytes([97 + step.three % 26]) * (1 + step.three)

        async def ours() -> None:
            await self._mount.symlink(path, target)

        if self._mount.store.traits.modes:
            await self._same(ours, lambda: self._reference.symlink(path, target))

    async def _readlink(self, step: Step) -> None:
        path = self._path(step.one)
        with suppress(OSError):
            link = self._reference.get(path)
            if isinstance(link, Link):
                await self._same(lambda: self._mount.readlink(path), lambda: link.target)

    async def _touch(self, step: Step) -> None:
        path = self._path(step.one)

        def theirs() -> None:
            self._reference.get(path)

        if path:
            await self._same(lambda: self._mount.touch(path, step.two * 10**9 + step.three), theirs)

    async def _rmdir(self, step: Step) -> None:
        path = self._path(step.one)
        if path:
            await self._same(lambda: self._mount.rmdir(path), lambda: self._reference.rmdir(path))

    async def _unlink(self, step: Step) -> None:
        path = self._path(step.one)
        await self._same(lambda: self._mount.unlink(path), lambda: self._reference.unlink(path))

    async def _rename(self, step: Step) -> None:
        old, new = self._path(step.one), self._path(step.two)
        if f"{new}/".startswith(f"{old}/") or f"{old}/".startswith(f"{new}/"):
            return
        await self._close_if_new(old)
        flags = NOREPLACE if step.three % 5 == 0 else 0
        await self._same(lambda: self._mount.rename(old, new, flags), lambda: self._reference.rename(old, new, replace=not flags))

    async def _close_if_new(self, path: str) -> None:
        """What a killed daemon leaves of a file replaced by one that was never closed is either of the two, and so nothing to compare."""
        with suppress(OSError):
            file = self._reference.get(path)
            if isinstance(file, File) and file.closed is None:
                await self._close_writers(file)

    async def _close_writers(self, file: File) -> None:
        for handle in [handle for handle in self._handles if handle.file is file and handle.writable]:
            await self._close_handle(handle)

    async def _list(self, step: Step) -> None:
        path = self._new(step.one, 0).rpartition("/")[0]
        await self._same(lambda: self._mount.names(path), lambda: sorted(self._reference.folder(path).entries))

    async def _stat(self, step: Step) -> None:
        path = self._path(step.one)

        async def ours() -> int:
            entry = await self._mount.stat(path)
            return -1 if entry.st_mode & 0o170000 == 0o040000 else entry.st_size

        def theirs() -> int:
            node = self._reference.get(path)
            if isinstance(node, Link):
                return len(node.target)
            return len(node.data) if isinstance(node, File) else -1

        await self._same(ours, theirs)

    # files

    async def _create(self, step: Step) -> None:
        path = self._new(step.one, step.two)

        def theirs() -> None:
            self._reference.create(path)

        fh: int | None = await self._same(lambda: self._mount.create(path), theirs)
        if fh is not None:
            self._keep(fh, path, writable=True)
            await self._write(Step("write", len(self._handles) - 1, 0, step.three))
        if not step.three % 3 or len(self._handles) > MOST_HANDLES:
            await self.close_all()

    def _keep(self, fh: int, path: str, *, writable: bool) -> None:
        file = self._reference.get(path)
        assert isinstance(file, File)
        self._handles.append(Handle(fh, file, writable))

    async def _open(self, step: Step) -> None:
        path = self._path(step.one)
        with suppress(OSError):
            file = self._reference.get(path)
            if not isinstance(file, File) or len(self._handles) > MOST_HANDLES:
                return
            flags = (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC)[step.two % 3]
            fh = await self._patiently(lambda: self._mount.open(path, flags))
            if flags & os.O_TRUNC:
                file.truncate(0)
            self._keep(fh, path, writable=flags != os.O_RDONLY)

    def _handle(self, number: int) -> Handle | None:
        return self._handles[number % len(self._handles)] if self._handles else None

    async def _close(self, step: Step) -> None:
        handle = self._handle(step.one)
        if handle is not None:
            await self._close_handle(handle)

    async def _close_handle(self, handle: Handle) -> None:
        self._handles.remove(handle)
        with suppress(FUSEError):
            await self._mount.fs.flush(handle.fh)
        if handle.writable:
            handle.file.close()
            self._note()
        await self._mount.fs.release(handle.fh)

    async def _write(self, step: Step) -> None:
        handle = self._handle(step.one)
        if handle is not None and handle.writable:
            data = bytes((step.three + number) % 251 for number in range(step.three * 3 + 1))
            offset = step.two * 11
            await self._mount.write(handle.fh, offset, data)
            handle.file.write(offset, data)

    async def _truncate(self, step: Step) -> None:
        path = self._path(step.one)
        with suppress(OSError):
            file = self._reference.get(path)
            if isinstance(file, File):
                await self._same(lambda: self._mount.truncate(path, step.two), lambda: file.truncate(step.two))
                if not any(handle.file is file and handle.writable for handle in self._handles):
                    file.close()

    async def _read(self, step: Step) -> None:
        handle = self._handle(step.one)
        if handle is not None:
            offset, size = step.two * 5, step.three * 20 + 1
            await self._same(lambda: self._mount.read(handle.fh, offset, size), lambda: bytes(handle.file.data[offset : offset + size]))

    async def _get(self, step: Step) -> None:
        path = self._path(step.one)
        with suppress(OSError):
            file = self._reference.get(path)
            if isinstance(file, File):
                await self._same(lambda: self._mount.get(path), lambda: bytes(file.data))

    # the store

    async def _fsync(self, step: Step) -> None:
        """S7: after it the store has these bytes, under the name that the file has now."""
        handle = self._handle(step.one)
        if handle is not None:
            await self._same(lambda: self._mount.fsync(handle.fh), lambda: None)
            handle.file.close()
            held = await objects(self._mount.store)
            for path, node in self._reference.paths():
                if node is handle.file:
                    assert held[path] == handle.file.data, path

    async def _sleep(self, step: Step) -> None:
        await trio.sleep(step.one**2 / 1000)


class Outsider:
    """Another client of the store, with the folder `outside/` of its own: what it does must be seen within the time to live (S3)."""

    def __init__(self, mount: BareMount, ttl: float, folder: Path) -> None:
        self._mount = mount
        self._store = faultless(mount.store)
        self._ttl = ttl
        self._folder = folder
        self.files: dict[str, bytes] = {}

    async def do(self, step: Step) -> None:
        """Put or delete an object; then look, when the dice say so, after the time that a mount may take to see it."""
        name = NAMES[step.one % len(NAMES)]
        if step.two % 3:
            self.files[name] = bytes([step.three]) * step.two
            await put_object(self._store, f"outside/{name}", self.files[name], self._folder)
        else:
            self.files.pop(name, None)
            await self._store.delete([f"outside/{name}"])
        await trio.sleep(step.three / 10)
        if step.three % 2:
            await trio.sleep(self._ttl + SLOWEST_ANSWER)
            await self._look()

    async def _look(self) -> None:
        there = await self._mount.names("outside") if await self._mount.exists("outside") else []
        assert there == sorted(self.files)
        for name in there:
            assert await self._mount.get(f"outside/{name}") == self.files[name]
