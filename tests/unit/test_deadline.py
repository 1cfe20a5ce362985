"""Every request ends (S14)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from storemount.errors import AlreadyExists, Changed, TimedOut
from storemount.stores.base import EMPTY, Artifact, Meta, Source
from storemount.stores.budget import ByteBudget
from storemount.stores.deadline import SLOWEST, Deadlined
from tests.support.bare import put_object
from tests.support.faulty import FaultyStore, PromptMemoryStore

ARTIFACT = Artifact("f", "v1", 100, 0)


async def _list(store: Deadlined) -> None:
    async with aclosing(store.list("")) as pages:
        async for _ in pages:
            pass


CALLS: dict[str, Callable[[Deadlined], Awaitable[object]]] = {
    "check": lambda store: store.check(),
    "stat": lambda store: store.stat("f"),
    "list": _list,
    "read": lambda store: store.read(ARTIFACT, 0, 1),
    "write": lambda store: store.write("f", EMPTY),
    "sweep": lambda store: store.sweep("f"),
    "describe": lambda store: store.describe("f"),
    "annotate": lambda store: store.annotate(ARTIFACT, Meta(mtime_ns=0)),
    "copy": lambda store: store.copy(ARTIFACT, "g"),
    "rename": lambda store: store.rename("f", "g"),
    "delete": lambda store: store.delete(["f"]),
    "capacity": lambda store: store.capacity(),
}


@pytest.mark.parametrize("verb", CALLS)
async def test_S14_a_silent_store_is_timed_out_by_every_verb(clock: MockClock, verb: str) -> None:
    faulty = FaultyStore(PromptMemoryStore())
    faulty.hold(verb)
    started = trio.current_time()
    with pytest.raises(TimedOut, match="memory:"):
        await CALLS[verb](Deadlined(faulty, 20))
    assert 20 <= trio.current_time() - started < 22


async def test_S14_the_time_that_a_write_waits_for_others_is_not_its_own(clock: MockClock) -> None:
    budget = ByteBudget(10)

    class Busy(PromptMemoryStore):
        async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
            await trio.sleep(5)
            async with budget.hold(10, source.waiting):
                await trio.sleep(10 if key == "late" else 20)
                return await super().write(key, source, over=over, absent=absent)

    async with trio.open_nursery() as nursery, budget.hold(10):
        nursery.start_soon(Deadlined(Busy(), 20).write, "late", EMPTY)
        nursery.start_soon(_times_out, Deadlined(Busy(), 20))
        await trio.sleep(1000)
    assert 1010 <= trio.current_time() < 1050


async def _times_out(store: Deadlined) -> None:
    with pytest.raises(TimedOut):
        await store.write("too late", EMPTY)


async def test_S14_a_transfer_has_a_second_more_for_so_many_bytes(clock: MockClock) -> None:
    faulty = FaultyStore(PromptMemoryStore())
    faulty.hold("write")
    started = trio.current_time()
    with pytest.raises(TimedOut):
        await Deadlined(faulty, 20).write("f", Source("/dev/zero", 100 * SLOWEST))
    assert trio.current_time() - started == pytest.approx(120)


async def test_S14_the_deadline_is_for_one_page_and_not_for_what_the_reader_does_with_it(clock: MockClock, tmp_path: Path) -> None:
    faulty = FaultyStore(PromptMemoryStore())
    for number in range(3000):
        await put_object(faulty, f"{number:04}", b"", tmp_path)
    faulty.slow("list", 15)
    seen = 0
    async with aclosing(Deadlined(faulty, 20).list("")) as pages:
        async for page in pages:
            seen += len(page)
            await trio.sleep(100)
    assert seen == 3000


async def test_S9_conditions_go_through(clock: MockClock, tmp_path: Path) -> None:
    faulty = FaultyStore(PromptMemoryStore())
    store = Deadlined(faulty, 20)
    artifact = await put_object(store, "f", b"data", tmp_path)
    await store.write("f", EMPTY, over=artifact)
    with pytest.raises(Changed):
        await store.write("f", EMPTY, over=artifact)
    with pytest.raises(AlreadyExists):
        await store.write("f", EMPTY, absent=True)


async def test_an_answer_in_time_is_the_answer(clock: MockClock, tmp_path: Path) -> None:
    faulty = FaultyStore(PromptMemoryStore())
    store = Deadlined(faulty, 20)
    artifact = await put_object(store, "f", b"data", tmp_path)
    faulty.slow("read", 19)
    assert await store.read(artifact, 0, 4) == b"data"
    assert store.uri == faulty.uri and store.traits == faulty.traits


async def test_a_cancelled_caller_is_cancelled_and_not_timed_out(clock: MockClock) -> None:
    faulty = FaultyStore(PromptMemoryStore())
    faulty.hold("stat")
    with trio.move_on_after(5) as scope:
        await Deadlined(faulty, 20).stat("f")
    assert scope.cancelled_caught
