"""Copies: whole files fetched here, of classes whose files cannot be read from the middle.

What it is: temporary files without a name, one a version, the least recently used given up first.
What it is not: a cache of what can be read in parts (that is `cache`), or anything that outlives the process.
Invariants: together they take at most `most` bytes (or are one file); a version is fetched once however many wait for it. A copy that is
being read stays until that is done.
"""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import BinaryIO

import trio

from storemount.config import GIB
from storemount.errors import Corrupt
from storemount.stores.base import Artifact

Fetch = Callable[[Artifact, BinaryIO], Awaitable[int]]
"""Have all of this version in the file; how many bytes came."""


class Copies:
    """`fetch` is asked for what is not here."""

    def __init__(self, fetch: Fetch, *, most: int = GIB) -> None:
        self._fetch = fetch
        self._most = most
        self._held: OrderedDict[Artifact, BinaryIO] = OrderedDict()
        self._turn = trio.Lock()

    def holds(self, artifact: Artifact) -> bool:
        return artifact in self._held

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes:
        """Raises what `fetch` raises, Corrupt, and OSError of the local disk."""
        async with self._turn:
            file = await self._have(artifact)
            return os.pread(file.fileno(), stop - start, start)

    async def _have(self, artifact: Artifact) -> BinaryIO:
        if artifact in self._held:
            self._held.move_to_end(artifact)
            return self._held[artifact]
        while self._held and sum(each.size for each in self._held) + artifact.size > self._most:
            self._held.popitem(last=False)[1].close()
        file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - it stays open as long as it is held
        try:
            if await self._fetch(artifact, file) != artifact.size:
                raise Corrupt(f"{artifact.key}: not as long as it was said to be")
            file.flush()
        except BaseException:
            file.close()
            raise
        self._held[artifact] = file
        return file

    def close(self) -> None:
        for file in self._held.values():
            file.close()
        self._held.clear()
