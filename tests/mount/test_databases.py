"""SQLite works on a mount in both of its journal modes: locks, shared memory, fsync and rollback (S5, S13)."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
for number in range(int(sys.argv[2])):
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE counter SET value = value + 1")
    db.execute("COMMIT")
"""
MODES = ("DELETE", "TRUNCATE", "WAL")


@contextmanager
def database(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, timeout=30)) as db:
        assert db.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0] == mode.lower()
        yield db


@pytest.mark.parametrize("mode", MODES)
def test_S5_write_close_and_read_again(root: Path, mode: str) -> None:
    with database(root / "db", mode) as db:
        db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
        db.executemany("INSERT INTO item (name) VALUES (?)", [(f"name {number}" * 10,) for number in range(2000)])
        db.commit()
        db.execute("DELETE FROM item WHERE id % 3 = 0")
        db.commit()
        db.execute("VACUUM")
    with database(root / "db", mode) as db:
        assert db.execute("SELECT count(*) FROM item").fetchone() == (1334,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("mode", MODES)
def test_S5_rollback(root: Path, mode: str) -> None:
    with database(root / "db", mode) as db:
        db.execute("CREATE TABLE item (id INTEGER)")
        db.commit()
        db.executemany("INSERT INTO item VALUES (?)", [(number,) for number in range(5000)])
        db.rollback()
        assert db.execute("SELECT count(*) FROM item").fetchone() == (0,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_S13_two_processes_count_together(root: Path, mode: str) -> None:
    """No update is lost between two writers."""
    with database(root / "db", mode) as db:
        db.execute("CREATE TABLE counter (value INTEGER)")
        db.execute("INSERT INTO counter VALUES (0)")
        db.commit()
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(root / "db"), "25"]) for _ in range(2)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with database(root / "db", mode) as db:
        assert db.execute("SELECT value FROM counter").fetchone() == (50,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_S5_a_killed_writer_leaves_the_last_commit(root: Path, mode: str) -> None:
    script = (
        "import os, sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\ndb.execute('PRAGMA journal_mode = ' + sys.argv[2])\n"
        "db.execute('PRAGMA cache_size = 5')\ndb.execute('CREATE TABLE item (x)')\ndb.execute('INSERT INTO item VALUES (1)')\ndb.commit()\n"
        "db.executemany('INSERT INTO item VALUES (?)', [('spilled' * 100,)] * 500)\nos.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(root / "db"), mode]).returncode == -9
    with database(root / "db", mode) as db:
        assert db.execute("SELECT count(*) FROM item").fetchone() == (1,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
