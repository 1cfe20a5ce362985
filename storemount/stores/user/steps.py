"""Steps: a few calls of a user's class that belong together, in one trip to its thread.

What it is: moving, copying and removing as the abstraction's methods allow it, with the care that their various manners need.
What it is not: a store; it knows paths, and neither keys nor conditions.
Invariant: nothing is removed but what a caller names, an empty directory, or a marker.
"""

from __future__ import annotations

from contextlib import suppress

from storemount.errors import IsADirectory
from storemount.stores.base import PARTIAL
from storemount.stores.user import streams
from storemount.stores.user.calls import Side
from storemount.stores.user.facts import Facts, name_of

MARKER = PARTIAL[0] + "directory" + PARTIAL[1]
"""The name of the hidden file that keeps a directory where directories are only what is in them."""


async def size(side: Side, path: str, facts: Facts) -> int:
    """How long the file is: by `stat`, else by `size`, else by its bytes."""
    if facts.size is not None:
        return facts.size
    told = await side.call("size", path) if side.has("size") else None
    return int(told) if told is not None else await streams.length(side, path)


async def copied(side: Side, path: str, to: str) -> None:
    """By the class's own copy where it makes one, else through this machine."""
    method = next((name for name in ("copyfile", "copy") if side.has(name)), None)
    if method is not None and not await side.call("exists", to):
        with suppress(NotImplementedError, FileExistsError):
            await side.call(method, path, to)
            return
    await streams.pour(side, path, to)


async def renamed(side: Side, old: str, new: str) -> None:
    """By the class's rename, over what is there if it can be told so."""
    how = {"overwrite": True} if side.takes("rename", "overwrite") else {}
    await side.call("rename", old, new, **how)


async def move_file(side: Side, old: str, new: str, *, replaces: bool) -> None:
    """Have the file under the name `new`. Raises IsADirectory: some renames would move it into the directory that is there."""
    if await side.call("isdir", new):
        raise IsADirectory(new)
    if not replaces and await side.call("exists", new):
        await side.call("remove", new)
    await renamed(side, old, new)


async def move_directory(side: Side, old: str, new: str) -> None:
    """Have the directory under the name `new`, where nothing is or an empty directory. Raises IsADirectory."""
    if await side.call("isdir", new):
        if set(map(name_of, await side.call("listdir", new))) - {""}:
            raise IsADirectory(new)
        await removed(side, new)
    await renamed(side, old, new)


async def remove_file(side: Side, path: str) -> None:
    """Have no file there; a directory of its name stays. However a class says that there is none: it is believed when `exists` agrees."""
    try:
        await side.call("remove", path)
    except Exception:
        if await side.call("exists", path) and not await side.call("isdir", path):
            raise


async def emptied(side: Side, path: str) -> None:
    """Remove this directory, unless something but its marker is in it; the marker goes in any case."""
    names = {name_of(each) for each in await side.call("listdir", path)} - {""}
    if MARKER in names:
        await side.call("remove", f"{path}/{MARKER}")
        names.remove(MARKER)
    if not names and await side.call("isdir", path):
        await removed(side, path)


async def removed(side: Side, path: str) -> None:
    """Remove an empty directory."""
    await side.call("rmdir" if side.has("rmdir") else "rmtree", path)


async def swept(side: Side, path: str, before: float) -> None:
    """Remove what is there, if it was changed last before this time (nanoseconds since the epoch)."""
    with suppress(FileNotFoundError):
        if 0 < Facts.of(await side.call("stat", path)).mtime_ns < before:
            await side.call("rmtree" if await side.call("isdir", path) else "remove", path)
