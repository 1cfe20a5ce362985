"""The journal's rows on the disk (S7): what survives a killed process, a full disk, and what is refused as a ledger."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storemount.writeback.ledger import VERSION, Ledger, Row, Unusable
from tests.support.readme import told

ROOT = Path(__file__).parents[2]


@contextmanager
def opened(path: Path, *, store: str = "store", boot: str = "boot") -> Iterator[Ledger]:
    ledger = Ledger(path, store=store, boot=boot)
    try:
        yield ledger
    finally:
        ledger.close()


def rows(path: Path) -> list[Row]:
    """What another process would find."""
    with opened(path) as ledger:
        return ledger.rows


def row(number: int, key: str = "key") -> Row:
    return Row(number, "put", key, {"number": number})


def ended(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Another process, at its end."""
    begin = "import os, sys\nfrom pathlib import Path\nfrom storemount.writeback.ledger import Ledger, Row\n"
    return subprocess.run([sys.executable, "-c", begin + script, *words], cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.mark.parametrize("synced", [False, True])
def test_S7_what_was_committed_survives_a_killed_process_and_nothing_else_does(path: Path, synced: bool) -> None:
    script = """
ledger = Ledger(Path(sys.argv[1]), store="store", boot="boot")
for number in range(1, 101):
    ledger.write(Row(number, "put", f"key {number}", {"number": number}))
ledger.commit()
ledger.erase(50)
ledger.write(Row(51, "delete", "other", {}))
ledger.commit()
if sys.argv[2] == "True":
    ledger.sync()
ledger.write(Row(200, "put", "never committed", {}))
ledger.erase(1)
os._exit(9)
"""
    assert ended(script, str(path), str(synced)).returncode == 9
    found = {found.id: found for found in rows(path)}
    assert set(found) == set(range(1, 101)) - {50}
    assert found[51] == Row(51, "delete", "other", {})
    assert found[7] == Row(7, "put", "key 7", {"number": 7})


def test_rows_come_back_oldest_first_with_any_key(path: Path) -> None:
    keys = ["b", "a", os.fsdecode(b"caf\xe9/\xff"), "üñ\n'\"\\", ""]
    with opened(path) as ledger:
        for number in (3, 1, 5, 2, 4):
            ledger.write(row(number, keys[number - 1]))
        ledger.commit()
    assert rows(path) == [row(number, keys[number - 1]) for number in range(1, 6)]


def test_writes_and_erasures_of_a_row_fold_until_the_commit(path: Path) -> None:
    with opened(path) as ledger:
        assert not ledger.commit()
        ledger.write(row(1))
        ledger.erase(1)
        ledger.write(row(2, "older"))
        ledger.write(row(2, "newer"))
        ledger.write(row(3))
        assert ledger.commit()
        assert not ledger.commit()
        ledger.erase(3)
        ledger.write(row(3, "back"))
        ledger.erase(4)
        assert ledger.commit()
    assert rows(path) == [row(2, "newer"), row(3, "back")]


def test_S7_rows_are_marked_as_synced_and_a_newer_promise_takes_the_mark_away(path: Path) -> None:
    with opened(path) as ledger:
        ledger.write(row(1))
        ledger.write(row(2))
        ledger.commit()
        ledger.mark_synced([1, 2, 99])
        ledger.write(row(2))
        ledger.commit()
    assert [found.synced for found in rows(path)] == [True, False]


def test_S7_a_new_run_of_the_kernel_is_known_until_the_rows_are_taken_up(path: Path) -> None:
    with opened(path, boot="first") as ledger:
        assert not ledger.rebooted
        ledger.begin()
    for _ in range(2):
        with opened(path, boot="second") as ledger:
            assert ledger.rebooted  # A daemon that dies before it has taken them up has changed nothing.
    with opened(path, boot="second") as ledger:
        ledger.begin()
    with opened(path, boot="second") as ledger:
        assert not ledger.rebooted


def test_S7_a_log_that_has_grown_is_folded_by_a_sync(path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    large = {"large": "x" * 1_000_000}
    with opened(path) as ledger:
        for number in range(12):
            ledger.write(Row(number + 1, "put", "key", large))
            ledger.commit()
        assert ledger.unsynced
        ledger.sync()
        assert not ledger.unsynced
        size = log.stat().st_size
        ledger.write(row(100))
        ledger.commit()
        assert log.stat().st_size == size
    assert len(rows(path)) == 13


def test_S7_a_sync_that_fails_is_not_taken_for_one_that_succeeded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    with opened(path) as ledger:
        ledger.write(row(1))
        ledger.commit()
        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", broken)
            with pytest.raises(OSError, match="broken"):
                ledger.sync()
        assert ledger.unsynced
        ledger.sync()
        assert not ledger.unsynced


# a full disk


def test_S15_what_cannot_be_written_is_told_and_written_with_a_later_commit(path: Path) -> None:
    """A limit on the size of files stands for a disk that refuses."""
    script = """
import resource
ledger = Ledger(Path(sys.argv[1]), store="store", boot="boot")
ledger.write(Row(1, "put", "first", {}))
ledger.commit()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
ledger.write(Row(2, "put", "large", {"large": "x" * 1_000_000}))
ledger.erase(1)
for _ in range(2):
    try:
        ledger.commit()
    except OSError as error:
        print(error.errno, error.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
ledger.write(Row(3, "put", "later", {}))
print(ledger.commit())
os._exit(0)
"""
    said = ended(script, str(path)).stdout.splitlines()
    assert len(said) == 3
    for line in said[:2]:
        assert int(line.split()[0]) in (errno.ENOSPC, errno.EIO)
        assert str(path) in line and told("cannot be written", line)
    assert said[2] == "True"
    assert [found.id for found in rows(path)] == [2, 3]


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of a quarter of a megabyte."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("a file system can be mounted only by root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_S15_on_a_full_disk_the_journal_says_so_and_goes_on_when_there_is_room(tiny: Path) -> None:
    path, filler = tiny / "journal.sqlite", tiny / "filler"
    with opened(path) as ledger:
        ledger.write(row(1))
        ledger.commit()
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        ledger.write(Row(2, "put", "large", {"large": "x" * 50_000}))
        ledger.erase(1)
        with pytest.raises(OSError, match="cannot be written") as caught:
            ledger.commit()
        assert caught.value.errno == errno.ENOSPC
        filler.unlink()
        assert ledger.commit()
    assert [found.id for found in rows(path)] == [2]


# what is no ledger of ours


def unusable(path: Path, *, store: str = "store") -> str:
    """The one line that says why."""
    before = path.read_bytes()
    with pytest.raises(Unusable) as caught:
        Ledger(path, store=store, boot="boot")
    assert path.read_bytes() == before
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_S16_a_ledger_of_a_newer_version_is_refused_unharmed(path: Path) -> None:
    with opened(path) as ledger:
        ledger.write(row(1))
        ledger.commit()
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()
    assert f"newer storemount (version {VERSION + 1}, this one knows {VERSION})" in unusable(path)


def test_S16_a_ledger_of_another_store_is_refused_unharmed(path: Path) -> None:
    with opened(path, store="s3://theirs") as ledger:
        ledger.write(row(1))
        ledger.commit()
    assert "another store, s3://theirs" in unusable(path, store="s3://ours")


def test_S16_what_is_no_database_is_refused_unharmed(path: Path) -> None:
    path.write_bytes(b"this is no database " * 500)
    assert "cannot be read as a journal" in unusable(path)


def test_S16_a_truncated_ledger_is_refused_and_not_taken_for_an_empty_one(path: Path) -> None:
    with opened(path) as ledger:
        for number in range(1, 500):
            ledger.write(row(number, "k" * 200))
        ledger.commit()
    os.truncate(path, path.stat().st_size // 2)
    assert "cannot be read as a journal" in unusable(path)


def test_S16_a_row_that_is_no_json_makes_it_unusable(path: Path) -> None:
    with opened(path) as ledger:
        ledger.write(row(1))
        ledger.commit()
    database = sqlite3.connect(path)
    database.execute("UPDATE changes SET detail = 'not json'")
    database.commit()
    database.close()
    assert "cannot be read as a journal" in unusable(path)


def test_S16_a_place_where_no_ledger_can_be_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="cannot be opened as a journal"):
        Ledger(tmp_path / "no such folder" / "journal.sqlite", store="store", boot="boot")
