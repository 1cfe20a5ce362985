"""What the files of a crash test hold: bytes that say whose they are.

What it is: a `Content`, the exact bytes of a file as pieces of numbered writes, small enough to stand in a log; and the way from bytes
back to those who wrote them.
What it is not: a copy of anything; bytes and digests are made when somebody asks.
Invariants:
- Every 512-byte block that one write filled carries the name it was written under, the number of the write and its own offset, again
  and again to its end, and all of it is shifted by the number. So no two writes have 24 bytes in common, two that follow each other
  hardly one, and a mix of two versions equals neither.
- The pieces of a content are adjacent, in order, and begin at 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

BLOCK = 512
HEAD = 24
ZEROS = 0
"""The number of the write that nobody made: a hole."""


class Piece(NamedTuple):
    """The bytes [start, stop) of a file, as write `number` to `name` made them."""

    name: str
    number: int
    start: int
    stop: int


Content = tuple[Piece, ...]
EMPTY: Content = ()


def whole(name: str, number: int, size: int) -> Content:
    """One write made all of it."""
    return (Piece(name, number, 0, size),) if size else EMPTY


def size_of(content: Content) -> int:
    return content[-1].stop if content else 0


def _cut(content: Content, start: int, stop: int) -> Content:
    clipped = (piece._replace(start=max(piece.start, start), stop=min(piece.stop, stop)) for piece in content)
    return tuple(piece for piece in clipped if piece.start < piece.stop)


def truncated(content: Content, size: int) -> Content:
    """Cut, or extended with zeros."""
    return _cut(content, 0, size) + _cut((Piece("", ZEROS, size_of(content), size),), 0, size)


def spliced(content: Content, written: Piece) -> Content:
    """With `written` over what was there; what lies between the old end and its start is zeros."""
    size = size_of(content)
    before = truncated(content, written.start) if written.start > size else _cut(content, 0, written.start)
    return (*before, written, *_cut(content, written.stop, size))


# bytes


@lru_cache(4096)
def identity(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


@lru_cache(256)
def _shift(by: int) -> bytes:
    """A table for bytes.translate."""
    return bytes(byte ^ by for byte in range(256))


def _block(owner: bytes, offset: int) -> bytes:
    return ((owner + offset.to_bytes(8)) * (BLOCK // HEAD + 1))[:BLOCK]


def _shift_of(number: int) -> int:
    return (number * 167 + 89) % 256


def piece_bytes(piece: Piece) -> bytes:
    if piece.number == ZEROS:
        return bytes(piece.stop - piece.start)
    owner = identity(piece.name) + piece.number.to_bytes(8)
    first = piece.start - piece.start % BLOCK
    data = b"".join(_block(owner, offset) for offset in range(first, piece.stop, BLOCK))
    return data[piece.start - first : piece.stop - first].translate(_shift(_shift_of(piece.number)))


def bytes_of(content: Content) -> bytes:
    return b"".join(map(piece_bytes, content))


@lru_cache(20_000)
def digest_of(content: Content) -> str:
    """The SHA-256 of these bytes."""
    return hashlib.sha256(bytes_of(content)).hexdigest()


# back


def described(data: bytes, names: Iterable[str]) -> str:
    """Who wrote which part of `data`, for the message of a check that failed. `names`: those who may have."""
    known = {identity(name): name for name in names}
    runs = [f"{owner} from {first}" for owner, first in _runs(data, known)]
    more = f", and {len(runs) - 6} more" if len(runs) > 6 else ""
    return f"{len(data)} bytes: " + ", ".join(runs[:6]) + more


def _runs(data: bytes, known: dict[bytes, str]) -> Iterator[tuple[str, int]]:
    owners = ((_owner(data[start : start + BLOCK], start, known), start) for start in range(0, len(data), BLOCK))
    for owner, blocks in groupby(owners, key=lambda each: each[0]):
        yield owner, next(blocks)[1]


def _owner(block: bytes, offset: int, known: dict[bytes, str]) -> str:
    """Who wrote this whole block."""
    if not any(block):
        return "zeros"
    plain = block.translate(_shift(block[HEAD - 8] if len(block) > HEAD else 0))  # no offset is so large that its first byte counts
    name, number = known.get(plain[:8]), int.from_bytes(plain[8:16])
    if name is None or plain != _block(plain[:16], offset)[: len(plain)]:
        return "a mix"
    return f"{name} version {number}"
