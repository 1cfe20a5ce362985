"""Staged files that no row needs any more, until they may go.

What it is: the last wait of a staged file.
What it is not: the one who knows that a row no longer needs it (`journal`), or the unlinking (`StagedFile.drop`).
Invariant: a file is dropped only when nothing on the disk speaks of it, not even after a power cut (S7).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from storemount.writeback.staging import StagedFile


class Pages(Protocol):
    """How far the disk is, counted: what was said until `written` was n survives a power cut once `safe` is n or more."""

    @property
    def written(self) -> int: ...

    @property
    def safe(self) -> int: ...


class Discard:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._fresh: list[StagedFile] = []
        self._spoken_of: list[tuple[int, StagedFile]] = []

    def add(self, files: Iterable[StagedFile]) -> None:
        """The next commit is the first not to speak of these."""
        self._fresh += files

    def committed(self) -> None:
        """That commit is written; drop what may go."""
        self._spoken_of += [(self._pages.written, file) for file in self._fresh]
        self._fresh.clear()
        self.tidy()

    def tidy(self) -> None:
        """Drop the files that nothing on the disk speaks of any more."""
        waiting = [(written, file) for written, file in self._spoken_of if written > self._pages.safe]
        gone = [file for written, file in self._spoken_of if written <= self._pages.safe]
        self._spoken_of = waiting
        for file in gone:
            file.drop()
