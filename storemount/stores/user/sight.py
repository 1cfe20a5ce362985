"""Sight: what a user's class shows of its files, in one trip to its thread each.

What it is: where a key lies for the class, what is there, and whether it is what somebody counts on.
What it is not: a change of anything, or a way to call (`calls`); every method runs on the class's own side.
Invariant: "not found" is said only when `exists` says so too (and `isdir`, where directories are only what is in them), and the root is
there (S3).
"""

from __future__ import annotations

from collections.abc import Callable

from storemount.errors import AlreadyExists, Changed, Corrupt, IsADirectory, MissingStore, NotFound, Unavailable
from storemount.stores.base import Artifact
from storemount.stores.conditions import Condition
from storemount.stores.user import steps
from storemount.stores.user.calls import Side
from storemount.stores.user.facts import Facts


class Sight:
    """Below `root` (a path or URI as the class takes it). `real` says whether directories are known to be there by themselves."""

    def __init__(self, root: str, real: Callable[[], bool]) -> None:
        self._base = root if root.endswith("/") else root + "/"
        self._root = root if root.endswith("://") else root.rstrip("/") or "/"
        self._real = real

    def path(self, key: str) -> str:
        """How the class is told this key."""
        return self._base + key.rstrip("/") if key else self._root

    async def root_shows(self, side: Side) -> bool:
        """Whether anything says that the root is there; False when it can only be listed. Raises MissingStore when it cannot."""
        try:
            names = list(await side.call("listdir", self._root))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingStore(f"the class finds nothing at {self._root}") from error
        return bool(names or await side.call("isdir", self._root) or await side.call("exists", self._root))

    async def examine(self, side: Side, key: str) -> Artifact | None:
        """What has this key; None for a directory. Raises NotFound only when that is sure."""
        path = self.path(key)
        try:
            told = await side.call("stat", path)
        except (FileNotFoundError, NotADirectoryError):
            told = None
        if told is None:
            await self._second_look(side, key)
            return None
        facts = Facts.of(told)
        directory = facts.directory
        if directory or (directory is None and await side.call("isdir", path)):
            return None
        return facts.artifact(key, await steps.size(side, path, facts))

    async def _second_look(self, side: Side, key: str) -> None:
        """`stat` found nothing: a directory that exists only by what is in it, or nothing, if all agree. Raises NotFound in that case."""
        path = self.path(key)
        if not self._real() and await side.call("isdir", path):
            return
        if await side.call("exists", path):
            raise Unavailable(f"{key}: stat says that it is not there, and exists that it is")
        await self.root_is_there(side)
        raise NotFound(key)

    async def root_is_there(self, side: Side) -> None:
        """An absent key is only an absent key while the root is there (S3). Raises MissingStore."""
        if await side.call("isdir", self._root) or await side.call("exists", self._root):
            return
        try:
            await side.call("listdir", self._root)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingStore(f"{self._root} has gone") from error

    async def expect(self, side: Side, artifact: Artifact) -> None:
        """Raises Changed or NotFound when this version is not what is there."""
        told = await side.call("stat", self.path(artifact.key))
        if told is None or not Facts.of(told).confirm(artifact):
            now = await self.examine(side, artifact.key)
            if now is None or now.version != artifact.version:
                raise Changed(artifact.key)

    async def meet(self, side: Side, key: str, condition: Condition) -> None:
        """Raises Changed or AlreadyExists when what is there is not what the condition wants."""
        held: Artifact | None = None
        try:
            held = await self.examine(side, key.rstrip("/"))
            if held is None and (condition.absent or not key.endswith("/")):
                raise AlreadyExists(key) if condition.absent else Changed(key)
        except NotFound:
            pass
        condition.check(key, held)

    async def measured(self, side: Side, key: str, size: int) -> Artifact:
        """What is at `key`. Raises Corrupt when it is not `size` bytes long."""
        made = await self.examine(side, key)
        if made is None:
            raise IsADirectory(key)
        if made.size != size:
            raise Corrupt(f"{key}: the class kept {made.size} bytes of {size}")
        return made
