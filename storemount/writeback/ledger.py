"""The ledger: the journal's rows on the disk (S7).

What it is: a SQLite database with one row for each change that the store does not have, written in one transaction for each thing that a
program is told is done.
What it is not: the order of the changes, or their meaning (`journal`); it neither folds nor waits.
Invariants:
- What was committed survives the death of the daemon at once: the pages are the kernel's. A power cut is survived from the next `sync` on.
- `written` and `safe` count: what `write` and `erase` said until `written` was n survives a power cut once `safe` is n or more.
- A change of a row that could not be written (a full disk) stays in memory, is tried again with the next commit, and is told to
  whoever waits for it.
- A ledger of a newer version of storemount, of another store, or one that cannot be read is refused, never guessed at.

The format is SQLite's (https://www.sqlite.org/wal.html); with `synchronous=NORMAL` the log is not synced by a commit, so `sync` does it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storemount.errors import EIO, ENOSPC

VERSION = 1
LARGEST_LOG = 8 * 1024 * 1024
"""Bytes of SQLite's log after which it is folded into the database."""

_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE changes (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, key BLOB NOT NULL, detail TEXT NOT NULL, synced INTEGER NOT NULL);
"""


class Unusable(Exception):
    """This is not a ledger that can be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A change as it stands in the database. `detail` is whatever JSON the journal wants back. `synced`: its bytes survive a power cut."""

    id: int
    kind: str
    key: str
    detail: dict[str, Any]
    synced: bool = False


class Ledger:
    """The database at `path`, of the store that `store` names. `boot`: what tells one run of this machine's kernel from the next."""

    def __init__(self, path: Path, *, store: str, boot: str) -> None:
        self._path = path
        self._pending: dict[int, Row | None] = {}
        self._unsynced = False
        self._committed = 0
        self.written = 0
        self.safe = 0
        self._boot = boot
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise Unusable(f"{path} cannot be opened as a journal ({error})") from error
        try:
            self._read(store)
        except (sqlite3.Error, ValueError) as error:
            self._database.close()
            raise Unusable(f"{path} cannot be read as a journal ({error})") from error
        except Unusable:
            self._database.close()
            raise

    def _read(self, store: str) -> None:
        self._open(store)
        about = dict(self._database.execute("SELECT name, value FROM about"))
        if about.get("store") != store:
            raise Unusable(f"{self._path} is the journal of another store, {about.get('store')}")
        self.rebooted = about.get("boot", self._boot) != self._boot
        found = self._database.execute("SELECT id, kind, key, detail, synced FROM changes ORDER BY id")
        self.rows = [_row(*fields) for fields in found]

    def begin(self) -> None:
        """What was read is taken up: commit that, and that it was in this run of the kernel. Raises OSError."""
        self.commit()
        with self._transaction():
            self._database.execute("INSERT OR REPLACE INTO about VALUES ('boot', ?)", (self._boot,))

    def _open(self, store: str) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise Unusable(f"{self._path} was written by a newer storemount (version {version}, this one knows {VERSION})")
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=0"):
            self._database.execute(f"PRAGMA {pragma}")
        if not version:
            self._database.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT")
            self._database.execute("INSERT INTO about VALUES ('store', ?)", (store,))

    def write(self, row: Row) -> None:
        """Have this row in the database with the next commit, in place of an older one of its id."""
        self._pending[row.id] = row
        self.written += 1

    def erase(self, number: int) -> None:
        """Have the row of this id out of the database with the next commit."""
        self._pending[number] = None
        self.written += 1

    def commit(self) -> bool:
        """All that was written and erased, or nothing of it; whether there was something.

        Raises OSError (ENOSPC): it is tried again with the next commit."""
        if not self._pending:
            return False
        gone = [(number,) for number, row in self._pending.items() if row is None]
        rows = [_fields(row) for row in self._pending.values() if row is not None]
        with self._transaction():
            if gone:
                self._database.executemany("DELETE FROM changes WHERE id = ?", gone)
            if rows:
                self._database.executemany("INSERT OR REPLACE INTO changes VALUES (?, ?, ?, ?, ?)", rows)
        self._pending.clear()
        self._committed = self.written
        return True

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            number = ENOSPC if "full" in str(error) else EIO
            raise OSError(number, f"the journal {self._path} cannot be written: {error}") from error
        self._unsynced = True

    def mark_synced(self, numbers: list[int]) -> None:
        """The bytes of these rows survive a power cut."""
        with self._transaction():
            self._database.executemany("UPDATE changes SET synced = 1 WHERE id = ?", [(number,) for number in numbers])

    @property
    def unsynced(self) -> bool:
        """Whether something was committed since the last `sync`."""
        return self._unsynced

    def sync(self) -> None:
        """Have what was committed survive a power cut. Blocks; any thread may call it, one at a time. Raises OSError."""
        self._unsynced, committed = False, self._committed  # What is committed from here on is for the next call.
        try:
            grown = self._sync_log()
        except OSError:
            self._unsynced = True
            raise
        self.safe = committed
        if grown:
            self._fold_log()

    def _sync_log(self) -> bool:
        """Whether SQLite's log has grown large. Raises OSError."""
        fd = os.open(self._path.with_name(self._path.name + "-wal"), os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fdatasync(fd)
            return os.fstat(fd).st_size > LARGEST_LOG
        finally:
            os.close(fd)

    def _fold_log(self) -> None:
        """A connection of its own, so that nobody waits for it; when others use the log just now, the next sync tries again."""
        other = sqlite3.connect(self._path, isolation_level=None)
        try:
            other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            raise OSError(EIO, f"the journal {self._path} cannot be folded: {error}") from error
        finally:
            other.close()

    def close(self) -> None:
        """Commit nothing more. Raises nothing that would hide why the daemon stops."""
        self._database.close()


def _row(number: int, kind: str, key: bytes, detail: str, synced: int) -> Row:
    return Row(number, kind, os.fsdecode(key), json.loads(detail), bool(synced))


def _fields(row: Row) -> tuple[int, str, bytes, str, int]:
    return row.id, row.kind, os.fsencode(row.key), json.dumps(row.detail), int(row.synced)
