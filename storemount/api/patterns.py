"""Patterns: the names that a shell pattern stands for, in any volume.

What it is: `*`, `?`, `[...]` within one name and `**` for any number of directories, as `glob` of Python has them (with `recursive=True`).
What it is not: aware of stores; it is given what lists a directory and what tells whether a name is there.
Invariants: a name that begins with a dot is matched only by a pattern that does. Nothing is held but one entry of each directory on the
way. Symbolic links to directories are matched, and not followed by `**`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import dropwhile

from storemount.api.spelling import joined
from storemount.api.volume import Entry

Scan = Callable[[str], Generator[Entry, None, None]]
Kind = Callable[[str], "str | None"]

_MAGIC = re.compile(r"[*?\[]")
ANY_DEPTH = "**"


class Matches:
    """`scan` lists the directory at a path, `kind` says what has a path."""

    def __init__(self, scan: Scan, kind: Kind) -> None:
        self._scan = scan
        self._kind = kind

    def of(self, pattern: str) -> Iterator[str]:
        """The paths that `pattern` stands for, as they are found, in no order. Raises OSError for what cannot be listed."""
        found = _MAGIC.search(pattern)
        if found is None:
            kind = self._kind(pattern)
            if kind == "directory" or (kind and not pattern.endswith("/")):
                yield pattern
            return
        start = pattern.rfind("/", 0, found.start()) + 1
        yield from self._below(pattern[:start], re.split("/+", pattern[start:]))

    def _below(self, folder: str, segments: list[str]) -> Iterator[str]:
        """What `segments` stand for below `folder` ("" or ending in a slash)."""
        first, rest = segments[0], segments[1:]
        if first == ANY_DEPTH:
            yield from self._at_any_depth(folder, list(dropwhile(lambda segment: segment == ANY_DEPTH, rest)))
        elif not first:
            if self._kind(folder) == "directory":
                yield folder
        elif not _MAGIC.search(first):
            path = folder + first
            if rest:
                yield from self._below(path + "/", rest)
            elif self._kind(path):
                yield path
        else:
            for entry in self._matching(folder, first):
                if not rest:
                    yield folder + entry.name
                elif entry.is_dir:
                    yield from self._below(f"{folder}{entry.name}/", rest)

    def _at_any_depth(self, folder: str, rest: list[str], *, top: bool = True) -> Iterator[str]:
        if rest:
            yield from self._below(folder, rest)
        elif top and folder and self._kind(folder) == "directory":
            yield folder
        for entry in self._matching(folder, "*"):
            if not rest:
                yield folder + entry.name
            if entry.is_dir and not entry.is_link:
                yield from self._at_any_depth(f"{folder}{entry.name}/", rest, top=False)

    def _matching(self, folder: str, pattern: str) -> Iterator[Entry]:
        """The entries whose names match; none where there is no such directory."""
        matches = re.compile(fnmatch.translate(pattern)).match
        hidden = pattern.startswith(".")
        try:
            with closing(self._scan(folder)) as entries:
                for entry in entries:
                    if matches(entry.name) and (hidden or not entry.name.startswith(".")):
                        yield entry
        except (FileNotFoundError, NotADirectoryError):
            return


def paths_below(scan: Scan, top: str) -> Generator[tuple[str, str], None, None]:
    """Every file below the directory `top`, as (path, name), as they are found. Raises OSError."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with closing(scan(folder)) as entries:
                for entry in entries:
                    path = joined(folder, entry.name)
                    if not entry.is_dir:
                        yield path, entry.name
                    elif not entry.is_link:
                        waiting.append(path)
        except FileNotFoundError:
            if folder == top:
                raise  # else somebody has removed it meanwhile
