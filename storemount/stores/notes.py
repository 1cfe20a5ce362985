"""Notes: what this machine has learnt of the metadata of a store's objects (S12), on the disk.

What it is: a bounded memory of key, version and metadata, shared by all mounts of the store on this machine.
What it is not: a truth. It can be lost at any moment, and all it costs is a request.
Invariants:
- A note counts only for the version and the time of the object that it was made of; of a directory's marker, whose bytes are always the
  same, the last one counts.
- Nothing waits for the disk, and nothing fails because of it: a file that cannot be used is moved aside, with one line in the log.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from storemount.stores.base import Artifact, Meta
from storemount.stores.metadata import SECOND, meta_in, meta_out

MOST = 1_000_000
"""Notes that are kept; beyond, those go that were not used for longest."""

TRIMMED_EVERY = 20_000
SAME_TIME = 2 * SECOND
"""How far the times of one object may lie apart: after a write some servers tell only when they answered."""

DAY = 86_400
BROKEN = ".broken"

_TABLE = """
CREATE TABLE IF NOT EXISTS notes (
    key BLOB PRIMARY KEY, version TEXT NOT NULL, mtime INTEGER NOT NULL, meta TEXT NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_use ON notes (used);
"""

R = TypeVar("R")

log = logging.getLogger(__name__)


class Notes:
    """The notes at `path`, at most `most` of them."""

    def __init__(self, path: Path, *, most: int = MOST) -> None:
        self._path = path
        self._most = most
        self._fresh = 0
        self._database: sqlite3.Connection | None = None
        self._attempt(self._open)

    def _open(self) -> None:
        self._database = sqlite3.connect(self._path, isolation_level=None, timeout=1.0)
        for pragma in ("journal_mode=WAL", "synchronous=OFF"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.executescript(_TABLE)
        self._trim()

    def _attempt(self, work: Callable[[], R]) -> R | None:
        """What `work` gives; None when the notes cannot be used, which are then begun anew, or done without."""
        if self._database is None and work != self._open:
            return None
        try:
            return work()
        except (sqlite3.Error, ValueError, TypeError) as error:
            self.close()
            if isinstance(error, sqlite3.OperationalError):
                log.warning("the notes of metadata in %s cannot be used (%s); this mount does without", self._path, error)
            else:
                log.warning("the notes of metadata in %s are broken (%s); they are moved aside and begun anew", self._path, error)
                self._begin_anew()
        return None

    def _begin_anew(self) -> None:
        try:
            os.replace(self._path, f"{self._path}{BROKEN}")
            for ending in ("-wal", "-shm"):
                Path(f"{self._path}{ending}").unlink(missing_ok=True)
            self._open()
        except (sqlite3.Error, OSError) as error:
            log.warning("notes of metadata cannot be kept in %s (%s)", self._path, error)
            self.close()

    def recall(self, artifacts: Sequence[Artifact]) -> dict[str, Meta]:
        """What is known of these very versions; one query."""
        wanted = {artifact.key: artifact for artifact in artifacts}
        found = self._attempt(lambda: self._found(list(wanted))) if wanted else None
        return {
            key: meta
            for key, (version, mtime_ns, meta) in (found or {}).items()
            if version == wanted[key].version and abs(mtime_ns - wanted[key].mtime_ns) <= SAME_TIME
        }

    def recall_directories(self, keys: Sequence[str]) -> dict[str, Meta]:
        """What was known last of the markers with these keys."""
        found = self._attempt(lambda: self._found(keys)) if keys else None
        return {key: meta for key, (_, _, meta) in (found or {}).items()}

    def _found(self, keys: Sequence[str]) -> dict[str, tuple[str, int, Meta]]:
        assert self._database is not None
        asked = [os.fsencode(key) for key in keys]
        marks = ",".join("?" * len(asked))
        found: dict[str, tuple[str, int, Meta]] = {}
        old, today = [], int(time.time()) // DAY
        for key, version, mtime_ns, text, used in self._database.execute(f"SELECT * FROM notes WHERE key IN ({marks})", asked):
            found[os.fsdecode(key)] = version, mtime_ns, meta_in(json.loads(text)) or Meta()
            if used < today:
                old.append((today, key))
        if old:
            self._database.executemany("UPDATE notes SET used = ? WHERE key = ?", old)
        return found

    def note(self, artifacts: Iterable[Artifact]) -> None:
        """Remember what these say of themselves."""
        today = int(time.time()) // DAY
        rows = [
            (os.fsencode(each.key), each.version, each.mtime_ns, json.dumps(meta_out(each.meta)), today)
            for each in artifacts
            if each.meta is not None
        ]
        if rows:
            self._attempt(lambda: self._insert(rows))

    def _insert(self, rows: Sequence[tuple[bytes, str, int, str, int]]) -> None:
        assert self._database is not None
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?, ?)", rows)
        self._database.execute("COMMIT")
        self._fresh += len(rows)
        if self._fresh > TRIMMED_EVERY:
            self._trim()

    def forget(self, keys: Sequence[str]) -> None:
        """These are no more; of a file nobody needs to say so."""
        if keys:
            self._attempt(lambda: self._delete(keys))

    def _delete(self, keys: Sequence[str]) -> None:
        assert self._database is not None
        self._database.executemany("DELETE FROM notes WHERE key = ?", [(os.fsencode(key),) for key in keys])

    def _trim(self) -> None:
        """A tenth goes at once, so that this is rare."""
        assert self._database is not None
        self._fresh = 0
        (count,) = self._database.execute("SELECT count(*) FROM notes").fetchone()
        if count > self._most:
            gone = count - self._most * 9 // 10
            self._database.execute("DELETE FROM notes WHERE key IN (SELECT key FROM notes ORDER BY used LIMIT ?)", (gone,))

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
