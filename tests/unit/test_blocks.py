"""The block cache: one fetch however many wait, hard caps, failures that are told and not kept (S14, S15)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from storemount.cache.blocks import LARGEST, SIZES, SMALLEST, BlockCache
from storemount.errors import Corrupt, Unavailable
from storemount.stores.base import Artifact

MIB = 1024 * 1024
CONTENT = os.urandom(20 * MIB)
ARTIFACT = Artifact("key", "v1", len(CONTENT), 0)


class Source:
    """What the cache fetches from: counts, and fails or waits as told."""

    def __init__(self) -> None:
        self.fetched: list[tuple[int, int]] = []
        self.now = 0
        self.most = 0
        self.seconds = 0.0
        self.error: Exception | None = None

    async def fetch(self, artifact: Artifact, start: int, stop: int) -> bytes:
        self.fetched.append((start, stop))
        self.now += stop - start
        self.most = max(self.most, self.now)
        try:
            await trio.sleep(self.seconds)
            if self.error is not None:
                raise self.error
            return CONTENT[start:stop]
        finally:
            self.now -= stop - start


@asynccontextmanager
async def cached(capacity: int = 256 * MIB) -> AsyncIterator[tuple[BlockCache, Source]]:
    source = Source()
    async with trio.open_nursery() as nursery:
        yield BlockCache(source.fetch, capacity, nursery), source


async def test_fifty_readers_of_one_block_are_one_fetch(clock: MockClock) -> None:
    got: list[bytes] = []
    async with cached() as (blocks, source):
        source.seconds = 1

        async def read(number: int) -> None:
            got.append(bytes(await blocks.read(ARTIFACT, number, number + 100, MIB)))

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(read, number)
        assert sorted(got) == sorted(CONTENT[number : number + 100] for number in range(50))
        assert source.fetched == [(0, MIB)]


async def test_a_failure_reaches_all_who_wait_and_is_not_cached(clock: MockClock) -> None:
    async with cached() as (blocks, source):
        source.seconds, source.error = 1, Unavailable("503")
        failed = 0

        async def read() -> None:
            nonlocal failed
            with pytest.raises(Unavailable):
                await blocks.read(ARTIFACT, 0, 100, MIB)
            failed += 1

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(read)
        assert failed == 50
        assert len(source.fetched) == 1
        source.error = None
        assert await blocks.read(ARTIFACT, 0, 100, MIB) == CONTENT[:100]


async def test_a_reader_who_gives_up_disturbs_nobody(clock: MockClock) -> None:
    async with cached() as (blocks, source):
        source.seconds = 10
        got: list[bytes] = []

        async def stay() -> None:
            got.append(bytes(await blocks.read(ARTIFACT, 0, 100, MIB)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stay)
            with trio.move_on_after(1) as gave_up:
                await blocks.read(ARTIFACT, 0, 100, MIB)
            assert gave_up.cancelled_caught
        assert got == [CONTENT[:100]]
        assert len(source.fetched) == 1


async def test_a_fetch_goes_on_when_its_only_reader_gives_up(clock: MockClock) -> None:
    async with cached() as (blocks, source):
        source.seconds = 10
        with trio.move_on_after(1):
            await blocks.read(ARTIFACT, 0, 100, MIB)
        await trio.sleep(10)
        assert bytes(blocks.take(ARTIFACT, 0, 100) or b"") == CONTENT[:100]


async def test_a_hit_takes_no_checkpoint_and_a_miss_does() -> None:
    async with cached() as (blocks, _):
        assert blocks.take(ARTIFACT, 0, 100) is None
        with assert_checkpoints():
            await blocks.read(ARTIFACT, 0, 100, MIB)
        with assert_no_checkpoints():
            assert bytes(blocks.take(ARTIFACT, MIB - 100, MIB) or b"") == CONTENT[MIB - 100 : MIB]
            assert await blocks.read(ARTIFACT, 5, 10, MIB) == CONTENT[5:10]
        assert blocks.take(ARTIFACT, MIB - 1, MIB + 1) is None


async def test_S15_what_is_held_stays_under_the_cap_and_the_oldest_goes_first() -> None:
    async with cached(capacity=16 * MIB) as (blocks, source):
        for number in range(20):
            await blocks.read(ARTIFACT, number * MIB, (number + 1) * MIB, MIB)
            assert blocks.held <= blocks.capacity
        assert blocks.take(ARTIFACT, 19 * MIB, 20 * MIB) is not None
        assert blocks.take(ARTIFACT, 0, MIB) is None
        assert len(source.fetched) == 20


async def test_S15_what_is_on_its_way_and_what_is_held_stay_under_the_cap_together(clock: MockClock) -> None:
    async with cached(capacity=16 * MIB) as (blocks, source):
        source.seconds = 1
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(blocks.read, ARTIFACT, number * MIB, number * MIB + 1, MIB)
            await wait_all_tasks_blocked()
            assert blocks.room_ahead == 0
        assert source.most + blocks.held <= blocks.capacity
        assert len(source.fetched) == 20


async def test_S15_a_block_larger_than_a_small_cap_is_still_read() -> None:
    async with cached(capacity=0) as (blocks, _):
        assert await blocks.read(ARTIFACT, 0, LARGEST, LARGEST) == CONTENT[:LARGEST]


async def test_a_short_answer_is_corrupt_and_not_kept() -> None:
    async def short(artifact: Artifact, start: int, stop: int) -> bytes:
        await trio.lowlevel.checkpoint()
        return CONTENT[start : stop - 1]

    async with trio.open_nursery() as nursery:
        blocks = BlockCache(short, MIB, nursery)
        with pytest.raises(Corrupt):
            await blocks.read(ARTIFACT, 0, 10, MIB)
        assert blocks.held == 0


async def test_versions_never_mix() -> None:
    other = Artifact("key", "v2", len(CONTENT), 0)
    async with cached() as (blocks, source):
        await blocks.read(ARTIFACT, 0, 10, MIB)
        assert blocks.take(other, 0, 10) is None
        await blocks.read(other, 0, 10, MIB)
        assert len(source.fetched) == 2


async def test_read_ahead_sets_out_once_and_is_joined_by_the_reader(clock: MockClock) -> None:
    async with cached() as (blocks, source):
        source.seconds = 1
        for _ in range(3):
            blocks.set_out(ARTIFACT, MIB, 3)
        assert await blocks.read(ARTIFACT, 3 * MIB, 3 * MIB + 10, SMALLEST) == CONTENT[3 * MIB : 3 * MIB + 10]
        assert source.fetched == [(3 * MIB, 4 * MIB)]


RANGES = st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(1, 6 * MIB), st.sampled_from(SIZES))


@given(reads=st.lists(RANGES, max_size=8), capacity=st.integers(0, 24))
async def test_any_reads_in_any_block_size_give_the_bytes(reads: list[tuple[int, int, int]], capacity: int) -> None:
    async with cached(capacity * MIB) as (blocks, _):
        for start, length, size in reads:
            stop = min(start + length, len(CONTENT))
            assert await blocks.read(ARTIFACT, start, stop, size) == CONTENT[start:stop]
            assert blocks.held <= blocks.capacity
