"""Relocation: moving a file or a directory in the store.

What it is: the order of the requests, and going on where an earlier attempt has stopped.
What it is not: the names that the mount shows, or trying again (the journal's worker does).
Invariants: at any moment every file is whole under its old key, its new key, or both; nothing old is deleted before all copies are made.
Each step can be done again: what a copy has made already is not copied twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace

from storemount.errors import EXDEV, Changed, NotFound, OtherStore, Unavailable
from storemount.stores.base import EMPTY, Artifact, ArtifactStore
from storemount.stores.parallel import for_each

COPIES = 32
"""Server-side copies in flight while a directory moves."""

Pairs = dict[Artifact, Artifact]
"""Where the bytes were -> where they are."""


class Relocation:
    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    async def file(self, artifact: Artifact, to: str, *, doubtful: bool) -> tuple[Artifact, Artifact] | None:
        """Have it under the key `to`: what it was, and what it is there; the old key is still to be cleared. `doubtful`: an earlier attempt
        may have done it.

        What somebody else has put under the old key meanwhile moves in its place; None when nothing is there any more.
        """
        try:
            return artifact, await self._placed(artifact, to)
        except Changed:
            now = await self._found(artifact.key)
            done = await self._found(to) if doubtful else None
            if done is not None and (_alike(done, artifact) or (now is None and done.size == artifact.size)):
                return artifact, done
            return None if now is None else (now, await self._placed(now, to))

    async def _placed(self, artifact: Artifact, to: str) -> Artifact:
        if self._store.traits.rename:
            found = await self._found(artifact.key)
            if found != artifact:
                raise Changed(artifact.key)
            try:
                await self._store.rename(artifact.key, to)
                return replace(artifact, key=to)
            except OSError as error:
                if error.errno != EXDEV:
                    raise
            # A folder with another file system somewhere below it.
            made = await self._store.copy(artifact, to)
            if await self._found(artifact.key) != artifact:
                raise Changed(artifact.key)
            await self._store.delete([artifact.key])
            return made
        return await self._store.copy(artifact, to)

    async def _found(self, key: str) -> Artifact | None:
        try:
            return (await self._store.stat(key)).artifact
        except NotFound:
            return None

    async def rename(self, old: str, new: str, *, doubtful: bool) -> None:
        """An atomic rename of a directory (both keys end in "/"). `doubtful`: as above."""
        try:
            try:
                await self._store.rename(old, new)
            except OSError as error:
                if error.errno != EXDEV:
                    raise
                # The kernel says so whether it is there or not; somebody may have moved it by hand since.
                await self._store.stat(old.removesuffix("/"))
                said = f"{old} and {new} lie in different file systems of the store's machine; move the files, then retry"
                raise OtherStore(said) from error
        except NotFound:
            if not doubtful:
                raise

    async def copies(
        self, prefix: str, to: str, known: Iterable[Artifact], *, doubtful: bool, uncleared: Callable[[], None] = lambda: None
    ) -> Pairs:
        """Have everything below `prefix` below `to` too, in parallel. Raises what a listing or a copy raises; what was copied stays.

        `known`: what the caller speaks of below `prefix`; an earlier attempt may have cleared that away already. `uncleared` is called when
        it turns out that none has: something is there that has no copy yet."""
        pairs: Pairs = {}
        await self._store.write(to, EMPTY)
        there = await self._there(to) if doubtful else {}

        async def copy(old: Artifact) -> None:
            key = to + old.key[len(prefix) :]
            made = there.get(key)
            if made is None:
                uncleared()
            try:
                pairs[old] = made if made is not None and _alike(made, old) and not key.endswith("/") else await self._copy(old, key)
            except (NotFound, Changed) as error:
                raise Unavailable(f"{old.key} was changed while its directory moved") from error

        async with aclosing(self._store.list(prefix, recursive=True)) as pages:
            async for page in pages:
                await for_each([child.artifact for child in page if child.artifact is not None], COPIES, copy)
        copied = {old.key for old in pairs}
        for old in known:
            made = there.get(to + old.key[len(prefix) :])
            if made is not None and old.key not in copied and made.size == old.size:
                pairs[old] = made
        return pairs

    async def replaced(self, prefix: str, pairs: Pairs) -> set[str]:
        """The keys below `prefix` that have another version by now than the one that was copied: somebody else's, which stays."""
        copied = {old.key: old for old in pairs}
        now = await self._there(prefix)
        return {key for key, artifact in now.items() if key in copied and artifact != copied[key]}

    async def newer(self, prefix: str, to: str) -> set[str]:
        """The keys below `prefix` that are newer than their copies below `to`."""
        copies = await self._there(to)
        old = await self._there(prefix)
        return {key for key, artifact in old.items() if (copy := copies.get(to + key[len(prefix) :])) and artifact.mtime_ns > copy.mtime_ns}

    async def is_newer(self, key: str, copy: Artifact) -> bool:
        """Whether what has this key is newer than what was made of it."""
        if self._store.traits.rename:
            return False
        found = await self._found(key)
        return found is not None and found.mtime_ns > copy.mtime_ns

    async def _there(self, prefix: str) -> dict[str, Artifact]:
        """What an earlier attempt has copied already."""
        found = {}
        async with aclosing(self._store.list(prefix, recursive=True)) as pages:
            async for page in pages:
                found.update({child.artifact.key: child.artifact for child in page if child.artifact is not None})
        return found

    async def twins(self, prefix: str, to: str) -> list[str]:
        """The old keys that have a copy, when an earlier daemon made those: what has none was put there by somebody else, and stays."""
        copies = await self._there(to)
        old = await self._there(prefix)
        done = [
            key
            for key, artifact in old.items()
            if (copy := copies.get(to + key[len(prefix) :])) and copy.size == artifact.size and copy.mtime_ns >= artifact.mtime_ns
        ]
        return [*(key for key in done if key != prefix), prefix]

    async def _copy(self, old: Artifact, to: str) -> Artifact:
        if not self._store.traits.modes and to.endswith("/") and "//" not in to and not old.size:
            return await self._store.write(to, EMPTY)
        return await self._store.copy(old, to)

    async def clear(self, keys: Sequence[str]) -> None:
        """Delete the old keys, where moving was copying."""
        if not self._store.traits.rename:
            await self._store.delete(keys)


def _alike(one: Artifact, other: Artifact) -> bool:
    """Whether two objects surely hold the same bytes: a copy keeps the token where it is made of the content."""
    return one.version == other.version and one.size == other.size
