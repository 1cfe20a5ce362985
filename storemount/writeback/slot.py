"""Slots: the folder of one mount's journal and staged files, and who may use it.

What it is: below the staging folder, one folder for each store and for each of its mounts at the same time, with a lock; the next mount
of a store takes the one that an earlier one has left unfinished.
What it is not: the journal.
Invariants: one daemon for each slot, by an flock that ends with its process. Unfinished changes are never passed over in silence.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from storemount.config import locked, private_folder

JOURNAL = "journal.sqlite"
_LOCK = "lock"
_MOST = 1000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Slot:
    """`folder` is ours until `release`."""

    folder: Path
    lock: int

    @property
    def journal(self) -> Path:
        return self.folder / JOURNAL

    def release(self) -> None:
        os.close(self.lock)


def take(staging: Path, store: str) -> Slot:
    """A slot for the store that `store` names: one that has something unfinished, else a free one, else a new one. Raises OSError."""
    stem = hashlib.sha256(store.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    free = [slot for folder in sorted(staging.glob(f"{stem}-*")) if (slot := _lock(folder)) is not None]
    free.sort(key=lambda slot: not _has_changes(slot.journal))
    chosen = free[0] if free else _new(staging, stem)
    for other in free[1:]:
        if _has_changes(other.journal):
            log.warning("another mount of this store left changes in %s; the next mount takes them up", other.folder)
        other.release()
    return chosen


def _new(staging: Path, stem: str) -> Slot:
    for number in range(_MOST):
        slot = _lock(private_folder(staging / f"{stem}-{number}"))
        if slot is not None:
            return slot
    raise OSError(f"{staging} is in use by {_MOST} mounts of this store")


def _lock(folder: Path) -> Slot | None:
    fd = locked(folder / _LOCK)
    return Slot(folder, fd) if fd is not None else None


def _has_changes(journal: Path) -> bool:
    """Whether there is something to take up. What cannot be read counts: whoever takes it will say why."""
    if not journal.exists():
        return False
    try:
        database = sqlite3.connect(journal)
        try:
            return bool(database.execute("SELECT count(*) FROM changes").fetchone()[0])
        finally:
            database.close()
    except sqlite3.Error:
        return True
