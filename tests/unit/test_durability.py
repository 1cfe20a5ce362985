"""When what was promised survives a power cut (S7): what is marked, in which order, and in how many groups."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from storemount.errors import Unavailable
from storemount.writeback import durability as module
from storemount.writeback.change import Change, Kind
from storemount.writeback.durability import ONE_BY_ONE, PERIOD, Durability
from storemount.writeback.journal import Journal
from storemount.writeback.ledger import Ledger
from storemount.writeback.record import Record
from storemount.writeback.staging import StagedFile
from tests.support.bare import without_threads
from tests.support.readme import told
from tests.unit.rows import Files, Rows

_sync = module._sync


class Disk:
    """The parts of a mount that promise something, on a real ledger. `during` is called in the middle of each sync of staged files."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, *, lazy: bool = False) -> None:
        self._path = folder / "journal.sqlite"
        staging = folder / "staging"
        staging.mkdir()
        self.ledger = Ledger(self._path, store="store", boot="boot")
        self.rows = Rows()
        self.record = Record(self.ledger, lazy=lazy)
        self.journal = self.rows.journal = Journal(lambda: None, self.record)
        self.files = Files(self.rows, staging)
        self.durability = Durability(self.journal, self.record, self.ledger, staging, self._sync_store, immediate=False)
        self.groups: list[int] = []
        self.store_synced = 0
        self.error: Exception | None = None
        self.seen: list[list[tuple[str, bool]]] = []
        self.gate: trio.Event | None = None
        self.during: list[Change] = []
        patch.setattr(module, "_sync", self._observed)

    def _observed(self, files: Sequence[StagedFile], folder: Path) -> None:
        self.groups.append(len(files))
        if self.gate is not None:
            trio.from_thread.run(self.gate.wait)
        for change in self.during:
            trio.from_thread.run_sync(self.files.put, change.key)
        if isinstance(self.error, OSError):
            raise self.error
        _sync(files, folder)

    async def _sync_store(self) -> None:
        self.seen.append(self.marked())
        if self.error is not None:
            raise self.error
        self.store_synced += 1

    def marked(self) -> list[tuple[str, bool]]:
        """What a daemon that comes after a power cut would read: the keys, and whether their bytes can be believed."""
        ledger = Ledger(self._path, store="store", boot="boot")
        try:
            return [(row.key, row.synced) for row in ledger.rows]
        finally:
            ledger.close()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(tmp_path, monkeypatch)
    yield disk
    disk.ledger.close()


