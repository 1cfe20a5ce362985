"""The crossing between trio and asyncio: results, failures and cancellation arrive once, on the right side."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
import trio

from storemount.errors import Unavailable
from storemount.stores.bridge import AsyncioThread


@pytest.fixture
async def bridge() -> AsyncIterator[AsyncioThread]:
    made = AsyncioThread("test-bridge")
    yield made
    await made.aclose()
    assert "test-bridge" not in {thread.name for thread in threading.enumerate()}


async def test_a_result_comes_back(bridge: AsyncioThread) -> None:
    async def add(one: int, *, other: int) -> tuple[int, str]:
        return one + other, threading.current_thread().name

    assert await bridge.run(add, 1, other=2) == (3, "test-bridge")


async def test_a_failure_comes_back(bridge: AsyncioThread) -> None:
    async def fail() -> None:
        raise KeyError("told")

    with pytest.raises(KeyError, match="told"):
        await bridge.run(fail)


async def test_many_at_once(bridge: AsyncioThread) -> None:
    met = asyncio.Event()
    waiting: list[int] = []

    async def meet(number: int) -> int:
        waiting.append(number)
        if len(waiting) == 200:
            met.set()
        await met.wait()
        return number

    results: list[int] = []

    async def one(number: int) -> None:
        results.append(await bridge.run(meet, number))

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(one, number)
    assert sorted(results) == list(range(200))


async def test_cancelling_waits_until_asyncio_has_let_go(bridge: AsyncioThread) -> None:
    started, ended = threading.Event(), threading.Event()

    async def hang() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.run, hang)
            await trio.to_thread.run_sync(started.wait)
            scope.cancel()
    assert scope.cancelled_caught
    assert ended.is_set()


async def test_cancelled_before_it_begins_nothing_starts(bridge: AsyncioThread) -> None:
    begun: list[int] = []

    async def begin() -> None:
        begun.append(1)

    with trio.CancelScope() as scope:
        scope.cancel()
        await bridge.run(begin)
    assert scope.cancelled_caught
    assert begun == []


async def test_a_result_that_was_ready_is_not_lost_to_a_cancellation(bridge: AsyncioThread) -> None:
    """What was done is reported as done: a finished upload must not look cancelled."""

    started = threading.Event()

    async def stubborn() -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done"
        return "never"

    results: list[str] = []

    async def one() -> None:
        results.append(await bridge.run(stubborn))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        await trio.to_thread.run_sync(started.wait)
        nursery.cancel_scope.cancel()
    assert results == ["done"]


async def test_a_cancellation_that_nobody_asked_for_is_a_failure(bridge: AsyncioThread) -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(Unavailable):
        await bridge.run(give_up)


async def test_it_can_be_closed_unused() -> None:
    await AsyncioThread("unused").aclose()
