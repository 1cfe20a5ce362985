"""Keys that no file of a mount can have (S2).

What it is: one walk over the keys of a store, bounded, and why each of those cannot be shown.
What it is not: the hiding of them (`tree`), or a change of anything.
Invariant: memory grows with the keys that were looked at, and no further than the bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

import trio

from storemount.doctor.access import PROBE
from storemount.doctor.finding import Finding, Report, ok, warn
from storemount.names.tree import MAX_SEGMENT, mappable
from storemount.stores.base import ArtifactStore, Child, is_partial

LONGEST = 60.0
"""Seconds that a walk may take."""

RENAME = "give it another name with any tool of the store"
REMOVE = "delete it with any tool of the store"


def fault_of(key: str) -> str:
    """Why a mount hides this key; "" where it does not. A marker's ending slash is no segment."""
    for segment in key.removesuffix("/").split("/"):
        if not mappable(segment) and not is_partial(segment):
            return _fault(segment)
    return ""


def _fault(segment: str) -> str:
    if segment == "":
        return "it has an empty segment (//)"
    if segment in (".", ".."):
        return f"it has a segment {segment!r}"
    if "\0" in segment:
        return "it has a NUL character"
    return f"it has a segment over {MAX_SEGMENT} bytes"


@dataclass(slots=True)
class Seen:
    """What the walk has passed: how many keys, the files, and every directory that they lie in."""

    count: int = 0
    files: set[str] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)

    def add(self, key: str) -> Finding | None:
        """The finding about this key, if there is one by itself."""
        self.count += 1
        fault = fault_of(key)
        if fault:
            return warn("names", f"{key!r} is hidden by a mount: {fault}", RENAME)
        if key.startswith(PROBE):
            return warn("names", f"{key!r} is left of a doctor that was killed, or is running now", REMOVE)
        folder = key.rpartition("/")[0]
        if not key.endswith("/"):
            self.files.add(key)
        while folder and folder not in self.directories:
            self.directories.add(folder)
            folder = folder.rpartition("/")[0]
        return None

    def shadowed(self) -> Iterator[Finding]:
        """The files that a directory of the same name hides."""
        for key in sorted(self.files & self.directories):
            yield warn("names", f"{key!r} is hidden by a mount: a directory has its name", RENAME)


async def names(store: ArtifactStore, report: Report, *, most: int, longest: float = LONGEST) -> None:
    """Look at up to `most` keys, for up to `longest` seconds, and say where it stopped. Raises what the store raises."""
    seen, found, end = Seen(), 0, trio.current_time() + longest

    def tell(finding: Finding) -> None:
        nonlocal found
        found += 1
        report(finding)

    whole = await _walk(store, seen, tell, most, end)
    for finding in seen.shadowed():
        tell(finding)
    count = f"{seen.count} key{'' if seen.count == 1 else 's'}"
    hidden = f"{found} of the {count} looked at need another name" if found else f"all of the {count} looked at can be shown"
    if whole:
        report(ok("names", hidden))
    else:
        report(warn("names", f"{hidden}; the walk stopped there", "look at more with --keys"))


async def _walk(store: ArtifactStore, seen: Seen, tell: Report, most: int, end: float) -> bool:
    """Whether all keys were seen."""
    async with aclosing(store.list("", recursive=True)) as pages:
        async for page in pages:
            for child in page:
                if seen.count >= most:
                    return False
                if child.name and (finding := seen.add(_key(child))):
                    tell(finding)
            if trio.current_time() > end:
                return False
    return True


def _key(child: Child) -> str:
    """What the store has, whole: the name of a row is that, as the walk begins at the root. A directory ends in a slash."""
    return child.name if child.artifact is not None or child.name.endswith("/") else child.name + "/"
