"""Snapshot: the names below what was warmed, as the store had them last, on the disk.

What it is: rows of listings, by directory, and what is pinned; one file for each store, shared by all mounts of it on this machine.
What it is not: the bytes (`cache.disk`), or an answer while the store gives one (`offline`).
Invariants: a directory is `complete` when a whole listing of it was kept; of the others only single rows are there. It can be lost at any
moment, and all it costs is to warm again.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from storemount.stores.base import Artifact, Child
from storemount.stores.metadata import meta_in, meta_out

BROKEN = ".broken"

_TABLES = """
CREATE TABLE IF NOT EXISTS rows (
    folder BLOB, name BLOB, key BLOB, version TEXT, size INTEGER, mtime INTEGER, meta TEXT, PRIMARY KEY (folder, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS complete (folder BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pins (key BLOB, version TEXT, size INTEGER, PRIMARY KEY (key, version)) WITHOUT ROWID;
"""


log = logging.getLogger(__name__)


class Snapshot:
    """At `path`. Keys of directories end in "/", the root's is "". Raises sqlite3.Error wherever the file cannot be used."""

    @classmethod
    def opened(cls, path: Path) -> Snapshot:
        """What is kept there; where that cannot be read, a new one, with one line in the log, and one in memory where that fails too."""
        try:
            return cls(path)
        except sqlite3.Error as error:
            log.warning("the names of what was warmed in %s cannot be read (%s); they are moved aside, warm and pin again", path, error)
        try:
            os.replace(path, f"{path}{BROKEN}")
            for ending in ("-wal", "-shm"):
                Path(f"{path}{ending}").unlink(missing_ok=True)
            return cls(path)
        except (sqlite3.Error, OSError) as error:
            log.warning("names of what is warmed cannot be kept in %s (%s)", path, error)
            return cls(":memory:")

    def __init__(self, path: Path | str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, timeout=1.0)
        for pragma in ("journal_mode=WAL", "synchronous=OFF"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.executescript(_TABLES)
        self.folders = {os.fsdecode(folder) for (folder,) in self._database.execute("SELECT DISTINCT folder FROM rows")}
        self.complete = {os.fsdecode(folder) for (folder,) in self._database.execute("SELECT folder FROM complete")}
        self.folders |= self.complete  # An empty one has no rows.

    def keep_listing(self, folder: str, children: Sequence[Child]) -> None:
        """This is all that the directory has."""
        rows = [_row(folder, each) for each in children]
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("DELETE FROM rows WHERE folder = ?", (os.fsencode(folder),))
            self._database.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self._database.execute("INSERT OR IGNORE INTO complete VALUES (?)", (os.fsencode(folder),))
        self.folders.add(folder)
        self.complete.add(folder)

    def keep(self, folder: str, child: Child) -> None:
        """The directory has this row, whatever else it has."""
        self._database.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", _row(folder, child))
        self.folders.add(folder)

    def forget(self, folder: str, name: str) -> None:
        """The directory has no such row any more."""
        self._database.execute("DELETE FROM rows WHERE folder = ? AND name = ?", (os.fsencode(folder), os.fsencode(name)))

    def gone(self, folder: str, key: str) -> None:
        """The object of this key is not in the directory any more; that of a key that ends in "/" was a directory of its own."""
        of_it, what = ("key IS NULL AND name = ?", key.removesuffix("/").removeprefix(folder)) if key.endswith("/") else ("key = ?", key)
        self._database.execute(f"DELETE FROM rows WHERE folder = ? AND {of_it}", (os.fsencode(folder), os.fsencode(what)))

    def find(self, folder: str, name: str) -> Child | None:
        found = self._database.execute("SELECT * FROM rows WHERE folder = ? AND name = ?", (os.fsencode(folder), os.fsencode(name)))
        row = found.fetchone()
        return _child(*row[1:]) if row is not None else None

    def listing(self, folder: str) -> list[Child] | None:
        """The rows of a complete directory; None of another, such as one that another mount has dropped meanwhile."""
        with self._database:
            self._database.execute("BEGIN")
            if self._database.execute("SELECT 1 FROM complete WHERE folder = ?", (os.fsencode(folder),)).fetchone() is None:
                self.complete.discard(folder)
                return None
            found = self._database.execute("SELECT * FROM rows WHERE folder = ? ORDER BY name", (os.fsencode(folder),))
            return [_child(*row[1:]) for row in found]

    def doubt(self, folder: str) -> None:
        """There may be more in the directory than its rows tell."""
        self._database.execute("DELETE FROM complete WHERE folder = ?", (os.fsencode(folder),))
        self.complete.discard(folder)

    def clear(self, key: str) -> None:
        """Forget what is below this key (of a directory, without its slash)."""
        below = os.fsencode(f"{key}/" if key else "")
        upper = below[:-1] + b"0" if below else b"\xff" * 8  # "0" is the character after "/".
        for table in ("rows", "complete"):
            self._database.execute(f"DELETE FROM {table} WHERE folder >= ? AND folder < ?", (below, upper))
        for known in (self.folders, self.complete):
            known -= {folder for folder in known if folder.startswith(os.fsdecode(below))}

    # pins

    def pin(self, artifact: Artifact) -> None:
        self._database.execute("INSERT OR REPLACE INTO pins VALUES (?, ?, ?)", (os.fsencode(artifact.key), artifact.version, artifact.size))

    def pinned(self, key: str) -> list[Artifact]:
        """The versions that are pinned at and below this key."""
        found = self._database.execute("SELECT * FROM pins")
        pins = [Artifact(os.fsdecode(name), version, size, 0) for name, version, size in found]
        return [pin for pin in pins if not key or pin.key == key or pin.key.startswith(key + "/")]

    def unpin(self, artifact: Artifact) -> None:
        self._database.execute("DELETE FROM pins WHERE key = ? AND version = ?", (os.fsencode(artifact.key), artifact.version))

    def close(self) -> None:
        self._database.close()


def _row(folder: str, child: Child) -> tuple[bytes, bytes, bytes | None, str | None, int | None, int | None, str]:
    artifact = child.artifact
    meta = artifact.meta if artifact is not None else child.meta
    told = json.dumps(meta_out(meta))
    names = os.fsencode(folder), os.fsencode(child.name)
    if artifact is None:
        return *names, None, None, None, None, told
    return *names, os.fsencode(artifact.key), artifact.version, artifact.size, artifact.mtime_ns, told


def _child(name: bytes, key: bytes | None, version: str, size: int, mtime_ns: int, told: str) -> Child:
    meta = meta_in(json.loads(told))
    if key is None:
        return Child(os.fsdecode(name), None, meta)
    return Child(os.fsdecode(name), Artifact(os.fsdecode(key), version, size, mtime_ns, meta))
