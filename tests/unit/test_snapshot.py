"""The names of what was warmed, on the disk (S14): kept whole or not at all, and never taken for more than they are."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storemount.stores.base import Artifact, Child, Meta
from storemount.stores.snapshot import BROKEN, Snapshot
from tests.support.readme import told

META = Meta(mode=0o100755, uid=5, xattrs={b"user.note": b"\xff\x00"})


@contextmanager
def opened(path: Path) -> Iterator[Snapshot]:
    snapshot = Snapshot.opened(path)
    try:
        yield snapshot
    finally:
        snapshot.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.warm"


def file(key: str, version: str = "v1", meta: Meta | None = None) -> Child:
    return Child(key.rpartition("/")[2], Artifact(key, version, 7, 1_700_000_000 * 10**9, meta))


def whole(snapshot: Snapshot, folder: str) -> list[tuple[Child, Meta | None]] | None:
    """With what a comparison of rows leaves out."""
    rows = snapshot.listing(folder)
    return None if rows is None else [(row, row.artifact.meta if row.artifact else row.meta) for row in rows]


def test_a_listing_outlives_the_process(path: Path) -> None:
    strange = os.fsdecode(b"not \xff text\n")
    rows = [
        Child("d", None, Meta(mode=0o40700)),
        file("a/f", meta=META),
        Child(strange, Artifact("a/" + strange, "v", 0, 0)),
        Child("e", None),
    ]
    with opened(path) as snapshot:
        snapshot.keep_listing("a/", rows)
    with opened(path) as snapshot:
        assert (snapshot.folders, snapshot.complete) == ({"a/"}, {"a/"})
        found = whole(snapshot, "a/")
        assert found is not None
        assert sorted(found, key=lambda row: row[0].name) == sorted(
            ((row, row.artifact.meta if row.artifact else row.meta) for row in rows), key=lambda row: row[0].name
        )
        assert snapshot.find("a/", strange) == rows[2]


def test_a_listing_replaces_the_one_before(path: Path) -> None:
    with opened(path) as snapshot:
        snapshot.keep_listing("", [file("old"), file("both")])
        snapshot.keep_listing("", [file("both", "v2")])
        assert snapshot.listing("") == [file("both", "v2")]
        snapshot.keep_listing("", [])
        assert snapshot.listing("") == [], "an empty directory is known to be empty"


def test_single_rows_are_no_listing(path: Path) -> None:
    with opened(path) as snapshot:
        snapshot.keep("a/", file("a/f"))
        assert snapshot.folders == {"a/"} and not snapshot.complete
        assert snapshot.find("a/", "f") == file("a/f")
        assert snapshot.find("a/", "g") is None
        assert snapshot.listing("a/") is None


def test_a_row_that_was_forgotten_is_not_found(path: Path) -> None:
    with opened(path) as snapshot:
        snapshot.keep_listing("", [file("f"), file("g")])
        snapshot.forget("", "f")
        assert snapshot.listing("") == [file("g")]


def test_what_is_gone_goes_by_its_key(path: Path) -> None:
    """A file and a directory can have one name, in a store of objects."""
    with opened(path) as snapshot:
        snapshot.keep_listing("a/", [file("a/f"), Child("d", None)])
        snapshot.gone("a/", "a/f/")
        snapshot.gone("a/", "a/d")
        assert snapshot.listing("a/") == [Child("d", None), file("a/f")]
        snapshot.gone("a/", "a/f")
        snapshot.gone("a/", "a/d/")
        assert snapshot.listing("a/") == []


def test_a_doubtful_directory_keeps_its_rows(path: Path) -> None:
    with opened(path) as snapshot:
        snapshot.keep_listing("", [file("f")])
        snapshot.doubt("")
        assert snapshot.find("", "f") == file("f")
        assert snapshot.listing("") is None and not snapshot.complete


def test_clearing_a_directory_spares_those_beside_it(path: Path) -> None:
    names = ["a/", "a/b/", "a/b/c/", "a!/", "a0/", "ab/", ""]
    with opened(path) as snapshot:
        for folder in names:
            snapshot.keep_listing(folder, [file(f"{folder}f")])
        snapshot.clear("a")
        left = {"a!/", "a0/", "ab/", ""}
        assert snapshot.folders == left == snapshot.complete
        assert {folder for folder in names if snapshot.listing(folder) is not None} == left
        assert snapshot.find("a/b/", "f") is None
        snapshot.clear("")
        assert not snapshot.folders and not snapshot.complete
        assert all(snapshot.listing(folder) is None for folder in names)


def test_what_another_mount_dropped_is_not_an_empty_directory(path: Path) -> None:
    with opened(path) as mine:
        mine.keep_listing("a/", [file("a/f")])
        with opened(path) as others:
            others.clear("a")
        assert mine.listing("a/") is None
        assert mine.find("a/", "f") is None
        assert not mine.complete


def test_a_listing_that_cannot_be_kept_leaves_the_one_before(path: Path) -> None:
    """And the next one can be kept: no transaction stays open."""
    with opened(path) as snapshot:
        snapshot.keep_listing("", [file("f")])
        full = Child("g", Artifact("g", "v", 1 << 70, 0))
        with pytest.raises(OverflowError):
            snapshot.keep_listing("", [file("h"), full])
        assert snapshot.listing("") == [file("f")]
        snapshot.keep_listing("", [file("h")])
        assert snapshot.listing("") == [file("h")]


def test_pins_are_of_versions(path: Path) -> None:
    pins = [Artifact("a/f", "v1", 1, 0), Artifact("a/f", "v2", 2, 0), Artifact("a", "v1", 3, 0), Artifact("ab", "v1", 4, 0)]
    with opened(path) as snapshot:
        for pin in (*pins, pins[0]):
            snapshot.pin(pin)
    with opened(path) as snapshot:
        assert sorted(snapshot.pinned(""), key=lambda pin: pin.size) == pins
        assert sorted(snapshot.pinned("a"), key=lambda pin: pin.size) == pins[:3]
        assert sorted(snapshot.pinned("a/f"), key=lambda pin: pin.size) == pins[:2]
        snapshot.unpin(pins[0])
        assert snapshot.pinned("a/f") == [pins[1]]


def _garbage(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def _cut(path: Path) -> None:
    """The first page says how many there are; the others are gone."""
    os.truncate(path, 4096)


def _foreign(path: Path) -> None:
    path.unlink()
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE rows (something TEXT)")
    database.close()


@pytest.mark.parametrize("harm", [_garbage, _cut, _foreign])
def test_a_damaged_file_is_moved_aside(path: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture) -> None:
    with opened(path) as snapshot:
        snapshot.keep_listing("", [file(f"f{number}") for number in range(1000)])
        snapshot._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    harm(path)
    with opened(path) as snapshot:
        assert not snapshot.folders and not snapshot.complete
        snapshot.keep_listing("", [file("new")])
        assert snapshot.listing("") == [file("new")]
    (record,) = caplog.records
    assert told("they are moved aside, warm and pin again", record.message)
    assert Path(f"{path}{BROKEN}").exists()
    with opened(path) as snapshot:
        assert snapshot.listing("") == [file("new")]


def test_where_nothing_can_be_kept_it_goes_on_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path / "absent/store.warm") as snapshot:
        snapshot.keep_listing("", [file("f")])
        assert snapshot.listing("") == [file("f")]
    assert [record.message for record in caplog.records if told("names of what is warmed cannot be kept in", record.message)]


def test_S3_an_empty_directory_is_known_to_be_kept_after_a_restart(tmp_path: Path) -> None:
    snapshot = Snapshot(tmp_path / "s")
    snapshot.keep_listing("d/", [])
    snapshot.close()
    snapshot = Snapshot(tmp_path / "s")
    assert snapshot.complete == snapshot.folders == {"d/"}
    snapshot.close()
