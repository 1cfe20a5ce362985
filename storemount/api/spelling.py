"""Spelling: how a program wrote a path, so that it gets its answers in the same way.

What it is: text, bytes and path objects, and file:// URIs with their percent signs, read into one kind of text and written back.
What it is not: where the path leads (`session`).
Invariant: what is written back from what was read is what was given.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote, unquote

from storemount.stores.uri import FILE, scheme_of

PathType: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"
"""What every function of the file API takes."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """`text` is the path: a URI as it is, or a path of this machine, also where a file:// URI was given (`uri`)."""

    text: str
    binary: bool
    uri: bool

    @classmethod
    def of(cls, path: PathType) -> Spelling:
        """Raises TypeError for what is no path, ValueError for a file:// URI of another machine."""
        given = os.fspath(path)
        text = os.fsdecode(given)
        if scheme_of(text) != FILE:
            return cls(text, isinstance(given, bytes), uri=False)
        local = unquote(text[len(FILE) :].removeprefix("localhost"), errors="surrogateescape")
        if not local.startswith("/"):
            raise ValueError(f"{text}: a file:// URI names an absolute path of this machine, such as file:///the/path")
        return cls(local, isinstance(given, bytes), uri=True)

    def write(self, text: str) -> str:
        """`text`, a path like `self.text`, as the program would have written it. (Bytes stay bytes; the annotation is the common case.)"""
        whole = FILE + quote(os.fsencode(text)) if self.uri else text
        return os.fsencode(whole) if self.binary else whole  # type: ignore[return-value]

    def name(self, name: str) -> str:
        """One segment, by itself: never quoted."""
        return os.fsencode(name) if self.binary else name  # type: ignore[return-value]


def joined(folder: str, name: str) -> str:
    return f"{folder}{name}" if not folder or folder.endswith("/") else f"{folder}/{name}"
