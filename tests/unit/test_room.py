"""How much may be staged, and who waits for whom (S15)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from storemount.disk import Budget
from storemount.errors import NoSpace
from storemount.writeback.room import IDLE, Room


class Place:
    """A room of 100 bytes, in which a write waits 10 s; how often uploads were hurried."""

    def __init__(self, folder: Path) -> None:
        self.hurried = 0
        self.budget = Budget(100)
        self.evictable = 0
        self.room = Room(folder, self.budget, 10.0, self._hurry, self._give_way)

    def _hurry(self) -> None:
        self.hurried += 1

    async def _give_way(self) -> bool:
        gone, self.budget.cached = self.budget.cached, self.budget.cached - self.evictable
        return self.budget.cached < gone

    async def write(self, count: int, file: str) -> None:
        if not self.room.fits(count, file):
            await self.room.wait(count, file)
        self.room.take(count)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield Place(tmp_path)


async def test_S15_a_lone_file_may_have_the_whole_of_it_and_not_a_byte_more(clock: MockClock, place: Place) -> None:
    for _ in range(10):
        await place.write(10, "a")
    began = trio.current_time()
    with pytest.raises(NoSpace):
        await place.write(1, "a")
    assert trio.current_time() - began == pytest.approx(10)
    assert place.hurried
    assert place.room.taken == 100


async def test_S15_the_second_half_is_for_one_file_at_a_time(clock: MockClock, nursery: trio.Nursery, place: Place) -> None:
    await place.write(50, "a")
    await place.write(10, "b")
    assert not place.room.fits(10, "c")
    nursery.start_soon(place.write, 10, "c")
    await trio.testing.wait_all_tasks_blocked()
    await place.write(10, "b")
    assert place.room.taken == 70
    place.room.finished("a")
    assert not place.room.fits(10, "c"), "it was not the turn of a"
    place.room.finished("b")
    await trio.testing.wait_all_tasks_blocked()
    assert place.room.taken == 80


async def test_S15_a_file_that_is_left_open_loses_its_turn(clock: MockClock, place: Place) -> None:
    await place.write(50, "a")
    await place.write(10, "b")
    began = trio.current_time()
    await place.write(10, "c")
    assert IDLE <= trio.current_time() - began < 2 * IDLE


async def test_S15_as_many_writers_as_there_are_finish_files_of_half_the_cap(clock: MockClock, place: Place) -> None:
    """Each gives its room back some time after it was closed, as an upload does."""
    done = []

    async def stored(count: int) -> None:
        await trio.sleep(0.1)
        place.room.give(count)

    async def write(name: str, nursery: trio.Nursery) -> None:
        for _ in range(10):
            await place.write(5, name)
            await trio.sleep(0.01)
        place.room.finished(name)
        nursery.start_soon(stored, 50)
        done.append(name)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(write, str(number), nursery)
    assert len(done) == 20
    assert place.room.taken == 0


async def test_S15_everybody_who_waits_hears_of_room_at_once(clock: MockClock, nursery: trio.Nursery, place: Place) -> None:
    await place.write(100, "a")
    place.room.finished("a")
    nursery.start_soon(place.write, 10, "b")
    nursery.start_soon(place.write, 10, "c")
    await trio.testing.wait_all_tasks_blocked()
    began = trio.current_time()
    place.room.give(100)
    await trio.testing.wait_all_tasks_blocked()
    assert place.room.taken == 20
    assert trio.current_time() == began


async def test_S15_the_disk_cache_gives_way_before_a_write_waits(clock: MockClock, place: Place) -> None:
    place.budget.cached = place.evictable = 60
    began = trio.current_time()
    await place.write(50, "a")
    assert trio.current_time() == began
    assert place.budget.cached == 0


async def test_S15_what_the_disk_cache_keeps_counts(clock: MockClock, place: Place) -> None:
    place.budget.cached = 60
    with pytest.raises(NoSpace):
        await place.write(50, "a")
