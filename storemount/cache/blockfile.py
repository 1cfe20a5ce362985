"""Block files: one block of one version of one object, in a file of its own that tells whether it is whole.

What it is: the format, its checksums, and reading a range of one back.
What it is not: which files there are, or how many (`disk`).
Invariants:
- What `read` gives was written for exactly this block of this version of this store: name, length and checksum say so. A flipped bit, a
  file cut short, zeros after a power cut, a file of another format: all are None.
- A file is never changed after it has its name, so any number of processes read it without a lock.

Format: magic (8 bytes), digest of the block's name (16), length of the data (8), checksum of the head (8), a checksum (8) for each chunk of
128 KiB, the data. Numbers are little-endian; checksums are XXH3-64 (https://xxhash.com), of the head without its own place.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from hashlib import blake2b

from xxhash import xxh3_64_intdigest

from storemount.cache.pages import read_file
from storemount.config import KIB
from storemount.stores.base import Artifact

MAGIC = b"smblock1"
CHUNK = 128 * KIB
_HEAD = struct.Struct("<8s16sQQ")
_MARK = struct.Struct("<Q")

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes [start, stop) of an artifact, in the store that `store` names."""

    store: str
    artifact: Artifact
    start: int
    stop: int

    @property
    def digest(self) -> bytes:
        """What the file is called by. Of the artifact the version counts, not what is known of its metadata."""
        parts = (self.store, self.artifact.key, self.artifact.version, str(self.artifact.size), str(self.start), str(self.stop))
        return blake2b(b"\0".join(map(os.fsencode, parts)), digest_size=16).digest()


def encoded(span: Span, data: Buffer) -> bytes:
    """The head of the file; the data follows it."""
    view = memoryview(data)
    marks = b"".join(_MARK.pack(xxh3_64_intdigest(view[first : first + CHUNK])) for first in range(0, len(view), CHUNK))
    head = (MAGIC, span.digest, len(view))
    return _HEAD.pack(*head, _checksum(_HEAD.pack(*head, 0), marks)) + marks


def _checksum(head: bytes, marks: bytes) -> int:
    return xxh3_64_intdigest(head + marks)


async def read(fd: int, span: Span, start: int, stop: int) -> memoryview | None:
    """The bytes [start, stop) of the artifact out of the open file of `span`, which holds them; None when it is not whole.

    Inline when the kernel has the pages. Raises OSError."""
    length = span.stop - span.start
    marks = _MARK.size * -(-length // CHUNK)
    head = await read_file(fd, 0, _HEAD.size + marks)
    if not _fits(bytes(head), span, length, marks):
        return None
    first, last = (start - span.start) // CHUNK * CHUNK, min(length, -(-(stop - span.start) // CHUNK) * CHUNK)
    data = await read_file(fd, _HEAD.size + marks + first, last - first)
    if len(data) != last - first:
        return None
    for offset in range(first, last, CHUNK):
        (mark,) = _MARK.unpack_from(head, _HEAD.size + _MARK.size * (offset // CHUNK))
        if xxh3_64_intdigest(data[offset - first : offset - first + CHUNK]) != mark:
            return None
    return data[start - span.start - first : stop - span.start - first]


def _fits(head: bytes, span: Span, length: int, marks: int) -> bool:
    if len(head) != _HEAD.size + marks:
        return False
    magic, digest, told, checksum = _HEAD.unpack_from(head)
    whole = checksum == _checksum(_HEAD.pack(magic, digest, told, 0), head[_HEAD.size :])
    return whole and (magic, digest, told) == (MAGIC, span.digest, length)
