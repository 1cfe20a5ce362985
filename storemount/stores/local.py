"""LocalStore: a folder on this machine as an artifact store.

What it is: the protocol over plain files; one file is one object (S1), directories are real.
What it is not: a cache of anything; every verb asks the disk, in a worker thread.
Invariants:
- An object appears whole (S6): a file is renamed into place. A staged file of the same file system is renamed itself, so its bytes are
  written once. Like any local file it survives a power cut when it was synced (`lazy`): a sync for each of 5000 small files made
  writing them four times slower, and `fsync` through the mount asks for one where a program wants it.
- Unfinished copies are called `.storemount-*.part` and are shown to nobody.
- `absent` (S9) is exact: the kernel itself refuses to replace. `over` is looked at just before the rename; another process that changes
  the file in those microseconds goes unseen.
- A version is (inode, mtime, size): a replaced file has another inode, a file edited in place another mtime.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import stat
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import ParamSpec, TypeVar
from urllib.parse import quote

import trio

from storemount.config import MIB
from storemount.disk import sync_file_system
from storemount.errors import EXDEV, Changed, Corrupt, Denied, IsADirectory, MissingStore, NotADirectory, NotFound, named
from storemount.stores.base import Artifact, Capacity, Child, Meta, Source, Traits, is_partial
from storemount.stores.conditions import ALWAYS, Condition
from storemount.stores.partial import finish, partial_file, partial_link, rename_new, sweep_partials

PAGE = 1000
SMALL = 16 * MIB
NOWHERE = -1
"""No device: staged files cannot be renamed into the store."""

P = ParamSpec("P")
R = TypeVar("R")


@contextlib.contextmanager
def named_failures(key: str) -> Iterator[None]:
    """Failures of the disk under the names of `errors`; the rest (ENOSPC, EIO, EROFS) keep their errno."""
    try:
        yield
    except OSError as error:
        failure = named(error, key)
        if failure is None:
            raise
        raise failure from error


def _artifact(key: str, status: os.stat_result) -> Artifact:
    version = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
    return Artifact(key, version, status.st_size, status.st_mtime_ns, Meta(mode=status.st_mode))


class LocalStore:
    """The folder `root` as a store. It must exist when `check` is called."""

    traits = Traits(
        engine="local",
        rename=True,
        modes=True,
        listed_meta=True,
        local_files=True,
        real_directories=True,
        bytes_names=True,
        lazy=True,
        max_key_bytes=os.pathconf("/", "PC_PATH_MAX"),
    )

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self.uri = "file://" + quote(os.fsencode(self.root))
        self._threads = trio.CapacityLimiter(32)
        self._device: int | None = None

    async def _run(self, key: str, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Ask the disk in a thread; a caller who gives up leaves it behind."""
        with named_failures(key):
            return await trio.to_thread.run_sync(functools.partial(call, *args, **kwargs), abandon_on_cancel=True, limiter=self._threads)

    async def _change(self, key: str, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Change the disk in a thread; a caller who gives up waits for its end, for nothing may be published after that."""
        with named_failures(key):
            return await trio.to_thread.run_sync(functools.partial(call, *args, **kwargs), limiter=self._threads)

    def _path(self, key: str) -> str:
        return os.path.join(self.root, key.rstrip("/")) if key else self.root

    async def check(self) -> None:
        try:
            await self._run("", os.listdir, self.root)
        except (NotFound, NotADirectory) as error:
            raise MissingStore(f"the folder {self.root} does not exist") from error

    async def stat(self, key: str) -> Child:
        if is_partial(key.rpartition("/")[2]):
            raise NotFound(key)
        try:
            status = await self._run(key, os.lstat, self._path(key))
        except NotADirectory as error:
            raise NotFound(key) from error
        except NotFound:
            await self._confirm_root()
            raise
        child = _child(key.rpartition("/")[2], key, status)
        if child is None:
            raise NotFound(key)
        return child

    async def describe(self, key: str) -> Artifact:
        try:
            return _artifact(key, await self._run(key, os.lstat, self._path(key)))
        except NotADirectory as error:
            raise NotFound(key) from error
        except NotFound:
            await self._confirm_root()
            raise

    async def _confirm_root(self) -> None:
        """An absent key is only an absent key while the root is there (an unmounted disk is not an empty store, S3)."""
        if not await trio.to_thread.run_sync(os.path.isdir, self.root, limiter=self._threads):
            raise MissingStore(f"the folder {self.root} has gone")

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        rows = self._walk(prefix, "") if recursive else self._scan(prefix, "")
        while True:
            try:
                page = await self._run(prefix, _take, rows)
            except NotFound:
                await self._confirm_root()
                raise
            if page:
                yield page
            if len(page) < PAGE:
                return

    def _scan(self, prefix: str, above: str) -> Iterator[Child]:
        with os.scandir(self._path(prefix)) as entries:
            for entry in entries:
                if is_partial(entry.name):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    child = _child(above + entry.name, prefix + entry.name, entry.stat(follow_symlinks=False))
                    if child is not None:
                        yield child

    def _walk(self, prefix: str, above: str) -> Iterator[Child]:
        for child in self._scan(prefix, above):
            if child.artifact is not None:
                yield child
                continue
            key = prefix + child.name[len(above) :] + "/"
            yield Child(child.name + "/", _artifact(key, os.lstat(self._path(key))))
            yield from self._walk(key, child.name + "/")

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes:
        return await self._run(artifact.key, self._read, artifact, start, stop)

    def _read(self, artifact: Artifact, start: int, stop: int) -> bytes:
        fd = self.open_local(artifact)
        try:
            if artifact.is_symlink:
                return os.fsencode(os.readlink("", dir_fd=fd))[start:stop]  # Of exactly what was opened: readlink(2).
            return os.pread(fd, stop - start, start)
        finally:
            os.close(fd)

    def open_local(self, artifact: Artifact) -> int:
        try:
            fd = os.open(self._path(artifact.key), (os.O_PATH if artifact.is_symlink else os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Changed(artifact.key) from error
        except PermissionError as error:
            raise Denied(artifact.key) from error
        if not self.is_version(fd, artifact):
            os.close(fd)
            raise Changed(artifact.key)
        return fd

    @staticmethod
    def is_version(fd: int, artifact: Artifact) -> bool:
        """Whether the file behind `fd` still is `artifact` (S4: nobody edited it in place)."""
        return _artifact(artifact.key, os.fstat(fd)).version == artifact.version

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        _check(source)
        condition = Condition(over, absent)
        if source.movable and self._can_move(source, key):
            # A rename takes 10 µs, the hop to a thread and back 150, and the thread takes the interpreter from the kernel's requests.
            try:
                with named_failures(key):
                    return self._write(key, source, condition, move=True)
            except OSError as error:
                if error.errno != EXDEV:
                    raise
                # Two mounts of one file system, such as a container's volume: rename(2) does not go from one to the other.
                self._device = NOWHERE
        return await self._change(key, self._write, key, source, condition, move=False)

    def _can_move(self, source: Source, key: str) -> bool:
        """Whether the staged file lies in the store's own file system, as far as is known."""
        if self._device is None:
            with named_failures(key):
                self._device = os.stat(self.root).st_dev
        return not _is_link(source) and os.stat(source.path).st_dev == self._device

    def _make_folder(self, folder: str) -> None:
        """The directory and those above it, but never the root: where that has gone, another disk's is there (S3)."""
        if not os.path.isdir(self.root):
            raise MissingStore(f"the folder {self.root} has gone")
        try:
            os.makedirs(folder, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectory(folder) from error

    def _write(self, key: str, source: Source, condition: Condition, *, move: bool) -> Artifact:
        path = self._path(key)
        self._confirm(key, condition)
        if key.endswith("/"):
            self._make_folder(os.path.dirname(path) if condition.absent else path)
            if condition.absent:
                os.mkdir(path)
            return _artifact(key, os.lstat(path))
        folder = os.path.dirname(path)
        self._make_folder(folder)
        # Only a call that cannot be abandoned half-way may move the staged file itself: whoever tries again needs it.
        if move and os.stat(source.path).st_dev == os.stat(folder).st_dev:
            finish(source.path, source)
            return self._place(source.path, key, condition)
        with _partial(folder, source) as ready:
            return self._place(ready, key, condition)

    def _place(self, ready: str, key: str, condition: Condition = ALWAYS) -> Artifact:
        """Rename a finished file into place, on this condition."""
        path = self._path(key)
        artifact = _artifact(key, os.lstat(ready))
        if condition.absent:
            rename_new(ready, path)
        else:
            self._confirm(key, condition)
            os.rename(ready, path)
        return artifact

    def _confirm(self, key: str, condition: Condition) -> None:
        """Raises Changed or AlreadyExists when the folder does not hold what the condition wants."""
        if not condition.given:
            return
        held: Artifact | None = None
        try:
            held = _artifact(key, os.lstat(self._path(key)))
        except (FileNotFoundError, NotADirectoryError):
            if not os.path.isdir(self.root):
                raise MissingStore(f"the folder {self.root} has gone") from None
        condition.check(key, held)

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        source = Source(self._path(artifact.key), artifact.size, meta=Meta(mode=artifact.mode, mtime_ns=artifact.mtime_ns))
        try:
            current = await self.stat(artifact.key)
        except NotFound as error:
            raise Changed(artifact.key) from error
        if current.artifact != artifact:
            raise Changed(artifact.key)
        if artifact.is_symlink:
            return await self._change(key, self._copy_link, artifact, key)
        return await self.write(key, source)

    def _copy_link(self, artifact: Artifact, key: str) -> Artifact:
        with partial_link(os.path.dirname(self._path(key)), os.readlink(self._path(artifact.key))) as ready:
            return self._place(ready, key)

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        # Without a hop, so that nobody reads between the new time and the word that it is ours.
        with named_failures(artifact.key):
            return self._annotate(artifact, meta)

    def _annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        path = self._path(artifact.key)
        try:
            fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)  # needs no permission to read it
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Changed(artifact.key) from error
        try:
            if not self.is_version(fd, artifact):
                raise Changed(artifact.key)
            # By way of the descriptor, so that nothing is done to a file that takes the name meanwhile.
            itself = f"/proc/self/fd/{fd}"
            if meta.mode is not None and not artifact.is_symlink:
                os.chmod(itself, stat.S_IMODE(meta.mode))
            if meta.mtime_ns is not None:
                os.utime(itself, ns=(os.fstat(fd).st_atime_ns, meta.mtime_ns))
            made = _artifact(artifact.key, os.fstat(fd))
        finally:
            os.close(fd)
        self._confirm(artifact.key, Condition(over=made))
        return made

    async def sweep(self, key: str) -> None:
        """Partial files do not say whose they are: all those beside `key` go that no process on this machine is writing."""
        await self._change(key, sweep_partials, self._path(key.rstrip("/").rpartition("/")[0]))

    async def rename(self, key: str, to: str) -> None:
        await self._change(key, self._rename, key, to)

    def _rename(self, key: str, to: str) -> None:
        old, new = self._path(key), self._path(to)
        self._make_folder(os.path.dirname(new))
        os.rename(old, new)

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            # A file that has the name of the directory, or the other way round, is not what has this key.
            with contextlib.suppress(NotFound, NotADirectory, IsADirectory):
                if not self._delete_small(key):
                    await self._change(key, os.rmdir if key.endswith("/") else os.unlink, self._path(key))

    def _delete_small(self, key: str) -> bool:
        """Delete a file whose blocks take no time to free, without the hop to a thread; whether it was one."""
        if key.endswith("/"):
            return False
        path = self._path(key)
        with named_failures(key):
            small = os.lstat(path).st_size <= SMALL
            if small:
                os.unlink(path)
        return small

    async def sync(self, key: str) -> None:
        await self._run(key, self._sync, key)

    def _sync(self, key: str) -> None:
        """One file and its folder; for a folder everything in its file system, which costs one commit and not one for each file."""
        path = self._path(key)
        if key and not key.endswith("/"):
            with contextlib.suppress(FileNotFoundError):
                _sync(path)
            _sync(os.path.dirname(path))
        else:
            sync_file_system(path)

    async def capacity(self) -> Capacity | None:
        room = await self._run("", os.statvfs, self.root)
        return Capacity(room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize, room.f_files, room.f_favail)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def _child(name: str, key: str, status: os.stat_result) -> Child | None:
    """A row for this file; None for what is neither file, directory nor symbolic link (S13)."""
    if stat.S_ISDIR(status.st_mode):
        return Child(name, None)
    if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
        return Child(name, _artifact(key, status))
    return None


def _check(source: Source) -> None:
    """Raises Corrupt when the source is not what it should be: that says nothing about the key."""
    try:
        size = os.stat(source.path).st_size
    except OSError as error:
        raise Corrupt(f"{source.path}: {error.strerror}") from error
    if size < source.size:
        raise Corrupt(f"{source.path} is shorter than it was")


def _is_link(source: Source) -> bool:
    return source.meta.mode is not None and stat.S_ISLNK(source.meta.mode)


def _partial(folder: str, source: Source) -> contextlib.AbstractContextManager[str]:
    if not _is_link(source):
        return partial_file(folder, source)
    with open(source.path, "rb") as target:
        return partial_link(folder, target.read(source.size))


def _take(rows: Iterator[Child]) -> list[Child]:
    return list(itertools.islice(rows, PAGE))


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
