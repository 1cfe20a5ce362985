"""What a user's class can really do: tried out in a folder of its own, before anything depends on it.

What it is: the trial, its verdict, and the sentences that tell the user what the verdict costs.
What it is not: a test of the class; what the trial does not need is not looked at.
Invariants: the trial touches nothing but the folder `.storemount-*.part` below the root, which it makes and removes. Whatever it could not
show counts as "cannot". A store that does not answer is a failure, not a verdict.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Any

from storemount.errors import StoreMountError, TimedOut, Unreachable
from storemount.stores.user.calls import Side
from storemount.stores.user.facts import Facts, Failures, name_of
from storemount.stores.user.steps import renamed
from storemount.stores.user.streams import read_range

LENGTH = len(b"first.")
"""Bytes in each file of a trial."""


class Rename(enum.Enum):
    """What `rename` does with a file."""

    NOTHING = "nothing"
    MOVES = "moves"
    REPLACES = "replaces"


@dataclass(frozen=True, slots=True)
class Abilities:
    """`refuses`: why it takes no files ("" when it does). `rename`: what becomes of a file. `keeps`: a renamed file or directory is the
    same version. `moves_directories`: with all that is in them. `real`: a directory that was made is there, and outlives its last file.
    `tells`: of two contents of one length written one after the other, `stat` says that they are two. `seeks`: a file can be read from the
    middle. `sizes`: `stat` or `size` says how long a file is."""

    refuses: str = ""
    rename: Rename = Rename.NOTHING
    keeps: bool = False
    moves_directories: bool = False
    real: bool = False
    tells: bool = False
    seeks: bool = False
    sizes: bool = False

    @property
    def renames(self) -> bool:
        """Whether a rename does what the protocol means by one: of files and directories, and of the same version."""
        return self.rename is not Rename.NOTHING and self.moves_directories and self.keeps

    @property
    def _moving(self) -> str:
        return "makes another version of what it moves" if self.moves_directories else "does not move directories"

    def limits(self) -> tuple[str, ...]:
        if self.refuses:
            return (f"nothing can be written (S5): {self.refuses}",)
        told = {
            "a file that is replaced is absent for a moment (S6): its rename does not replace": self.rename is Rename.MOVES,
            "others see a file grow while it goes up, and half of it if that fails (S6): its rename moves no files": (
                self.rename is Rename.NOTHING
            ),
            f"a renamed directory is copied file by file (S10): its rename {self._moving}": not self.renames,
            "an empty directory is kept by a hidden file .storemount-directory.part in it (S11)": not self.real,
            "a change that leaves length and time alone is not noticed (S4): its stat tells no version": not self.tells,
            "a file is fetched whole before it is read from the middle: it cannot seek": not self.seeks,
            "each file is opened when it is listed, to learn its length: its stat does not say": not self.sizes,
        }
        return tuple(sentence for sentence, holds in told.items() if holds)


class Trial:
    """One run in `folder`, which nobody else has."""

    def __init__(self, side: Side, failures: Failures, folder: str) -> None:
        self._side = side
        self._failures = failures
        self._folder = folder
        self._why = ""

    async def run(self) -> Abilities:
        """The verdict. Raises TimedOut, Unreachable."""
        found = await self._verdict()
        if not found.refuses or found.real:
            await self._clear()
        return found

    async def _verdict(self) -> Abilities:
        one = f"{self._folder}/one"
        made = await self._can(self._side.call("makedirs", self._folder))
        why = self._why
        if not await self._can(self._written(one, b"first.")) or await self._bytes(one) != b"first.":
            shown = made and await self._is(self._side.call("isdir", self._folder))
            return Abilities(self._why or why or "what is written cannot be read again", real=shown)
        found = Abilities(seeks=await self._seeks(one), sizes=await self._sizes(one))
        found = await self._with_renames(found, one)
        return replace(found, real=made and await self._is_real())

    async def _with_renames(self, found: Abilities, one: str) -> Abilities:
        two, to = f"{self._folder}/two", f"{self._folder}/to"
        before = await self._facts(one)
        moved = await self._can(self._renamed(one, to)) and await self._bytes(to) == b"first." and not await self._there(one)
        after = await self._facts(to if moved else one)
        await self._can(self._written(two, b"second"))
        rival = await self._facts(two)
        tells = bool(before and rival and before.version and before.version != rival.version)
        if not moved:
            return replace(found, tells=tells)
        replaced = await self._can(self._renamed(two, to)) and await self._bytes(to) == b"second" and not await self._there(two)
        keeps = before is not None and before == after
        directories = await self._moves_directories()
        rename = Rename.REPLACES if replaced else Rename.MOVES
        return replace(
            found, tells=tells, rename=rename, keeps=keeps and directories is not None, moves_directories=directories is not False
        )

    async def _moves_directories(self) -> bool | None:
        """Whether a directory moves with all that is in it; None when what was in it is another version then."""
        old, new = f"{self._folder}/old", f"{self._folder}/new"
        for folder in (old, f"{old}/inner"):
            await self._can(self._side.call("makedirs", folder))
        if not await self._can(self._written(f"{old}/inner/file", b"below.")):
            return False
        before = await self._facts(f"{old}/inner/file")
        if not await self._can(self._renamed(old, new)) or await self._bytes(f"{new}/inner/file") != b"below.":
            return False
        if await self._there(f"{old}/inner/file") or await self._is(self._side.call("isdir", old)):
            return False
        return True if before == await self._facts(f"{new}/inner/file") else None

    async def _is_real(self) -> bool:
        """Whether the folder has a place in the root, and a directory in it outlives its file."""
        empty = f"{self._folder}/empty"
        await self._can(self._side.call("makedirs", empty))
        await self._can(self._written(f"{empty}/last", b"x"))
        await self._can(self._side.call("remove", f"{empty}/last"))
        return await self._is(self._side.call("isdir", empty)) and await self._listed("empty")

    async def _listed(self, name: str) -> bool:
        names = await self._value(self._side.call("listdir", self._folder))
        return name in map(name_of, names or ())

    async def _clear(self) -> None:
        if self._side.has("rmtree") and await self._can(self._side.call("rmtree", self._folder)) and not await self._there(self._folder):
            return
        for name in ("one", "two", "to", "old/inner/file", "new/inner/file", "empty/last"):
            if await self._there(f"{self._folder}/{name}"):
                await self._can(self._side.call("remove", f"{self._folder}/{name}"))

    # one step each

    async def _written(self, path: str, data: bytes) -> None:
        async with self._side.opened(path, "wb") as file:
            taken = file.write(data)
            if hasattr(taken, "__await__"):
                await taken

    async def _renamed(self, old: str, new: str) -> None:
        await renamed(self._side, old, new)

    async def _bytes(self, path: str) -> bytes | None:
        told: bytes | None = await self._value(read_range(self._side, path, 0, LENGTH))
        return told

    async def _seeks(self, path: str) -> bool:
        return bool(await self._value(read_range(self._side, path, 2, 4)) == b"rs")

    async def _facts(self, path: str) -> Facts | None:
        told = await self._value(self._side.call("stat", path))
        return None if told is None else Facts.of(told)

    async def _sizes(self, path: str) -> bool:
        facts = await self._facts(path)
        if facts is not None and facts.size is not None:
            return facts.size == LENGTH
        return self._side.has("size") and await self._value(self._side.call("size", path)) == LENGTH

    async def _there(self, path: str) -> bool:
        return await self._is(self._side.call("exists", path))

    async def _is(self, step: Awaitable[Any]) -> bool:
        return bool(await self._value(step))

    async def _can(self, step: Awaitable[Any]) -> bool:
        try:
            with self._failures.named("", quietly=True):
                await step
        except (TimedOut, Unreachable):
            raise
        except StoreMountError as error:
            self._why = str(error)
            return False
        return True

    async def _value(self, step: Awaitable[Any]) -> Any:
        """What the step gives; None when it fails."""
        try:
            with self._failures.named("", quietly=True):
                return await step
        except (TimedOut, Unreachable):
            raise
        except StoreMountError as error:
            self._why = str(error)
            return None
