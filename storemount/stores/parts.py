"""Cutting a write into requests: when it is one, how large its parts are, and reading them.

What it is: arithmetic over the limits of S3, and the reading of exactly the bytes that a `Source` promises.
What it is not: an upload (the engines do that).
Invariants: the parts of a source are adjacent, in order, and cover it; all but the last have `part_size` bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from storemount.config import MIB
from storemount.errors import Corrupt, TooLarge
from storemount.stores.base import Source

SINGLE_PUT = 16 * MIB
"""Up to here a write is one request."""

CONCURRENT = 4
"""Parts of one upload in flight."""

_PART = 8 * MIB
_MOST_PARTS = 10_000
_LARGEST_PART = 5 * 1024**3
_SLOWEST = 512 * 1024


def part_size(size: int, smallest: int = _PART) -> int:
    """Bytes in each part of `size` bytes: at least `smallest`, more where that would make too many parts. Raises TooLarge."""
    least = -(-size // _MOST_PARTS)
    if least > _LARGEST_PART:
        raise TooLarge(f"{size} bytes are more than one object can hold")
    return max(smallest, -(-least // MIB) * MIB)


def in_memory(source: Source) -> int:
    """The most bytes that a write of `source` holds at once: all of it, or the parts in flight and the next one."""
    return source.size if source.size <= SINGLE_PUT else part_size(source.size) * (CONCURRENT + 1)


def ranges(size: int, part: int) -> Iterator[tuple[int, int, int]]:
    """(number from 1, start, stop) of each part."""
    for number, start in enumerate(range(0, size, part), 1):
        yield number, start, min(start + part, size)


def patience(in_flight: int, deadline: float) -> float:
    """Seconds that a request may take when so many bytes are on their way: the deadline, and a slow line's time for the bytes."""
    return deadline + in_flight / _SLOWEST


def read_part(source: Source, start: int, stop: int) -> bytes:
    """The bytes [start, stop) of `source`, which hears that those before are under way. Raises Corrupt when the file is shorter than it
    should be."""
    source.sent(start)
    fd = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(fd, stop - start, start)
        while len(data) < stop - start:
            more = os.pread(fd, stop - start - len(data), start + len(data))
            if not more:
                raise Corrupt(f"{source.path} is shorter than it was")
            data += more
    finally:
        os.close(fd)
    return data
