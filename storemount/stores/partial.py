"""Partial files: what a write has made of an object in a folder before it gets its name.

What it is: the making, filling and naming of such a file, and the removal of those whose writer was killed.
What it is not: a store; it knows paths and sources, and no keys.
Invariants: a partial file is locked (flock) from before anybody may take it for dead until it has its own name or is gone, and is removed
only by who holds its lock, under a name that is never used again. A symbolic link cannot be locked, and is dead when it is old.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator

from storemount.errors import NO_KERNEL_COPY, NO_LINKS, NO_LOCKS, NO_NOREPLACE, Corrupt
from storemount.stores.base import PARTIAL, Source, is_partial

ABANDONED = 3600.0
"""Seconds after which a partial file that has not changed counts as abandoned, where nothing else tells."""

_NOREPLACE = 1
_HERE = -100  # AT_FDCWD
_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def partial_name() -> str:
    return PARTIAL[0] + secrets.token_hex(8) + PARTIAL[1]


@contextlib.contextmanager
def partial_file(folder: str, source: Source) -> Iterator[str]:
    """A new file in `folder` that holds `source`, for the block to rename; removed afterwards if it was not. Raises Corrupt when the
    source is too short."""
    path, fd = _locked(folder)
    try:
        # A network file system may say only at a close that it could not keep the bytes; the lock has to outlive that.
        with open(os.dup(fd), "wb") as target:
            _copy(source.path, target.fileno(), source.size)
        _adjust(fd, source)
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.close(fd)


@contextlib.contextmanager
def partial_link(folder: str, target: str | bytes) -> Iterator[str]:
    """A new symbolic link in `folder`, for the block to rename; removed afterwards if it was not."""
    path = os.path.join(folder, partial_name())
    os.symlink(os.fsencode(target), os.fsencode(path))
    try:
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _locked(folder: str) -> tuple[str, int]:
    """A new partial file, and the descriptor that holds its lock."""
    while True:
        path = os.path.join(folder, partial_name())
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _lock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                return path, fd
        except OSError:
            os.close(fd)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            raise
        # Somebody swept it away between its making and its locking.
        os.close(fd)


def _lock(fd: int, how: int) -> bool:
    """Lock the file; False where its file system has no locks. Raises BlockingIOError for one held by another."""
    try:
        fcntl.flock(fd, how)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        raise
    return True


def sweep_partials(folder: str) -> None:
    """Remove the partial files in `folder` that no process is writing. Those of other users are theirs to remove."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            # What is gone meanwhile has got its own name, or was swept by somebody else.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                if is_partial(entry.name):
                    _remove_dead(entry)


def _remove_dead(entry: os.DirEntry[str]) -> None:
    if entry.is_symlink():
        if time.time() - entry.stat(follow_symlinks=False).st_mtime > ABANDONED:
            os.unlink(entry.path)
    elif entry.is_file(follow_symlinks=False):
        fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            # Shared is enough to find its writer out, and all that a network file system grants to a reader.
            with contextlib.suppress(BlockingIOError):
                if _lock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB):
                    os.unlink(entry.path)
        finally:
            os.close(fd)


def rename_new(old: str, new: str) -> None:
    """Rename `old` to `new`. Raises FileExistsError when something has that name, however lately it came (S9); only in a file system
    that can neither refuse to replace nor link, it is looked for just before."""
    if _renameat2 is None:
        _link_new(old, new)
    elif _renameat2(_HERE, os.fsencode(old), _HERE, os.fsencode(new), _NOREPLACE):
        number = ctypes.get_errno()
        if number not in NO_NOREPLACE:
            raise OSError(number, os.strerror(number), old, None, new)
        _link_new(old, new)


def _link_new(old: str, new: str) -> None:
    try:
        os.link(old, new, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if os.path.lexists(new):
            raise FileExistsError(new) from error
        os.rename(old, new)
    else:
        os.unlink(old)


def finish(path: str, source: Source) -> None:
    """Length, mode and mtime of the file `path`, as `source` says."""
    os.chmod(path, 0o600)  # An earlier try may have made it read-only already.
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        _adjust(fd, source)
    finally:
        os.close(fd)


def _adjust(fd: int, source: Source) -> None:
    if os.fstat(fd).st_size != source.size:
        os.ftruncate(fd, source.size)
    if source.meta.mode is not None:
        os.fchmod(fd, stat.S_IMODE(source.meta.mode))
    if source.meta.mtime_ns is not None:
        os.utime(fd, ns=(source.meta.mtime_ns, source.meta.mtime_ns))


def _copy(path: str, target: int, size: int) -> None:
    """`size` bytes of `path` in the new file behind `target`, shared or copied by the kernel."""
    with open(path, "rb") as source:
        left = size
        while left:
            try:
                copied = os.copy_file_range(source.fileno(), target, left)
            except OSError as error:
                if error.errno not in NO_KERNEL_COPY:
                    raise
                copied = os.sendfile(target, source.fileno(), None, left)
            if not copied:
                raise Corrupt(f"{path} is shorter than it was")
            left -= copied