@pytest.fixture
def lazy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Over a store whose objects are not durable by themselves."""
    disk = Disk(tmp_path, monkeypatch, lazy=True)
    yield disk
    disk.ledger.close()


@pytest.mark.parametrize("count", [1, ONE_BY_ONE + 1])
async def test_S7_what_was_promised_is_marked_once_its_bytes_are_on_the_disk(disk: Disk, count: int) -> None:
    for number in range(count):
        disk.files.put(f"{number:02}")
    await disk.durability.now()
    assert disk.marked() == [(f"{number:02}", True) for number in range(count)]
    assert disk.groups == [count]
    assert not disk.ledger.unsynced
    await disk.durability.now()
    assert disk.groups == [count]


async def test_S7_a_file_closed_again_meanwhile_is_not_marked_before_its_own_turn(disk: Disk) -> None:
    """Its newer bytes were not in the group."""
    changed, other = disk.files.put("changed"), disk.files.put("other")
    disk.during = [changed]
    await disk.durability.now()
    assert (changed.synced, other.synced) == (False, True)
    assert disk.marked() == [("changed", False), ("other", True)]
    disk.during = []
    await disk.durability.now()
    assert disk.marked() == [("changed", True), ("other", True)]


async def test_S7_a_row_passes_once_a_power_cut_cannot_make_the_journal_forget_it(disk: Disk) -> None:
    put, made = disk.files.put("file"), disk.rows.add(Kind.MKDIR, "folder")
    await disk.durability.before(made)
    assert not disk.ledger.unsynced
    assert disk.marked() == [("file", True), ("folder", False)]
    assert disk.groups == [1]
    await disk.durability.before(put)
    assert disk.groups == [1], "it was in the group"
    disk.journal.update(made)
    await disk.durability.before(put)
    assert disk.ledger.safe < made.written
    await disk.durability.before(made)
    assert disk.ledger.safe == made.written


async def test_S7_a_row_does_not_pass_when_the_disk_fails(disk: Disk) -> None:
    change = disk.files.put("file")
    disk.error = OSError(errno.EIO, "the disk")
    with pytest.raises(OSError, match="the disk"):
        await disk.durability.before(change)
    assert disk.ledger.safe < change.written


async def test_S7_a_row_that_ended_meanwhile_is_not_brought_back_by_its_mark(disk: Disk) -> None:
    put = disk.files.put("f")
    disk.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.durability.now)
        await wait_all_tasks_blocked()
        disk.journal.start(put)
        disk.journal.finish([put])
        disk.journal.commit()
        disk.gate.set()
    assert disk.marked() == []


async def test_S7_who_comes_while_a_group_is_synced_shares_the_next_one(disk: Disk) -> None:
    disk.files.put("first")
    disk.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.durability.now)
        await wait_all_tasks_blocked()
        for number in range(5):
            disk.files.put(f"later{number}")
            nursery.start_soon(disk.durability.now)
        await wait_all_tasks_blocked()
        disk.gate.set()
    assert disk.groups == [1, 5]
    assert all(synced for _, synced in disk.marked())


async def test_S7_bytes_that_cannot_be_synced_are_told_and_not_marked(disk: Disk) -> None:
    disk.files.put("f")
    disk.error = OSError(errno.EIO, "the disk is broken")
    with pytest.raises(OSError, match="broken"):
        await disk.durability.now()
    assert disk.marked() == [("f", False)]
    disk.error = None
    await disk.durability.now()
    assert disk.marked() == [("f", True)]


async def test_S7_a_journal_that_cannot_be_synced_is_told_to_the_next_who_asks_too(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.files.put("f")
    log_sync = os.fdatasync

    def broken(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("-wal"):
            raise OSError(errno.EIO, "the log is broken")
        log_sync(fd)

    monkeypatch.setattr(os, "fdatasync", broken)
    for _ in range(2):
        with pytest.raises(OSError, match="broken"):
            await disk.durability.now()


async def test_S7_what_a_lazy_store_got_is_forgotten_only_after_the_store_was_synced(lazy: Disk) -> None:
    put = lazy.files.put("f")
    lazy.journal.commit()
    lazy.journal.start(put)
    lazy.journal.finish([put])
    lazy.error = Unavailable("not now")
    with pytest.raises(Unavailable):
        await lazy.durability.now()
    lazy.error = None
    await lazy.durability.now()
    assert [key for key, _ in lazy.seen[-1]] == ["f"]
    assert lazy.store_synced == 1
    assert lazy.marked() == []
    await lazy.durability.now()
    assert lazy.store_synced == 1


async def test_S7_what_is_done_while_the_store_is_synced_waits_for_the_next_time(lazy: Disk) -> None:
    first, second = lazy.files.put("first"), lazy.files.put("second")
    lazy.journal.start(first)
    lazy.journal.finish([first])
    sync_store = lazy._sync_store

    async def slow() -> None:
        await sync_store()
        lazy.journal.start(second)
        lazy.journal.finish([second])
        lazy.journal.commit()

    lazy.durability._sync_store = slow
    await lazy.durability.now()
    assert [key for key, _ in lazy.marked()] == ["second"]


async def test_S7_groups_follow_by_themselves_within_a_second_and_a_failure_ends_nothing(
    clock: MockClock, nursery: trio.Nursery, disk: Disk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PERIOD < 1
    monkeypatch.setattr(trio.to_thread, "run_sync", without_threads)
    nursery.start_soon(disk.durability.run)
    for error in (None, OSError(errno.EIO, "the disk is broken"), None):
        disk.error = error
        put = disk.files.put(f"{error}")
        await trio.sleep(1)
        assert put.synced is (error is None)
    assert "[Errno 5] the disk is broken" in caplog.text and told("what was closed is not safe from a power cut yet", caplog.text)
    assert all(synced for _, synced in disk.marked())
