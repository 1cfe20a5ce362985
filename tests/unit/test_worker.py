"""The worker: order, limits, company, back-off and refusals (S14, S16)."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from storemount.errors import Denied, Unavailable
from storemount.names.nodes import Node
from storemount.names.tree import Tree
from storemount.writeback.change import REMOVALS, Applied, Change, Kind, State
from storemount.writeback.journal import Journal
from storemount.writeback.staging import Staging
from storemount.writeback.worker import NAMESPACE, REMOVED_AT_ONCE, Bell, Worker
from tests.unit.rows import Notes, room


@dataclass
class Work:
    """A worker whose requests take `seconds` and fail with `error` (of the keys `bad` only, when given), or are told that it is `early`."""

    folder: Path
    uploads: int = 4
    seconds: float = 0.0
    error: Exception | None = None
    bad: frozenset[str] | None = None
    early: bool = False
    running: int = 0
    most: int = 0
    began: list[tuple[str, float]] = field(default_factory=list)
    removals: list[list[str]] = field(default_factory=list)
    secured: list[str] = field(default_factory=list)
    insecure: Exception | None = None
    failed: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        bell = Bell()
        self.book = Notes()
        self.journal = Journal(bell.ring, self.book)
        self.tree = Tree(real_directories=False)
        self.staging = Staging(self.folder, room(self.folder))
        appliers = {kind: self._apply for kind in Kind if kind not in REMOVALS}
        self.worker = Worker(
            self.journal, bell, self._secure, appliers, self._remove, lambda change: not self.early, self.failed.append, self.uploads
        )

    async def _secure(self, change: Change) -> None:
        await trio.lowlevel.checkpoint()
        if self.insecure is not None:
            raise self.insecure
        self.secured.append(change.key)

    async def _apply(self, change: Change) -> Applied:
        await self._work([change.key])
        return Applied.DONE

    async def _remove(self, changes: Sequence[Change]) -> None:
        self.removals.append([change.key for change in changes])
        await self._work(self.removals[-1])

    async def _work(self, keys: list[str]) -> None:
        assert set(keys) <= set(self.secured)
        self.began += [(key, trio.current_time()) for key in keys]
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await trio.sleep(self.seconds)
            if self.error is not None and (self.bad is None or self.bad & set(keys)):
                raise self.error
        finally:
            self.running -= 1

    def file(self, name: str) -> Node:
        return self.tree.find(name) or self.tree.add(self.tree.root, name)

    def add(self, kind: Kind, name: str, delay: float = 0.0) -> Change:
        """A row; of a put with what it sends."""
        if kind is not Kind.PUT:
            return self.journal.add(kind, self.file(name), name, to=f"{name}-moved" if kind is Kind.MOVE else None, delay=delay)
        staged = self.staging.create()
        try:
            return self.journal.put(self.file(name), staged, delay)
        finally:
            staged.drop()

    async def done(self, change: Change) -> None:
        await self.journal.finished([change], 1000)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


@pytest.mark.parametrize(("kind", "most"), [(Kind.PUT, 4), (Kind.MOVE, NAMESPACE)])
async def test_no_more_than_so_many_are_in_flight(clock: MockClock, nursery: trio.Nursery, work: Work, kind: Kind, most: int) -> None:
    work.seconds = 1
    for number in range(3 * most):
        work.add(kind, str(number))
    nursery.start_soon(work.worker.run)
    started = trio.current_time()
    await work.journal.settle("", 10)
    assert work.most == most
    assert trio.current_time() - started == pytest.approx(3)


@pytest.mark.parametrize("kind", list(Kind))
async def test_S7_what_a_power_cut_could_forget_does_not_reach_the_store(
    clock: MockClock, nursery: trio.Nursery, work: Work, kind: Kind
) -> None:
    work.insecure = OSError(errno.EIO, "the disk")
    change = work.add(kind, "name")
    nursery.start_soon(work.worker.run)
    await change.turn.wait()
    assert work.failed == [change]
    assert not work.began
    work.insecure = None
    await change.turn.wait()
    assert change.finished
    assert [key for key, _ in work.began] == ["name"]


async def test_removals_that_are_not_due_yet_go_along_with_one_that_is(clock: MockClock, nursery: trio.Nursery, work: Work) -> None:
    nursery.start_soon(work.worker.run)
    for number in range(50):
        work.add(Kind.DELETE, f"{number:02}", delay=1.0)
        await trio.sleep(0.1)
    await work.journal.settle("", 10)
    assert sum(map(len, work.removals)) == 50
    assert len(work.removals) <= 6


async def test_uploads_do_not_hold_up_other_changes(clock: MockClock, nursery: trio.Nursery, work: Work) -> None:
    work.seconds = 100
    for number in range(10):
        work.add(Kind.PUT, f"put{number}")
    nursery.start_soon(work.worker.run)
    await trio.sleep(1)
    work.seconds = 0
    started = trio.current_time()
    await work.done(work.add(Kind.MKDIR, "d"))
    assert trio.current_time() == started


async def test_a_row_starts_when_it_is_due_and_at_once_when_somebody_waits(clock: MockClock, nursery: trio.Nursery, work: Work) -> None:
    nursery.start_soon(work.worker.run)
    started = trio.current_time()
    work.add(Kind.PUT, "late", 30)
    await work.done(work.add(Kind.PUT, "soon", 30))
    await trio.sleep(60)
    assert [(key, at - started) for key, at in work.began] == [("soon", 0), ("late", pytest.approx(30))]


async def test_what_is_applied_is_written_down_as_such(clock: MockClock, nursery: trio.Nursery, work: Work) -> None:
    row = work.add(Kind.MKDIR, "d")
    work.journal.commit()
    nursery.start_soon(work.worker.run)
    await work.done(row)
    await wait_all_tasks_blocked()
    assert work.book.kept == {}


async def test_S16_a_journal_that_cannot_be_written_keeps_nobody_from_going_on(
    clock: MockClock, nursery: trio.Nursery, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [work.add(Kind.MKDIR, "d"), work.add(Kind.DELETE, "f")]
    work.journal.commit()
    work.book.error = OSError("no room in the journal")
    nursery.start_soon(work.worker.run)
    for row in rows:
        await work.done(row)
    await wait_all_tasks_blocked()
    assert "no room in the journal" in caplog.text
    work.book.error = None
    await work.done(work.add(Kind.MKDIR, "e"))
    await wait_all_tasks_blocked()
    assert work.book.kept == {}


# company


async def test_removals_that_are_ready_go_in_one_request(clock: MockClock, nursery: trio.Nursery, work: Work) -> None:
    names = [f"{number:04}" for number in range(REMOVED_AT_ONCE + 500)]
    for name in names:
        work.add(Kind.DELETE, name)
    work.add(Kind.MKDIR, "between")
    work.add(Kind.RMDIR, "directory")
    nursery.start_soon(work.worker.run)
    await work.journal.settle("", 10)
    assert sorted(len(keys) for keys in work.removals) == [1, 500, REMOVED_AT_ONCE]
    assert sorted(key for keys in work.removals for key in keys) == [*names, "directory"]


async def test_S16_of_removals_in_one_request_only_the_refused_one_stays(clock: MockClock, nursery: trio.Nursery, work: Work) -> None:
    rows = {name: work.add(Kind.DELETE, name) for name in "abcde"}
    work.error, work.bad = Denied("no"), frozenset("c")
    nursery.start_soon(work.worker.run)
    await trio.sleep(1)
    assert [row.state for row in rows.values()] == [State.DONE, State.DONE, State.REFUSED, State.DONE, State.DONE]
    assert work.failed == [rows["c"]]


async def test_S16_removals_in_one_request_that_fails_are_all_tried_again(clock: MockClock, nursery: trio.Nursery, work: Work) -> None:
    for name in "abc":
        work.add(Kind.DELETE, name)
    work.error = Unavailable("503")
    nursery.start_soon(work.worker.run)
    await trio.sleep(0.1)
    assert work.removals == [["a", "b", "c"]]
    work.error = None
    await work.journal.settle("", 100)


# failures


@pytest.mark.parametrize("kind", Kind)
async def test_S16_a_failed_change_is_tried_for_ever_ever_more_slowly(
    clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, work: Work, kind: Kind
) -> None:
    work.error = Unavailable("503")
    nursery.start_soon(work.worker.run)
    work.add(kind, "f")
    await trio.sleep(1800)
    times = [at for _, at in work.began]
    pauses = [second - first for first, second in itertools.pairwise(times)]
    assert pauses[0] <= 0.5
    assert pauses[5] > 2
    assert all(pause <= 60 for pause in pauses)
    assert all(pause >= 30 for pause in pauses[8:])
    assert "f" in caplog.text and "503" in caplog.text
    assert len(work.failed) == len(times)
    work.error = None
    await trio.sleep(61)
    assert not len(work.journal)


@pytest.mark.parametrize("kind", Kind)
async def test_S16_a_refused_change_is_kept_and_tried_again_only_when_somebody_says_so(
    clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, work: Work, kind: Kind
) -> None:
    work.error = Denied("no")
    nursery.start_soon(work.worker.run)
    row = work.add(kind, "f")
    with pytest.raises(Denied):
        await work.done(row)
    await trio.sleep(10_000)
    assert len(work.began) == 1
    assert (row.state, row.error, work.failed) == (State.REFUSED, work.error, [row])
    assert work.book.kept == {row.id: (kind, "f")}
    assert "'f' was refused (Denied: no)" in caplog.text
    work.error = None
    work.journal.retry(row)
    await work.done(row)
    assert len(work.began) == 2


async def test_a_failed_upload_gives_way_to_a_newer_one(clock: MockClock, nursery: trio.Nursery, work: Work) -> None:
    work.seconds, work.error = 10, Unavailable("503")
    nursery.start_soon(work.worker.run)
    older = work.add(Kind.PUT, "f")
    await trio.sleep(5)
    newer = work.add(Kind.PUT, "f")
    await trio.sleep(6)
    assert (older.state, list(work.journal)) == (State.CANCELLED, [newer])
    assert newer.uncertain
    work.error = None
    await work.journal.settle("", 100)
    assert len(work.began) == 2


async def test_after_a_failure_the_place_in_flight_is_free_again(clock: MockClock, nursery: trio.Nursery, tmp_path: Path) -> None:
    work = Work(tmp_path, uploads=1)
    work.error = Unavailable("503")
    nursery.start_soon(work.worker.run)
    work.add(Kind.PUT, "bad")
    await trio.sleep(0.1)
    work.error = None
    started = trio.current_time()
    await work.done(work.add(Kind.PUT, "good"))
    assert trio.current_time() == started


async def test_a_row_for_which_it_is_too_early_is_no_failure_and_waits_to_be_told(
    clock: MockClock, nursery: trio.Nursery, work: Work
) -> None:
    work.early = True
    nursery.start_soon(work.worker.run)
    row = work.add(Kind.PUT, "f")
    await trio.sleep(1000)
    assert (row.state, row.tries, row.error, work.failed) == (State.WAITING, 0, None, [])
    assert work.began == []
    work.early = False
    work.journal.again(row)
    await work.done(row)


async def test_a_bell_rung_while_nobody_sleeps_ends_the_next_sleep(clock: MockClock) -> None:
    bell = Bell()
    bell.ring()
    started = trio.current_time()
    await bell.wait_until(started + 10)
    assert trio.current_time() == started
    await bell.wait_until(started + 10)
    assert trio.current_time() == started + 10
