"""The bytes of the benchmark: pages of 4 KiB that each carry their number, so that any page can be checked alone.

What it is not: compressible, or equal anywhere; a tool that folds equal blocks gains nothing.
"""

from __future__ import annotations

import random
import struct

PAGE = 4096
MIB = 1024 * 1024
_NUMBER = struct.Struct("<QQ")
_SPREAD = 0x9E3779B97F4A7C15
_TAIL = random.Random(20).randbytes(MIB)


def block_of(size: int) -> bytearray:
    """A buffer of `size` bytes (whole pages, up to 1 MiB) for `number_pages`."""
    return bytearray(_TAIL[:size])


def number_pages(block: bytearray, first: int) -> None:
    """Make `block` the pages from `first` on; costs next to nothing, so that it may be done between two timed writes."""
    for index in range(len(block) // PAGE):
        page = first + index
        position = index * PAGE
        _NUMBER.pack_into(block, position, page, page * _SPREAD % (1 << 64))


def page(number: int, position: int = 0) -> bytes:
    """Page `number` of a file, as it stands at `position` (in pages) of the block that it was written with."""
    start = position * PAGE
    return _NUMBER.pack(number, number * _SPREAD % (1 << 64)) + _TAIL[start + _NUMBER.size : start + PAGE]


def check_pages(data: bytes | bytearray | memoryview, first: int, *, block: int = MIB) -> None:
    """Raise ValueError unless `data` is the pages from `first` on of a file that was written in blocks of `block` bytes."""
    in_block = block // PAGE
    for index in range(len(data) // PAGE):
        number = first + index
        if bytes(data[index * PAGE : (index + 1) * PAGE]) != page(number, number % in_block):
            raise ValueError(f"wrong bytes in page {number}")
