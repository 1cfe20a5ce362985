"""DiskVolume: this machine's own paths as a volume: plain folders, mounted stores, and stores that are folders.

What it is: the operating system's verbs, and a staged file that takes its place whole.
What it is not: a store: what a mount does with a file that was closed is the mount's matter (S7).
Invariants:
- With a `root`, nothing outside of it is touched: neither by "..", nor by a symbolic link.
- A file is copied beside its place and renamed, so others see the old file or the new one (S6). Devices and pipes are written directly.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import partial
from secrets import token_hex

from storemount.api.streams import stage
from storemount.api.volume import Access, Draft, Entry
from storemount.errors import (
    AlreadyExists,
    Changed,
    Denied,
    Forbidden,
    Invalid,
    IsADirectory,
    NotFound,
    os_error,
)
from storemount.stores.base import is_partial
from storemount.stores.partial import rename_new


class DiskVolume:
    """Keys are paths below `root`; without one they are paths as the operating system takes them."""

    def __init__(self, root: str | None = None) -> None:
        self._root = None if root is None else os.path.realpath(root)

    def _path(self, key: str, *, itself: bool = False) -> str:
        """Where this is. `itself`: a symbolic link is meant, not what it leads to. Raises PermissionError for a place outside."""
        if self._root is None:
            return key
        path = os.path.join(self._root, key) if key else self._root
        real = os.path.realpath(os.path.dirname(path) if itself else path)
        if real != self._root and not real.startswith(self._root.rstrip("/") + "/"):
            raise os_error(Forbidden(f"a symbolic link leads out of {self._root}"), path)
        return path

    def _own(self, key: str) -> str:
        """A path that may be taken away or moved: not the root."""
        if self._root is not None and not key:
            raise os_error(Forbidden("this is the root of the store"), self._root)
        return self._path(key, itself=True)

    # looking

    def kind(self, key: str) -> str | None:
        try:
            mode = os.stat(self._path(key)).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        return "directory" if stat.S_ISDIR(mode) else "file"

    def status(self, key: str) -> os.stat_result:
        return os.stat(self._path(key))

    def scan(self, key: str) -> Generator[Entry, None, None]:
        with os.scandir(self._path(key) or ".") as entries:
            for entry in entries:
                if not is_partial(entry.name):
                    yield Entry(entry.name, entry.is_dir(), entry.is_symlink())

    def size(self, key: str) -> int:
        path = self._path(key)
        status = os.stat(path)
        return sum(_sizes(path)) if stat.S_ISDIR(status.st_mode) else status.st_size

    # changing

    def make_directory(self, key: str) -> None:
        os.mkdir(self._path(key))

    def make_directories(self, key: str) -> None:
        os.makedirs(self._path(key), exist_ok=True)

    def remove(self, key: str) -> None:
        os.remove(self._own(key))

    def remove_tree(self, key: str) -> None:
        shutil.rmtree(self._own(key))

    def rename(self, key: str, to: str, *, replace: bool) -> None:
        old, new = self._own(key), self._own(to)
        if os.path.abspath(old) == os.path.abspath(new):
            os.lstat(old)
        elif _within(new, old) and os.path.isdir(old):
            raise os_error(Invalid("it cannot become a part of itself"), old)
        elif replace:
            os.rename(old, new)
        else:
            rename_new(old, new)

    def copy(self, key: str, to: str, *, replace: bool) -> bool:
        return False

    # files

    def reader(self, key: str) -> io.RawIOBase:
        return io.FileIO(self._path(key))

    def draft(self, key: str, access: Access) -> Draft:
        path = self._path(key)
        path = os.path.realpath(path) if os.path.islink(path) else path
        old = _regular(path, access)
        if old is not None and not stat.S_ISREG(old.st_mode):
            return Draft(os.open(path, os.O_RDWR if access.reads else os.O_WRONLY), None)
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise os_error(NotFound(folder), path)
        if not os.access(folder, os.W_OK | os.X_OK) or (old is not None and not os.access(path, os.W_OK)):
            raise os_error(Denied(f"{folder} may not be written to"), path)
        fd = stage()
        try:
            if old is not None and access.keeps:
                shutil.copyfile(path, f"/proc/self/fd/{fd}")
                os.lseek(fd, 0, os.SEEK_SET)
        except BaseException:
            os.close(fd)
            raise
        return Draft(fd, partial(_publish, path, old, access))

    def close(self) -> None:
        """Nothing is held."""


def _regular(path: str, access: Access) -> os.stat_result | None:
    """What is there now. Raises what forbids this access to it."""
    try:
        old = os.stat(path)
    except FileNotFoundError:
        if access.creates:
            return None
        raise os_error(NotFound(path), path) from None
    if stat.S_ISDIR(old.st_mode):
        raise os_error(IsADirectory(path), path)
    if access.exclusive:
        raise os_error(AlreadyExists(path), path)
    return old


def _publish(path: str, old: os.stat_result | None, access: Access, staged: str, size: int) -> None:
    """Have the bytes of `staged` under `path`, by way of a file beside it: another folder may be another file system."""
    fresh = os.path.join(os.path.dirname(path), f".storemount-{token_hex(8)}.new")
    try:
        with open(fresh, "xb"):
            pass
        shutil.copyfile(staged, fresh)
        if old is not None:
            os.chmod(fresh, stat.S_IMODE(old.st_mode))
        if access.keeps:
            _confirm(path, old)
        if access.exclusive:
            rename_new(fresh, path)
        else:
            os.rename(fresh, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(fresh)


def _confirm(path: str, old: os.stat_result | None) -> None:
    """Raises OSError (ESTALE) when somebody else has changed the file that the new bytes began with (S9)."""
    try:
        now: os.stat_result | None = os.stat(path)
    except FileNotFoundError:
        now = None
    if _version(now) != _version(old):
        raise os_error(Changed("somebody else has changed it meanwhile"), path)


def _version(status: os.stat_result | None) -> tuple[int, int, int] | None:
    return (status.st_ino, status.st_mtime_ns, status.st_size) if status is not None else None


def _sizes(path: str) -> Iterator[int]:
    for folder, _, files in os.walk(path, onerror=_raise):
        for name in files:
            with suppress(FileNotFoundError):
                yield os.lstat(os.path.join(folder, name)).st_size


def _raise(error: OSError) -> None:
    raise error


def _within(path: str, folder: str) -> bool:
    return os.path.abspath(path).startswith(os.path.abspath(folder) + "/")
