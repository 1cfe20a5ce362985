"""Keyspace: files and directories over a store's keys, asked of the store each time.

What it is: the rules of POSIX for names, for programs that use a store without mounting it: what is a directory, what may replace what,
and what stays when the last file of a directory goes.
What it is not: a mount. Nothing is cached, journaled or sent later: when a verb returns, the store has it. `namespace` and `application`
keep the same rules for a mount, over what its tree and its journal know.
Invariants:
- What a mount hides (S2: names that cannot be a path, unfinished copies) is not here either, and never harmed: a directory that still
  holds such a key is not empty.
- A directory exists by its marker or by what lies below it; taking the last away leaves a marker (S11).
- Nothing old is deleted before all that is new is there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing

import trio

from storemount.api.keys import key_below, parent_of
from storemount.api.volume import Entry
from storemount.config import MIB
from storemount.errors import (
    AlreadyExists,
    Changed,
    Forbidden,
    Invalid,
    InvalidName,
    IsADirectory,
    NameTooLong,
    NotADirectory,
    NotEmpty,
    NotFound,
    TooManyLinks,
)
from storemount.names.tree import mappable
from storemount.stores.base import EMPTY, Artifact, ArtifactStore, Child, Source, is_partial
from storemount.stores.parallel import for_each
from storemount.stores.parts import ranges, read_part
from storemount.stores.relocation import Relocation

LINKS = 40
"""Symbolic links that are followed, one after the other; as many as Linux follows."""

BULK = 1000
PIECE = 4 * MIB
PIECES = 8
"""A larger read goes in requests of this size, so many at a time."""


class Keyspace:
    """Of one store. Verbs raise the classes of `errors`."""

    def __init__(self, store: ArtifactStore) -> None:
        self.store = store
        self._relocation = Relocation(store)

    # looking

    async def look(self, key: str) -> Child | None:
        """What has this very key; None when the store says that nothing has. The root is there when the store says that it is."""
        if not key:
            await self.store.check()
            return Child("", None)
        if not _shown(key):
            return None
        try:
            return await self.store.stat(key)
        except NotFound:
            return None

    async def follow(self, key: str) -> tuple[str, Child | None]:
        """What `key` leads to, and the key that this has, after all symbolic links."""
        for _ in range(LINKS):
            child = await self.look(key)
            if child is not None and child.artifact is not None and child.artifact.is_symlink:
                key = await self._target(child.artifact)
            elif child is None and (above := await self._link_above(key)) is not None:
                key = key_below(f"{await self._target(above)}{key[len(above.key) :]}")
            else:
                return key, child
        raise TooManyLinks(key)

    async def _target(self, link: Artifact) -> str:
        data = await self.store.read(link, 0, link.size) if link.size else link.told_target
        target = bytes(data).decode("utf-8", "surrogateescape")
        if target.startswith("/"):
            raise Forbidden(f"{link.key} is a symbolic link that leads out of the store")
        return key_below(f"{parent_of(link.key)}/{target}")

    async def _link_above(self, key: str) -> Artifact | None:
        """The symbolic link among the directories of `key`, where this store can have any."""
        while self.store.traits.listed_meta and (key := parent_of(key)):
            child = await self.look(key)
            if child is not None:
                return child.artifact if child.artifact is not None and child.artifact.is_symlink else None
        return None

    async def found(self, key: str) -> tuple[str, Child]:
        """As `follow`. Raises NotFound, or NotADirectory where a file stands in the way."""
        key, child = await self.follow(key)
        if child is None:
            raise await self._absence(key)
        return key, child

    async def file(self, key: str) -> Artifact:
        """The version that is there. Raises IsADirectory, NotFound, NotADirectory."""
        key, child = await self.found(key)
        if child.artifact is None:
            raise IsADirectory(key)
        return child.artifact

    async def _absence(self, key: str) -> NotFound | NotADirectory:
        """Why there is nothing: what is nearest above it says so."""
        above = key
        while above := parent_of(above):
            child = await self.look(above)
            if child is not None:
                return NotFound(key) if child.artifact is None else NotADirectory(key)
        return NotFound(key)

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes | bytearray | memoryview:
        """These bytes of this version, large ones in parallel requests."""
        if stop - start <= PIECE:
            return await self.store.read(artifact, start, stop)
        whole = bytearray(stop - start)

        async def fetch(begin: int) -> None:
            end = min(begin + PIECE, stop)
            whole[begin - start : end - start] = await self.store.read(artifact, begin, end)

        await for_each(range(start, stop, PIECE), PIECES, fetch)
        return whole

    async def pages(self, key: str) -> AsyncGenerator[list[Entry], None]:
        """The rows of a directory. A file that has the name of a directory is hidden (S2), where both are on one page."""
        key = (await self.follow(key))[0] if self.store.traits.listed_meta else key
        empty = True
        async with aclosing(self.store.list(_prefix(key))) as rows:
            async for page in rows:
                empty = empty and not any(row.name for row in page)
                yield await self._entries(key, page)
        if empty and key and (await self.found(key))[1].artifact is not None:
            raise NotADirectory(key)

    async def _entries(self, key: str, page: Sequence[Child]) -> list[Entry]:
        directories = {row.name for row in page if row.artifact is None}
        shown = [row for row in page if mappable(row.name) and (row.artifact is None or row.name not in directories)]
        return [await self._entry(key, row) for row in shown]

    async def _entry(self, key: str, row: Child) -> Entry:
        if row.artifact is None or not row.artifact.is_symlink:
            return Entry(row.name, row.artifact is None)
        try:
            _, target = await self.follow(_joined(key, row.name))
        except (Forbidden, TooManyLinks):
            target = None
        return Entry(row.name, target is not None and target.artifact is None, is_link=True)

    async def size(self, key: str) -> int:
        """Bytes of a file, or of all files below a directory."""
        key, child = await self.found(key)
        if child.artifact is not None:
            return child.artifact.size
        total = 0
        async with aclosing(self.store.list(_prefix(key), recursive=True)) as pages:
            async for page in pages:
                total += sum(row.artifact.size for row in page if row.artifact is not None and _shown(row.name))
        return total

    # making

    async def place_for(self, key: str) -> tuple[str, Child | None]:
        """Where a file called `key` is, or would be made: what has that key now. Raises what forbids it to be a file."""
        key, child = await self.follow(key)
        if child is not None:
            if child.artifact is None:
                raise IsADirectory(key)
            return key, child
        self._check_name(key)
        await self._must_have_parent(key)
        return key, None

    async def publish(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> None:
        """Have the file there, on at most one condition. Raises Changed, AlreadyExists.

        When the answer to a write is lost, the client tries again and meets what it wrote: over an old version that is no failure. Who
        wants to be the first (`absent`) cannot know whose it is, and is told that it is there.
        """
        try:
            await self.store.write(key, source, over=over, absent=absent)
        except Changed:
            if over is None or not await self._holds(key, source):
                raise

    async def _holds(self, key: str, source: Source) -> bool:
        """Whether these very bytes are what is there."""
        found = await self.look(key)
        if found is None or found.artifact is None or found.artifact.size != source.size:
            return False
        for _, start, stop in ranges(source.size, PIECE * PIECES):
            if await self.read(found.artifact, start, stop) != await trio.to_thread.run_sync(read_part, source, start, stop):
                return False
        return True

    async def make_directory(self, key: str) -> None:
        if await self.look(key) is not None:
            raise AlreadyExists(key)
        self._check_name(key)
        await self._must_have_parent(key)
        await self.store.write(key + "/", EMPTY, absent=True)

    async def make_directories(self, key: str) -> None:
        """The directory and those above it, as far as they are missing."""
        missing: list[str] = []
        child: Child | None = None
        while key and (child := await self.look(key)) is None:
            missing.append(key)
            key = parent_of(key)
        if child is not None and child.artifact is not None and (await self.found(key))[1].artifact is not None:
            raise NotADirectory(key) if missing else AlreadyExists(key)
        for each in missing:
            self._check_name(each)
        for each in reversed(missing):
            await self.store.write(each + "/", EMPTY)

    async def _must_have_parent(self, key: str) -> None:
        parent = parent_of(key)
        if not parent:
            return
        _, child = await self.found(parent)
        if child.artifact is not None:
            raise NotADirectory(key)

    def _check_name(self, key: str) -> None:
        """Raises what makes a name impossible here."""
        name, traits = key.rpartition("/")[2], self.store.traits
        if is_partial(name):
            raise InvalidName(f"{name} is what unfinished copies are called")
        if not mappable(name):
            raise NameTooLong(key) if "\0" not in name else Invalid(repr(key))
        if len(key.encode("utf-8", "surrogateescape")) > traits.max_key_bytes:
            raise NameTooLong(f"{key} is longer than the store's {traits.max_key_bytes} bytes")
        if not traits.bytes_names and any("\udc80" <= letter <= "\udcff" for letter in key):
            raise InvalidName(f"{key!r} is not UTF-8, which this store's keys must be")

    # removing

    async def remove(self, key: str) -> None:
        child = await self._present(key)
        if child.artifact is None:
            raise IsADirectory(key)
        await self._keep_parent(key)
        await self.store.delete([key])

    async def remove_tree(self, key: str) -> None:
        """A directory and all below it, page by page. Raises NotEmpty when keys are left that cannot be mapped."""
        if (await self._present(key)).artifact is not None:
            raise NotADirectory(key)
        await self._keep_parent(key)
        hidden, directories = False, [key + "/"]
        async with aclosing(self.store.list(key + "/", recursive=True)) as pages:
            async for page in pages:
                names = [row.name for row in page if row.name]
                hidden = hidden or not all(map(_shown, names))
                directories += [f"{key}/{name}" for name in names if name.endswith("/") and _shown(name)]
                await self._delete(f"{key}/{name}" for name in names if not name.endswith("/") and _shown(name))
        await self._delete(sorted(directories, key=len, reverse=True))
        if hidden:
            raise NotEmpty(f"{key} holds keys that cannot be the names of files")

    async def _delete(self, keys: Iterable[str]) -> None:
        for some in _bulks(keys):
            await self.store.delete(some)

    async def _present(self, key: str) -> Child:
        """What has this very key, not what it leads to. The root is nobody's to take away."""
        if not key:
            raise Forbidden("this is the root of the store")
        child = await self.look(key)
        if child is None:
            raise await self._absence(key)
        return child

    async def _keep_parent(self, key: str) -> None:
        """The directory stays when this, which may be the last of it, goes (S11)."""
        parent, _, name = key.rpartition("/")
        if not parent or self.store.traits.real_directories:
            return
        async with aclosing(self.store.list(parent + "/")) as pages:
            async for page in pages:
                if any(row.name != name for row in page):
                    return
        await self.store.write(parent + "/", EMPTY)

    # moving

    async def rename(self, key: str, to: str, *, replace: bool) -> None:
        """A file or a directory. A directory that fails half-way is whole under its old name, and some of it is under the new one too."""
        child = await self._present(key)
        if key == to:
            return
        if f"{to}/".startswith(f"{key}/"):
            raise Invalid(f"{key} cannot become a part of itself")
        await self._make_way(to, child, replace)
        if child.artifact is None:
            await self._move_directory(f"{key}/", f"{to}/")
            return
        moved = await self._relocation.file(child.artifact, to, doubtful=False)
        if moved is None:
            raise NotFound(key)
        await self._keep_parent(key)
        await self._relocation.clear([key])

    async def _make_way(self, to: str, child: Child, replace: bool) -> None:
        """Whether `child` may take the name `to`."""
        if not to:
            raise Forbidden("this is the root of the store")
        target = await self.look(to)
        if target is None:
            self._check_name(to)
            await self._must_have_parent(to)
            return
        if not replace:
            raise AlreadyExists(to)
        if child.artifact is not None and target.artifact is None:
            raise IsADirectory(to)
        if child.artifact is None and target.artifact is not None:
            raise NotADirectory(to)
        if target.artifact is None and not await self._is_empty(to):
            raise NotEmpty(to)

    async def _is_empty(self, key: str) -> bool:
        async with aclosing(self.store.list(key + "/")) as pages:
            async for page in pages:
                if any(row.name for row in page):
                    return False
        return True

    async def _move_directory(self, old: str, new: str) -> None:
        if self.store.traits.rename:
            await self._relocation.rename(old, new, doubtful=False)
            return
        pairs = await self._relocation.copies(old, new, (), doubtful=False)
        await self._keep_parent(old.removesuffix("/"))
        for some in _bulks([*(each.key for each in pairs if each.key != old), old]):
            await self._relocation.clear(some)

    async def copy(self, key: str, to: str, *, replace: bool) -> None:
        """A copy made by the store itself, of the version that is there now."""
        artifact = await self.file(key)
        to, there = await self.place_for(to)
        if there is not None and not replace:
            raise AlreadyExists(to)
        if artifact.key != to:
            try:
                await self.store.copy(artifact, to)
            except Changed as error:
                raise Changed(f"{key} was changed while it was copied") from error


def _shown(name: str) -> bool:
    """Whether every segment can be a file name (S2); that of a directory ends in a slash."""
    return all(map(mappable, name.removesuffix("/").split("/")))


def _prefix(key: str) -> str:
    return f"{key}/" if key else ""


def _joined(key: str, name: str) -> str:
    return f"{key}/{name}" if key else name


def _bulks(keys: Iterable[str]) -> Iterator[list[str]]:
    """As many at once as one request can delete."""
    some: list[str] = []
    for key in keys:
        some.append(key)
        if len(some) == BULK:
            yield some
            some = []
    if some:
        yield some
