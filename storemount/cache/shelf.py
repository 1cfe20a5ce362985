"""Shelf: the folder of the disk cache, for any number of processes.

What it is: a file for each block (`blockfile`), its use and its pin in the file's own time and mode, and the removal of what was not used
for longest.
What it is not: a choice of what to keep (`disk`).
Invariants: a file gets its name when it is complete, and is only removed after that, so nobody needs a lock; of the processes that would
trim, one does. Whoever comes second with a block leaves the first one's, and with it its pin. No state beside the files: whoever comes
finds what there is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from storemount.cache.blockfile import Buffer, Span, encoded
from storemount.cache.pages import open_cached
from storemount.stores.partial import rename_new

_LOCK = "lock"
_UNFINISHED = ".new"
_PRIVATE = 0o700
_KEPT, _PINNED = 0o600, 0o400
_SHARE = 10
"""With each trim a tenth more goes than has to, so that trims are rare."""

_STALE = 3600.0
"""Seconds after which an unfinished file is nobody's any more."""


class Shelf:
    """Its calls block, but for `open_cached`, `pinned` and `is_old`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def claim(self) -> None:
        """Make the folder, and have nobody else write there. Raises OSError: it cannot be had, or is another user's."""
        self.folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        status = self.folder.stat()
        if status.st_uid != os.geteuid():
            raise PermissionError(f"{self.folder} is another user's")
        if status.st_mode & 0o777 != _PRIVATE:
            self.folder.chmod(_PRIVATE)

    def count(self) -> int:
        """Bytes that are there; what is unfinished and nobody's is swept away. Raises OSError."""
        return sum(size for _, size, _, _ in self._files())

    def _path(self, span: Span) -> str:
        name = span.digest.hex()
        return f"{self.folder}/{name[:2]}/{name[2:]}"

    # one block

    def open_cached(self, span: Span) -> int:
        """Without a wait for the disk. Raises FileNotFoundError, and BlockingIOError or another OSError where only `first` can tell."""
        return open_cached(self._path(span))

    def first(self, spans: Iterable[Span]) -> tuple[Span, int] | None:
        """The first of the blocks that is there, and its descriptor. Raises OSError."""
        for span in spans:
            with contextlib.suppress(FileNotFoundError):
                return span, os.open(self._path(span), os.O_RDONLY | os.O_CLOEXEC)
        return None

    def has(self, span: Span) -> bool:
        return os.path.exists(self._path(span))

    def pinned(self, fd: int) -> bool:
        return _is_pinned(os.fstat(fd))

    def is_old(self, fd: int, seconds: float) -> bool:
        """Whether its use was noted last so long ago."""
        return time.time() - os.fstat(fd).st_mtime > seconds

    def touch(self, spans: Iterable[Span]) -> None:
        """These are used now. Raises OSError."""
        for span in spans:
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._path(span))

    def put(self, span: Span, data: Buffer, *, pinned: bool = False) -> int:
        """Write a block; the bytes that it takes, none where there is one already. `pinned`: for good, in the place of what is there.
        Raises OSError."""
        path = self._path(span)
        new = f"{path}.{secrets.token_hex(8)}{_UNFINISHED}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(path), _PRIVATE)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PINNED if pinned else _KEPT)
        try:
            _write(fd, encoded(span, data))
            _write(fd, data)
            size = _size(os.fstat(fd))
            if not pinned:
                rename_new(new, path)
                return size
            with self._lock(fcntl.LOCK_SH):
                size -= _size_at(path)
                os.rename(new, path)
            return size
        except FileExistsError:
            return 0
        finally:
            os.close(fd)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)

    def pin(self, span: Span) -> None:
        """Nobody removes it from now on, if it is there. Raises OSError."""
        with contextlib.suppress(FileNotFoundError), self._lock(fcntl.LOCK_SH):
            os.chmod(self._path(span), _PINNED)

    def unpin(self, spans: Iterable[Span]) -> None:
        """Raises OSError."""
        for span in spans:
            with contextlib.suppress(FileNotFoundError):
                os.chmod(self._path(span), _KEPT)

    def remove(self, spans: Iterable[Span]) -> int:
        """Bytes that are gone with them. Raises OSError."""
        gone = 0
        for span in spans:
            path = self._path(span)
            with contextlib.suppress(FileNotFoundError):
                size = _size_at(path)
                os.unlink(path)
                gone += size
        return gone

    # all of them

    def trim(self, limit: int) -> int:
        """Remove what was not used for longest until at most `limit` bytes are there, unless somebody else does; how many are. Raises
        OSError."""
        try:
            with self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB):
                return self._trim(limit)
        except BlockingIOError:
            return self.count()

    def _trim(self, limit: int) -> int:
        files = sorted(self._files())
        total = sum(size for _, size, _, _ in files)
        goal = limit - limit // _SHARE if total > limit else total
        for _, size, path, pinned in files:
            if total <= goal:
                break
            if not pinned:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                total -= size
        return total

    @contextlib.contextmanager
    def _lock(self, how: int) -> Iterator[None]:
        """Exclusive for whoever removes what nobody has pinned, shared for whoever pins. Raises BlockingIOError with LOCK_NB."""
        fd = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, how)
            yield
        finally:
            os.close(fd)

    def _files(self) -> Iterator[tuple[float, int, str, bool]]:
        """When used last, bytes on the disk, path, and whether it is pinned; what a killed process left unfinished is removed."""
        for entry in self._entries():
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if not entry.name.endswith(_UNFINISHED):
                    yield status.st_mtime, _size(status), entry.path, _is_pinned(status)
                elif time.time() - status.st_mtime > _STALE:
                    os.unlink(entry.path)

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        with os.scandir(self.folder) as folders:
            for folder in folders:
                if len(folder.name) == 2 and folder.is_dir(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError), os.scandir(folder.path) as entries:
                        yield from entries


def _is_pinned(status: os.stat_result) -> bool:
    return not status.st_mode & 0o200


def _size(status: os.stat_result) -> int:
    """Bytes on the disk; some file systems say only later how many blocks that is."""
    return max(status.st_size, status.st_blocks * 512)


def _size_at(path: str) -> int:
    """None where there is no file. Raises OSError."""
    try:
        return _size(os.stat(path))
    except FileNotFoundError:
        return 0


def _write(fd: int, data: Buffer) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
