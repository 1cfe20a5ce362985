"""Volumes: what the file API needs of a place that holds files.

What it is: the protocol that a store and this machine's disk both keep, and the words for what they exchange.
What it is not: the functions that people call (`fileapi`), or the store protocol itself (`stores.base`), which knows no directories.
Invariants:
- A key is a path below the volume's root, with "/" between its segments; "" is the root.
- Everything here waits for its answer, may be called from any thread, and raises Python's own OSError, of the class for what is wrong.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of a directory. `is_dir` follows a symbolic link, as `isdir` does; `is_link` says that it is one."""

    name: str
    is_dir: bool
    is_link: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """What a mode of `open` asks for.

    `creates`: makes the file where there is none. `exclusive`: only there. `keeps`: begins with the bytes that are there. `appends`: every
    write goes to the end. `raw` is the mode without "b" and "t".
    """

    raw: str
    text: bool
    reads: bool
    writes: bool
    creates: bool
    exclusive: bool
    keeps: bool
    appends: bool

    @classmethod
    def of(cls, mode: str) -> Access:
        """Raises ValueError for what `open` of Python does not know either."""
        letters = set(mode)
        kind = letters & set("rwxa")
        if len(letters) < len(mode) or letters - set("rwxabt+") or len(kind) != 1 or letters >= {"b", "t"}:
            raise ValueError(f"invalid mode: {mode!r}")
        letter = kind.pop()
        plus = "+" in letters
        return cls(
            raw=letter + "+" * plus,
            text="b" not in letters,
            reads=letter == "r" or plus,
            writes=letter != "r" or plus,
            creates=letter != "r",
            exclusive=letter == "x",
            keeps=letter in "ra",
            appends=letter == "a",
        )


Publish = Callable[[str, int], None]
"""Have the file behind a path, so many bytes of it, under its own name."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Where a file that is being written stands until it is published: an open descriptor, and what publishes it. `publish` is None for
    what cannot be staged, such as a pipe: each write is final."""

    fd: int
    publish: Publish | None


class Volume(Protocol):
    """One root and what lies below it."""

    def kind(self, key: str) -> str | None:
        """ "file", "directory", or None for what is not there; symbolic links are followed."""
        ...

    def status(self, key: str) -> os.stat_result: ...

    def scan(self, key: str) -> Generator[Entry, None, None]:
        """The entries of a directory, as they become known; never all of them in memory. Close it when it is not used up."""
        ...

    def make_directory(self, key: str) -> None: ...

    def make_directories(self, key: str) -> None: ...

    def remove(self, key: str) -> None: ...

    def remove_tree(self, key: str) -> None: ...

    def rename(self, key: str, to: str, *, replace: bool) -> None:
        """A file, or a directory with all that is in it. Without `replace` a name that is taken is FileExistsError."""
        ...

    def copy(self, key: str, to: str, *, replace: bool) -> bool:
        """Copy a file without its bytes passing through here; False where that cannot be done."""
        ...

    def size(self, key: str) -> int:
        """Bytes of a file, or of all files below a directory."""
        ...

    def reader(self, key: str) -> io.RawIOBase:
        """One version of a file (S4): its bytes, from any position."""
        ...

    def draft(self, key: str, access: Access) -> Draft:
        """Begin to write a file, for `access` (S6)."""
        ...

    def close(self) -> None: ...
