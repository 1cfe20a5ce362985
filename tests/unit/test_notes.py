"""Notes of metadata: what they are good for, how many there are, and that a broken file breaks nothing (S12)."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storemount.stores.base import Artifact, Meta
from storemount.stores.notes import BROKEN, SAME_TIME, Notes
from tests.support.readme import told

META = Meta(mode=0o100755, uid=5, mtime_ns=7, xattrs={b"user.\xff": b"\x00\xff"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.notes"


@pytest.fixture
def notes(path: Path) -> Iterator[Notes]:
    made = Notes(path)
    yield made
    made.close()


def artifact(key: str = "f", version: str = "v1", meta: Meta | None = META) -> Artifact:
    return Artifact(key, version, 1, 10**18, meta)


def test_S12_notes_outlive_the_daemon(path: Path, notes: Notes) -> None:
    notes.note([artifact("\udcff"), artifact("plain", meta=Meta()), artifact("unknown", meta=None)])
    other = Notes(path)
    asked = [artifact(key, meta=None) for key in ("\udcff", "plain", "unknown", "absent")]
    assert other.recall(asked) == notes.recall(asked) == {"\udcff": META, "plain": Meta()}
    other.close()


@pytest.mark.parametrize(
    ("now", "known"),
    [
        (artifact(), True),
        (artifact(version="v2"), False),
        (replace(artifact(), mtime_ns=10**18 + SAME_TIME), True),
        (replace(artifact(), mtime_ns=10**18 + SAME_TIME + 1), False),
        (replace(artifact(), mtime_ns=10**18 - SAME_TIME - 1), False),
    ],
)
def test_S12_a_note_is_of_one_version_at_one_time(notes: Notes, now: Artifact, known: bool) -> None:
    notes.note([artifact()])
    assert bool(notes.recall([now])) == known


def test_S12_the_last_note_counts_and_of_a_directory_whatever_its_version(notes: Notes) -> None:
    notes.note([artifact("d/", meta=Meta(mode=1)), artifact("d/", "v2", Meta(mode=2))])
    assert notes.recall_directories(["d/", "e/"]) == {"d/": Meta(mode=2)}


def test_S15_there_are_at_most_so_many_and_those_go_that_were_used_least(path: Path) -> None:
    notes = Notes(path, most=100)
    for number in range(150):
        notes.note([artifact(f"{number}")])
    notes.close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE notes SET used = 1 WHERE key IN (x'30', x'31')")  # "0" and "1"
    database.close()
    notes = Notes(path, most=100)
    assert notes.recall([artifact("0"), artifact("1")]) == {}
    assert len(notes.recall([artifact(f"{number}") for number in range(150)])) == 90
    notes.close()


def test_S12_what_is_used_stays(path: Path, notes: Notes) -> None:
    notes.note([artifact("f"), artifact("g")])
    with sqlite3.connect(path) as database:
        database.execute("UPDATE notes SET used = 1")
    notes.recall([artifact("f")])
    assert [row[0] for row in database.execute("SELECT key FROM notes WHERE used > 1")] == [b"f"]
    database.close()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + bytes(5000)])
def test_S12_a_broken_file_is_moved_aside_with_one_line(path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    path.write_bytes(content)
    notes = Notes(path)
    notes.note([artifact()])
    assert notes.recall([artifact()]) == {"f": META}
    notes.close()
    assert Path(f"{path}{BROKEN}").read_bytes() == content
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert told("are broken", caplog.text)


def test_S12_a_broken_row_is_moved_aside_with_the_rest(path: Path, notes: Notes, caplog: pytest.LogCaptureFixture) -> None:
    notes.note([artifact()])
    with sqlite3.connect(path) as database:
        database.execute("UPDATE notes SET meta = 'no json'")
    database.close()
    assert notes.recall([artifact()]) == {}
    notes.note([artifact()])
    assert notes.recall([artifact()]) == {"f": META}
    assert len(caplog.records) == 1


def test_S12_a_folder_that_takes_no_file_is_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes(tmp_path / "absent" / "store.notes")
    notes.note([artifact()])
    assert notes.recall([artifact()]) == {}
    assert len(caplog.records) == 1
    assert told("this mount does without", caplog.text)
