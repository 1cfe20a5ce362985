"""Streams: the file objects that the file API gives out.

What it is: Python's own layers (buffer, text) over two raw ones: one version of an object being read, and a staged file being written.
What it is not: aware of stores or paths; both raw streams are given the functions that fetch and that publish.
Invariants:
- A staged file is published once, whole, by `close` (S6). It is not when the `with` block was left by an exception, when a write failed,
  when the program drops it unclosed, or in the child of a fork.
- Until then its bytes are in a file without a name, so a program that is killed leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import io
import os
import tempfile
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, TypeAlias

from storemount.api.volume import Access, Draft
from storemount.config import KIB, MIB

FIRST = 128 * KIB
LARGEST = 8 * MIB
"""Bytes that are fetched at once: the least, and the most, once reading has gone on in order."""

SMALL = MIB
"""A file up to here comes whole with its first read."""

WHOLE = 64 * MIB
"""Bytes that `read()` of everything asks for at once; the fetch splits them into parallel requests."""

Fetch: TypeAlias = Callable[[int, int], "bytes | bytearray | memoryview"]


class VersionStream(io.RawIOBase):
    """`size` bytes that `fetch(start, stop)` gives: one version, whatever happens to its name."""

    def __init__(self, name: str, size: int, fetch: Fetch) -> None:
        self.name = name
        self._size = size
        self._fetch = fetch
        self._position = 0
        self._start = 0
        self._held = memoryview(b"")
        self._ahead = FIRST

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._check_open()
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}.get(whence)
        if base is None:
            raise ValueError(f"invalid whence: {whence!r}")
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        self._check_open()
        target = memoryview(buffer).cast("B")
        data = self._next(len(target))
        target[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _next(self, wanted: int) -> memoryview:
        """What is held of the next `wanted` bytes; fetched first, if nothing is."""
        if wanted == 0 or self._position >= self._size:
            return memoryview(b"")
        held_until = self._start + len(self._held)
        if not self._start <= self._position < held_until:
            self._ahead = min(LARGEST, self._ahead * 2) if self._position == held_until else FIRST
            self._start = 0 if self._size <= SMALL else self._position
            stop = self._size if self._size <= SMALL else min(self._size, self._position + max(wanted, self._ahead))
            self._held = memoryview(self._fetch(self._start, stop))
        inner = self._position - self._start
        return self._held[inner : inner + wanted]

    def readall(self) -> bytes:
        self._check_open()
        parts = []
        while self._position < self._size:
            stop = min(self._size, self._position + WHOLE)
            parts.append(self._fetch(self._position, stop))
            self._position = stop
        return b"".join(parts)

    def close(self) -> None:
        self._held = memoryview(b"")
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")


class StagedStream(io.FileIO):
    """A draft being written: a real file with a descriptor (it can be mapped), that is published by `close`."""

    def __init__(self, draft: Draft, access: Access, name: str) -> None:
        super().__init__(draft.fd, "r+" if access.reads else "w")
        self.name = name
        self._publish = draft.publish
        self._owner = os.getpid()
        self._failure: OSError | None = None
        if access.appends:
            fcntl.fcntl(draft.fd, fcntl.F_SETFL, fcntl.fcntl(draft.fd, fcntl.F_GETFL) | os.O_APPEND)
            if self.seekable():
                self.seek(0, os.SEEK_END)

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self._failure = error
            raise

    def discard(self) -> None:
        """It shall not be published."""
        self._publish = None

    def close(self) -> None:
        """Publish it. Raises what kept it from that, once; its bytes are gone then."""
        if self.closed:
            return
        publish, self._publish = self._publish, None
        try:
            if publish is not None and self._owner == os.getpid():
                if self._failure is not None:
                    raise self._failure
                fd = self.fileno()
                publish(f"/proc/self/fd/{fd}", os.fstat(fd).st_size)
        finally:
            super().close()

    def __del__(self) -> None:
        if not self.closed:
            drop(self)
            self.close()


class StagedWriter(io.BufferedWriter):
    """For bytes, in the modes without "+"."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        _judge(self.raw, kind)
        super().__exit__(kind, error, trace)

    def __del__(self) -> None:
        if not self.closed:
            drop(self.raw)
            self.close()


class StagedRandom(io.BufferedRandom):
    """For bytes, in the modes with "+"."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        _judge(self.raw, kind)
        super().__exit__(kind, error, trace)

    def __del__(self) -> None:
        if not self.closed:
            drop(self.raw)
            self.close()


class StagedText(io.TextIOWrapper):
    """For text; over one of the above."""

    def __init__(self, buffer: StagedWriter | StagedRandom, **options: Any) -> None:
        super().__init__(buffer, **options)
        self._raw = buffer.raw

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        _judge(self._raw, kind)
        super().__exit__(kind, error, trace)

    def __del__(self) -> None:
        if not self._raw.closed:
            drop(self._raw)
            self.close()


def _judge(raw: object, kind: type[BaseException] | None) -> None:
    """The end of a `with` block: only one that ended well says that all was written."""
    if kind is not None and isinstance(raw, StagedStream):
        raw.discard()


def drop(raw: object) -> None:
    """Nobody will close this any more: it may be half of what was meant."""
    if isinstance(raw, StagedStream) and raw._publish is not None:
        raw.discard()
        warnings.warn(f"{raw.name} was not closed, and so not written", ResourceWarning, source=raw, stacklevel=3)


def stage() -> int:
    """The descriptor of an empty file without a name, where Python keeps temporary files (TMPDIR)."""
    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())


def reading(raw: io.RawIOBase, access: Access, **text: str | None) -> IO[Any]:
    """The file object for a mode that only reads."""
    buffer = io.BufferedReader(raw, FIRST)
    return io.TextIOWrapper(buffer, **text) if access.text else buffer  # type: ignore[arg-type]


def writing(draft: Draft, access: Access, name: str, **text: str | None) -> IO[Any]:
    """The file object for every other mode."""
    raw = StagedStream(draft, access, name)
    buffer = StagedRandom(raw, FIRST) if access.reads and raw.seekable() else StagedWriter(raw, FIRST)
    return StagedText(buffer, **text) if access.text else buffer
