"""The worker: order, limits and back-off (S14, S16)."""

from __future__ import annotations

import itertools

import pytest
import trio
from trio.testing import MockClock

from storemount.errors import Denied, Unavailable
from storemount.tree import Node, Tree
from storemount.writeback.journal import Change, Journal, Kind
from storemount.writeback.worker import NAMESPACE, Bell, Worker


class Work:
    """A worker whose rows take `seconds` and fail with `error`."""

    def __init__(self, uploads: int = 4) -> None:
        bell = Bell()
        self.journal = Journal(bell.ring)
        self.tree = Tree(real_directories=False)
        self.worker = Worker(self.journal, bell, dict.fromkeys(Kind, self._apply), uploads)
        self.seconds = 0.0
        self.error: Exception | None = None
        self.running: list[Change] = []
        self.most = 0
        self.began: list[tuple[str, float]] = []

    async def _apply(self, change: Change) -> None:
        self.began.append((change.key, trio.current_time()))
        self.running.append(change)
        self.most = max(self.most, len(self.running))
        try:
            await trio.sleep(self.seconds)
            if self.error is not None:
                raise self.error
        finally:
            self.running.remove(change)

    def file(self, name: str) -> Node:
        return self.tree.add(self.tree.root, name)


@pytest.mark.parametrize(("kind", "most"), [(Kind.PUT, 4), (Kind.DELETE, NAMESPACE)])
async def test_no_more_than_so_many_are_in_flight(clock: MockClock, nursery: trio.Nursery, kind: Kind, most: int) -> None:
    work = Work(uploads=4)
    work.seconds = 1
    for number in range(3 * most):
        work.journal.add(kind, work.file(str(number)), str(number))
    nursery.start_soon(work.worker.run)
    started = trio.current_time()
    await work.journal.settle("", 10)
    assert work.most == most
    assert trio.current_time() - started == pytest.approx(3)


async def test_uploads_do_not_hold_up_other_changes(clock: MockClock, nursery: trio.Nursery) -> None:
    work = Work(uploads=1)
    work.seconds = 100
    for number in range(5):
        work.journal.add(Kind.PUT, work.file(f"put{number}"), f"put{number}")
    nursery.start_soon(work.worker.run)
    await trio.sleep(1)
    work.seconds = 0
    started = trio.current_time()
    await work.journal.wait(work.journal.add(Kind.MKDIR, work.tree.root, "d"))
    assert trio.current_time() == started


async def test_a_row_starts_when_it_is_due_and_at_once_when_somebody_waits(clock: MockClock, nursery: trio.Nursery) -> None:
    work = Work()
    nursery.start_soon(work.worker.run)
    started = trio.current_time()
    work.journal.put(work.file("late"), 30)
    waited = work.journal.put(work.file("soon"), 30)
    await work.journal.wait(waited)
    await trio.sleep(60)
    assert [(key, at - started) for key, at in work.began] == [("soon", 0), ("late", pytest.approx(30))]


async def test_S16_a_failed_upload_is_tried_for_ever_ever_more_slowly(
    clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work()
    work.error = Unavailable("503")
    nursery.start_soon(work.worker.run)
    work.journal.put(work.file("f"), 0)
    await trio.sleep(1800)
    times = [at for _, at in work.began]
    pauses = [second - first for first, second in itertools.pairwise(times)]
    assert pauses[0] <= 0.5
    assert pauses[5] > 2
    assert all(pause <= 60 for pause in pauses)
    assert all(pause >= 30 for pause in pauses[8:])
    assert "f" in caplog.text and "503" in caplog.text
    work.error = None
    await trio.sleep(61)
    assert not len(work.journal)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.PUT])
async def test_S16_any_other_change_tells_its_first_failure(clock: MockClock, nursery: trio.Nursery, kind: Kind) -> None:
    work = Work()
    work.error = Denied("no")
    nursery.start_soon(work.worker.run)
    with pytest.raises(Denied):
        await work.journal.wait(work.journal.add(kind, work.file("f"), "f", to="g" if kind is Kind.MOVE else None))
    assert len(work.began) == 1
    assert not len(work.journal)


async def test_a_failed_upload_gives_way_to_a_newer_one(clock: MockClock, nursery: trio.Nursery) -> None:
    work = Work()
    work.seconds, work.error = 10, Unavailable("503")
    nursery.start_soon(work.worker.run)
    node = work.file("f")
    work.journal.put(node, 0)
    await trio.sleep(5)
    work.journal.put(node, 0)
    await trio.sleep(6)
    assert len(work.journal) == 1
    work.error = None
    await work.journal.settle("", 100)
    assert len(work.began) == 2


async def test_after_a_failure_the_place_in_flight_is_free_again(clock: MockClock, nursery: trio.Nursery) -> None:
    work = Work(uploads=1)
    work.error = Unavailable("503")
    nursery.start_soon(work.worker.run)
    work.journal.put(work.file("bad"), 0)
    await trio.sleep(0.1)
    work.error = None
    started = trio.current_time()
    await work.journal.wait(work.journal.put(work.file("good"), 0))
    assert trio.current_time() == started


async def test_a_bell_rung_while_nobody_sleeps_ends_the_next_sleep(clock: MockClock) -> None:
    bell = Bell()
    bell.ring()
    started = trio.current_time()
    await bell.wait_until(started + 10)
    assert trio.current_time() == started
    await bell.wait_until(started + 10)
    assert trio.current_time() == started + 10
