"""Bytes in and out of the files that a user's class opens.

What it is: reading a range and writing a whole, by `open`, and nothing else of the class.
What it is not: a choice of names or versions (`store`).
Invariants: what is read has exactly the length that was asked for, or is Corrupt. A writer that nobody waits for any more stops.
"""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

from storemount.config import MIB
from storemount.errors import Corrupt, Unavailable
from storemount.stores.base import Source
from storemount.stores.user.calls import Side, settled

CHUNK = 4 * MIB


async def read_range(side: Side, path: str, start: int, stop: int) -> bytes | None:
    """The bytes [start, stop) of the file; None when it cannot be read from the middle."""
    async with side.opened(path, "rb") as file:
        if start and not await _seek(file, start):
            return None
        parts = []
        left = stop - start
        while left and (data := await _next(side, file, left)):
            parts.append(data)
            left -= len(data)
        if left:
            raise Corrupt(f"{stop - start - left} bytes came for {stop - start}")
        return b"".join(parts)


async def fetch(side: Side, path: str, target: BinaryIO) -> int:
    """The whole file into `target`; its length."""
    async with side.opened(path, "rb") as file:
        while data := await _next(side, file, CHUNK):
            target.write(data)
    return target.tell()


async def length(side: Side, path: str) -> int:
    """How long the file is, where neither `stat` nor `size` says: by its end, else by reading it."""
    async with side.opened(path, "rb") as file:
        try:
            await settled(file.seek(0, io.SEEK_END))
            return int(await settled(file.tell()))
        except (OSError, AttributeError, NotImplementedError, ValueError, TypeError):
            total = 0
    async with side.opened(path, "rb") as file:
        while data := await _next(side, file, CHUNK):
            total += len(data)
    return total


async def fill(side: Side, path: str, source: Source) -> None:
    """Write the bytes of `source` to the file. Raises Corrupt when the source is shorter than it was."""
    with _ours(source) as ours:
        async with side.opened(path, "wb") as theirs:
            left = source.size
            while left:
                source.sent(source.size - left)
                data = ours.read(min(left, CHUNK))
                if not data:
                    raise Corrupt(f"{source.path} is shorter than it was")
                await _write(side, theirs, data)
                left -= len(data)


def _ours(source: Source) -> BinaryIO:
    """The file behind `source`. Raises Corrupt when it is not what it should be, which says nothing about the store."""
    try:
        file = open(source.path, "rb")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise Corrupt(f"{source.path}: {error.strerror}") from error
    if source.size and os.fstat(file.fileno()).st_size < source.size:
        file.close()
        raise Corrupt(f"{source.path} is shorter than it was")
    return file


async def pour(side: Side, path: str, to: str) -> None:
    """Copy one of the class's files to another by way of this machine."""
    async with side.opened(path, "rb") as ours, side.opened(to, "wb") as theirs:
        while data := await _next(side, ours, CHUNK):
            await _write(side, theirs, data)


async def _write(side: Side, file: Any, data: bytes) -> None:
    while data:
        if side.given_up.is_set():
            raise Unavailable("the writing took too long and was given up")
        taken = await settled(file.write(data))
        if not isinstance(taken, int) or taken >= len(data):
            return
        data = data[taken:]


async def _next(side: Side, file: Any, most: int) -> bytes:
    if side.given_up.is_set():
        raise Unavailable("the reading took too long and was given up")
    data = await settled(file.read(min(most, CHUNK)))
    if isinstance(data, str):
        raise Corrupt("open(path, 'rb') gives text, not bytes")
    return bytes(data or b"")


async def _seek(file: Any, start: int) -> bool:
    """Whether the file is now at `start`."""
    if not hasattr(file, "seek") or (hasattr(file, "seekable") and not await settled(file.seekable())):
        return False
    try:
        await settled(file.seek(start))
    except (io.UnsupportedOperation, NotImplementedError):
        return False
    return True
