"""UserStore: a user's own Python class as an artifact store.

What it is: the protocol over the artifact-store abstraction's methods (open, copyfile, exists, isdir, listdir, makedirs, remove, rename,
rmtree, stat, ...), of whatever quality: each is tried out before it is relied on (`abilities`), and what it cannot do is a limit of the
mount.
What it is not: as strict as the stores made for one service. A condition (S9) is checked just before the step that publishes; a read is
checked against its version afterwards; a directory is removed after a look that it is empty, as the abstraction knows only `rmtree`.
Invariants:
- An object is written beside its name, as `.storemount-*.part`, measured, and renamed, wherever the class's rename moves files (S6).
- "Not found" counts only when `exists` and `isdir` say so too, and the root is there (S3). The root itself is never made.
- A directory that would vanish with its last file is kept by a hidden file, `MARKER`, in it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import BinaryIO

import trio

from storemount.errors import (
    AlreadyExists,
    Changed,
    Corrupt,
    IsADirectory,
    MissingStore,
    NotADirectory,
    NotFound,
    ReadOnly,
    StoreMountError,
    Unavailable,
)
from storemount.stores.base import EMPTY, Artifact, Child, Source, Traits, is_partial
from storemount.stores.conditions import ALWAYS, Condition
from storemount.stores.flat import FlatStore
from storemount.stores.metadata import SECOND
from storemount.stores.parallel import for_each
from storemount.stores.partial import ABANDONED, partial_name
from storemount.stores.parts import patience
from storemount.stores.user import steps, streams
from storemount.stores.user.abilities import Abilities, Rename, Trial
from storemount.stores.user.calls import Side, UserCalls
from storemount.stores.user.copies import Copies
from storemount.stores.user.facts import Failures, name_of
from storemount.stores.user.sight import Sight
from storemount.stores.user.steps import MARKER

PAGE = 200
TOGETHER = 25
"""Names that are asked for in one trip to a thread."""

LAST_WORDS = 2.0
"""Seconds that clearing away after a failure may take."""

LOOKS = 8
"""Such trips, or removals, at the same time."""


Rows = list[Child]

log = logging.getLogger(__name__)


class UserStore(FlatStore):
    """The class behind `calls`, at `root` (a path or URI as the class takes it). `try_out`: whether somebody means to write, and the class
    may be tried out. `deadline` in seconds bounds each call (S14). `engine` is what `status` calls it."""

    def __init__(self, root: str, calls: UserCalls, failures: Failures, *, try_out: bool, deadline: float, engine: str = "python") -> None:
        self.uri = root.rstrip("/") or root
        self._sight = Sight(root, lambda: self.traits.real_directories)
        self.traits = Traits(engine=engine)  # The least of everything, until the class was tried.
        self._calls = calls
        self._failures = failures
        self._try_out = try_out
        self._deadline = deadline
        self._known: Abilities | None = None
        self._trying = trio.Lock()
        self._copies = Copies(self._fetch)

    async def check(self) -> None:
        there, tried = await self._calls.run("", self._sight.root_shows), self._known is not None
        if self._try_out and (await self._able()).real and not there:
            if not tried:
                # It lists what is not there as empty, and the trial has made it just now.
                await self._calls.run("", partial(steps.emptied, path=self._sight.path("")), finish=True)
            raise MissingStore(f"the class finds nothing at {self.uri}")

    async def _able(self) -> Abilities:
        async with self._trying:
            if self._known is None:
                folder = self._sight.path(partial_name())
                known = await self._calls.run("", lambda side: Trial(side, self._failures, folder).run(), finish=True)
                self.traits = replace(self.traits, rename=known.renames, real_directories=known.real, limits=known.limits())
                self._known = known
            return self._known

    # looking

    async def stat(self, key: str) -> Child:
        name = key.rpartition("/")[2]
        if is_partial(name):
            raise NotFound(key)
        return Child(name, await self._look(key))

    async def describe(self, key: str) -> Artifact:
        if (found := await self._look(key)) is None:
            raise NotFound(f"{key}: that is a directory")
        return found

    async def _look(self, key: str) -> Artifact | None:
        """What has this key; None for a directory. Raises NotFound only when that is sure."""
        return await self._calls.run(key, partial(self._sight.examine, key=key))

    async def _confirm_root(self) -> None:
        await self._calls.run("", self._sight.root_is_there)

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        below = [""]
        while below:
            above = below.pop()
            names = sorted(name for name in await self._names(prefix + above) if not is_partial(name))
            inner = []
            for start in range(0, len(names), PAGE):
                rows = await self._rows(prefix + above, names[start : start + PAGE])
                inner += [f"{above}{row.name}/" for row in rows if row.artifact is None]
                yield [_deep(row, prefix, above) for row in rows] if recursive else rows
            below += reversed(inner) if recursive else ()

    async def _rows(self, prefix: str, names: Sequence[str]) -> Rows:
        """One page: each name has to be asked for, several in one trip to a thread."""
        rows: Rows = []

        async def look(some: Sequence[str]) -> None:
            rows.extend(await self._calls.run(prefix, partial(self._examine_all, prefix=prefix, names=some)))

        await for_each([names[start : start + TOGETHER] for start in range(0, len(names), TOGETHER)], LOOKS, look)
        return sorted(rows, key=lambda row: row.name)

    async def _examine_all(self, side: Side, prefix: str, names: Sequence[str]) -> Rows:
        rows = []
        for name in names:
            with suppress(NotFound):  # It has gone since.
                rows.append(Child(name, await self._sight.examine(side, prefix + name)))
        return rows

    async def _names(self, prefix: str) -> set[str]:
        path = self._sight.path(prefix)
        try:
            names = {name_of(each) for each in await self._calls.call(prefix, "listdir", path)} - {""}
            if names or await self._calls.call(prefix, "isdir", path):
                return names
        except (NotFound, NotADirectory):
            pass
        await self._confirm_root()
        if prefix and self.traits.real_directories:
            raise NotFound(prefix)
        return set()

    # reading

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes:
        if self._copies.holds(artifact) or (start and self._known is not None and not self._known.seeks):
            return await self._copies.read(artifact, start, stop)
        limit = patience(stop - start, self._deadline)
        try:
            data = await self._calls.run(artifact.key, partial(self._read, artifact=artifact, start=start, stop=stop), limit=limit)
        except (NotFound, IsADirectory) as error:
            raise Changed(artifact.key) from error
        return await self._copies.read(artifact, start, stop) if data is None else data

    async def _read(self, side: Side, artifact: Artifact, start: int, stop: int) -> bytes | None:
        try:
            data = await streams.read_range(side, self._sight.path(artifact.key), start, stop)
        except Corrupt:
            await self._sight.expect(side, artifact)
            raise
        await self._sight.expect(side, artifact)
        return data

    async def _fetch(self, artifact: Artifact, target: BinaryIO) -> int:
        path, limit = self._sight.path(artifact.key), patience(artifact.size, self._deadline)
        try:
            count = await self._calls.run(artifact.key, lambda side: streams.fetch(side, path, target), limit=limit)
            await self._calls.run(artifact.key, partial(self._sight.expect, artifact=artifact))
        except (NotFound, IsADirectory) as error:
            raise Changed(artifact.key) from error
        return count

    # writing

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        condition = Condition(over, absent)
        able = await self._writable()
        await self._confirm(key, condition)
        if key.endswith("/"):
            return await self._mark(key, able)
        limit = patience(source.size, self._deadline)

        async def fill(path: str) -> None:
            await self._calls.run(key, lambda side: streams.fill(side, path, source), limit=limit, finish=True)

        return await self._publish(key, source.size, fill, able, condition)

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        able = await self._writable()
        if key.endswith("/"):
            return await self._mark(key, able)
        await self._confirm(artifact.key, Condition(over=artifact))
        limit = patience(artifact.size, self._deadline)

        async def fill(path: str) -> None:
            await self._calls.run(key, lambda side: steps.copied(side, self._sight.path(artifact.key), path), limit=limit, finish=True)

        made = await self._publish(key, artifact.size, fill, able)
        await self._confirm(artifact.key, Condition(over=artifact))
        return made

    async def _writable(self) -> Abilities:
        able = await self._able()
        if able.refuses:
            raise ReadOnly(able.refuses)
        return able

    async def _confirm(self, key: str, condition: Condition) -> None:
        """Raises Changed or AlreadyExists when the store does not hold what the condition wants."""
        if condition.given:
            await self._calls.run(key, partial(self._sight.meet, key=key, condition=condition))

    async def _publish(
        self, key: str, size: int, fill: Callable[[str], Awaitable[None]], able: Abilities, condition: Condition = ALWAYS
    ) -> Artifact:
        """Have `fill` make the object at `key`, beside it first where a file can be moved into place."""
        if able.rename is Rename.NOTHING:
            await self._below(key, lambda: fill(self._sight.path(key)))
            return await self._calls.run(key, partial(self._sight.measured, key=key, size=size))
        beside = "".join(key.rpartition("/")[:2]) + partial_name()
        place = partial(self._place, key=key, beside=beside, size=size, replaces=able.rename is Rename.REPLACES, condition=condition)
        try:
            await self._below(key, lambda: fill(self._sight.path(beside)))
            return await self._calls.run(key, place, finish=True)
        except BaseException:
            await self._discard(beside)
            raise

    async def _place(self, side: Side, key: str, beside: str, size: int, *, replaces: bool, condition: Condition) -> Artifact:
        """Give the finished file its name, if it is whole, and the condition holds, and somebody still waits for it."""
        await self._sight.measured(side, beside, size)
        if condition.given:
            await self._sight.meet(side, key, condition)
        if side.given_up.is_set():
            raise Unavailable(f"{key}: it took too long and was given up")
        await steps.move_file(side, self._sight.path(beside), self._sight.path(key), replaces=replaces)
        return await self._sight.measured(side, key, size)

    async def _below(self, key: str, act: Callable[[], Awaitable[None]]) -> None:
        """Do what makes a file; when it is refused for want of the directory, make that first."""
        try:
            await act()
        except (NotFound, NotADirectory):
            if "/" not in key:
                await self._confirm_root()
                raise
            await self._make_directory(key.rpartition("/")[0])
            await act()

    async def _discard(self, key: str) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(LAST_WORDS):
            try:
                await self._delete_file(key)
            except StoreMountError as error:
                log.warning("an unfinished file is left in the store: %s", error)

    # directories

    async def _mark(self, key: str, able: Abilities) -> Artifact:
        """A directory: a real one, or a marker that keeps it."""
        name = key.rstrip("/")
        await self._make_directory(name)
        if not able.real:
            path = self._sight.path(key + MARKER)
            await self._calls.run(key, lambda side: streams.fill(side, path, EMPTY), finish=True)
        if await self._look(name) is not None:
            raise NotADirectory(name)
        return _directory(key)

    async def _make_directory(self, key: str) -> None:
        """With those above it, but never the root."""
        await self._confirm_root()
        parts = key.split("/")
        try:
            await self._make_one("makedirs", key)
        except NotFound:  # It makes one level only.
            for depth in range(1, len(parts) + 1):
                await self._make_one("makedirs", "/".join(parts[:depth]))

    async def _make_one(self, method: str, key: str) -> None:
        try:
            await self._calls.call(key, method, self._sight.path(key), finish=True)
        except AlreadyExists:
            if not await self._calls.call(key, "isdir", self._sight.path(key)):
                raise NotADirectory(key) from None

    async def rename(self, key: str, to: str) -> None:
        await self._confirm_root()
        replaces = (await self._writable()).rename is Rename.REPLACES
        step = steps.move_directory if key.endswith("/") else partial(steps.move_file, replaces=replaces)
        move = partial(step, old=self._sight.path(key), new=self._sight.path(to))
        await self._below(to.rstrip("/"), lambda: self._calls.run(key, move, finish=True))

    # removing

    async def delete(self, keys: Sequence[str]) -> None:
        await for_each([key for key in keys if not key.endswith("/")], LOOKS, self._delete_file)
        # A directory goes after what was in it.
        for key in sorted((key for key in keys if key.endswith("/")), key=len, reverse=True):
            with suppress(NotFound, NotADirectory):
                await self._calls.run(key, partial(steps.emptied, path=self._sight.path(key)), finish=True)

    async def _delete_file(self, key: str) -> None:
        with suppress(NotFound, NotADirectory):
            await self._calls.run(key, partial(steps.remove_file, path=self._sight.path(key)), finish=True)

    async def sweep(self, key: str) -> None:
        """Remove what is unfinished beside `key`. Whether somebody still writes it nobody can say but the clock: it goes when it has not
        changed for an hour, and stays where the class does not tell when that was."""
        folder = key.rstrip("/").rpartition("/")[0]
        try:
            names = map(name_of, await self._calls.call(key, "listdir", self._sight.path(folder)))
        except (NotFound, NotADirectory):
            return
        before = (time.time() - ABANDONED) * SECOND
        for name in names:
            if is_partial(name) and name != MARKER:
                path = self._sight.path(f"{folder}/{name}" if folder else name)
                await self._calls.run(key, partial(steps.swept, path=path, before=before), finish=True)

    async def aclose(self) -> None:
        self._copies.close()
        await self._calls.aclose()


def _directory(key: str) -> Artifact:
    return Artifact(key, "directory", 0, 0)


def _deep(row: Child, prefix: str, above: str) -> Child:
    """`row` of the directory `above` as a row of a recursive listing, where a directory is its marker."""
    if row.artifact is not None:
        return Child(above + row.name, row.artifact)
    name = f"{above}{row.name}/"
    return Child(name, _directory(prefix + name))
