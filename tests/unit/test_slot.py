"""Which folder a mount takes for its journal (S8): one daemon each, and nothing unfinished is passed over in silence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storemount.writeback.ledger import Ledger, Row
from storemount.writeback.slot import take
from tests.support.readme import told

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys
from pathlib import Path
from storemount.writeback.slot import take
print(take(Path(sys.argv[1]), sys.argv[2]).folder, flush=True)
sys.stdin.readline()
"""


@contextmanager
def another_mount(staging: Path, store: str = "store") -> Iterator[Path]:
    """The slot of another process, which is killed in the end."""
    words = [sys.executable, "-c", HOLDER, str(staging), store]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Path(process.stdout.readline().strip())
        finally:
            process.kill()


def taken(staging: Path, store: str = "store") -> Path:
    """The slot that is taken now; it is free again at once."""
    slot = take(staging, store)
    slot.release()
    return slot.folder


def unfinished(folder: Path) -> None:
    """A mount left a change in this slot."""
    ledger = Ledger(folder / "journal.sqlite", store="store", boot="boot")
    ledger.write(Row(1, "put", "key", {}))
    ledger.commit()
    ledger.close()


def finished(folder: Path) -> None:
    """A mount left nothing in this slot."""
    Ledger(folder / "journal.sqlite", store="store", boot="boot").close()


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """The folders of three mounts that ran at the same time, in their order."""
    slots = [take(tmp_path, "store") for _ in range(3)]
    for slot in slots:
        finished(slot.folder)
        slot.release()
    return [slot.folder for slot in slots]


def test_a_slot_is_private_and_taken_again_by_the_next_mount_of_its_store_only(tmp_path: Path) -> None:
    folder = taken(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert taken(tmp_path) == folder
    assert taken(tmp_path, "another store") != folder


def test_S8_a_slot_is_one_daemons_for_as_long_as_it_lives(tmp_path: Path) -> None:
    with another_mount(tmp_path) as theirs:
        ours = taken(tmp_path)
        assert ours.parent == theirs.parent == tmp_path
        assert ours != theirs
        unfinished(theirs)
        assert taken(tmp_path) == ours
    assert taken(tmp_path) == theirs


@pytest.mark.parametrize("number", range(3))
def test_S8_what_an_earlier_mount_has_left_comes_first(
    tmp_path: Path, three: list[Path], caplog: pytest.LogCaptureFixture, number: int
) -> None:
    unfinished(three[number])
    assert taken(tmp_path) == three[number]
    assert not caplog.records


def test_S8_of_two_that_are_unfinished_one_is_taken_and_the_other_is_named_and_left_for_the_next(
    tmp_path: Path, three: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    unfinished(three[1])
    unfinished(three[2])
    first = take(tmp_path, "store")
    (warning,) = caplog.records
    assert str(three[2]) in warning.getMessage() and told("left changes in", warning.getMessage())
    second = take(tmp_path, "store")
    assert [first.folder, second.folder] == three[1:]
    first.release()
    second.release()


@pytest.mark.parametrize("garbage", [b"this is no database", b"SQLite format 3\0" + bytes(84)])
def test_S16_a_journal_that_cannot_be_read_is_not_passed_over(tmp_path: Path, three: list[Path], garbage: bytes) -> None:
    """Whoever takes it says why it cannot be used."""
    (three[2] / "journal.sqlite").write_bytes(garbage)
    assert taken(tmp_path) == three[2]


def test_looking_for_unfinished_changes_leaves_a_journal_as_it_was(tmp_path: Path, three: list[Path]) -> None:
    unfinished(three[0])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    taken(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
