"""Cutting a write into parts, within the limits of S3."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from storemount.config import GIB, MIB
from storemount.errors import Corrupt, TooLarge
from storemount.stores.base import Source
from storemount.stores.budget import PARTS_BYTES, ByteBudget, Uploads
from storemount.stores.parts import SINGLE_PUT, in_memory, part_size, patience, ranges, read_part

LARGEST = 10_000 * 5 * GIB


@given(st.integers(1, LARGEST))
def test_parts_keep_the_limits_of_s3(size: int) -> None:
    part = part_size(size)
    assert 8 * MIB <= part <= 5 * GIB + MIB
    assert -(-size // part) <= 10_000


def test_more_than_an_object_can_hold() -> None:
    with pytest.raises(TooLarge):
        part_size(LARGEST + 1)


@given(st.integers(0, 500), st.integers(1, 60))
def test_ranges_cover_the_source_once(size: int, part: int) -> None:
    pieces = list(ranges(size, part))
    assert [number for number, _, _ in pieces] == list(range(1, len(pieces) + 1))
    assert [byte for _, start, stop in pieces for byte in range(start, stop)] == list(range(size))


def test_a_large_upload_leaves_room_for_small_ones() -> None:
    assert in_memory(Source("/dev/null", GIB)) <= PARTS_BYTES
    assert in_memory(Source("/dev/null", SINGLE_PUT)) == SINGLE_PUT


async def test_the_budget_of_uploads_is_kept_and_given_in_turn() -> None:
    """S15: never more than the total, and a large upload is not starved by small ones."""
    budget, held, order = ByteBudget(100), [0], list[int]()

    async def upload(count: int) -> None:
        async with budget.hold(count):
            order.append(count)
            held[0] += min(count, 100)
            assert held[0] <= 100
            await trio.testing.wait_all_tasks_blocked()
            held[0] -= min(count, 100)

    async with trio.open_nursery() as nursery:
        for count in (60, 1000, 30, 31):
            nursery.start_soon(upload, count)
            await trio.testing.wait_all_tasks_blocked()
    assert order == [60, 1000, 30, 31]


async def test_S14_a_small_upload_waits_for_no_large_one() -> None:
    uploads = Uploads()
    large, small = Source("/dev/null", GIB), Source("/dev/null", MIB)
    async with uploads.hold(large, in_memory(large)), trio.open_nursery() as nursery:

        async def another() -> None:
            async with uploads.hold(large, in_memory(large)):
                raise AssertionError("two at once")

        nursery.start_soon(another)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(5):
            async with uploads.hold(small, in_memory(small)):
                pass
        nursery.cancel_scope.cancel()


async def test_a_cancelled_upload_gives_its_bytes_back() -> None:
    budget = ByteBudget(10)
    with trio.CancelScope() as scope:
        async with budget.hold(10):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    with trio.fail_after(5):
        async with budget.hold(10):
            pass


def test_a_slow_line_gets_time_for_its_bytes() -> None:
    assert patience(0, 20) == 20
    assert patience(16 * MIB, 20) > 40


def test_reading_a_part(tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(b"0123456789")
    assert read_part(Source(str(path), 10), 3, 7) == b"3456"
    assert read_part(Source(str(path), 10), 5, 5) == b""
    with pytest.raises(Corrupt):
        read_part(Source(str(path), 12), 8, 12)
