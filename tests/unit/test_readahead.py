"""The window: what a pattern of reads makes it fetch (arithmetic only)."""

from __future__ import annotations

import itertools
import random

import pytest

from storemount.cache.blocks import LARGEST, SIZES, SMALLEST
from storemount.cache.readahead import MAX_AHEAD, Window

MIB = 1024 * 1024
KIB = 1024
ROOM = 10 * MAX_AHEAD


def _ahead(window: Window, stop: int, room: int = ROOM) -> list[tuple[int, int]]:
    return [(number * size, (number + 1) * size) for size, number in window.ahead(stop, room)]


def test_a_file_of_one_block_is_one_block() -> None:
    window = Window(LARGEST)
    assert window.note(MIB, MIB + 4096) == LARGEST


def test_random_reads_ask_for_the_smallest_block_and_nothing_ahead() -> None:
    window = Window(1024 * MIB)
    dice = random.Random(1)
    for _ in range(50):
        start = dice.randrange(1024) * MIB
        assert window.note(start, start + 4096) == SMALLEST
        assert _ahead(window, start + 4096) == []


def test_a_stream_asks_ever_further_ahead_up_to_a_limit() -> None:
    window = Window(1024 * MIB)
    furthest: list[int] = []
    end = 0
    for start in range(0, 256 * MIB, 128 * KIB):
        stop = start + 128 * KIB
        assert window.note(start, stop) in SIZES
        end = max([end, *(last for _, last in _ahead(window, stop))])
        furthest.append(end - stop)
    assert max(furthest) <= MAX_AHEAD + LARGEST
    assert furthest[-1] >= MAX_AHEAD - LARGEST
    assert furthest[10] < furthest[100] < furthest[1000]


def test_a_stream_names_every_block_ahead_once() -> None:
    window = Window(512 * MIB)
    named: list[tuple[int, int]] = []
    for start in range(0, 256 * MIB, 128 * KIB):
        window.note(start, start + 128 * KIB)
        named += _ahead(window, start + 128 * KIB)
    for (_, stop), (start, _) in itertools.pairwise(named):
        assert stop == start


def test_reads_out_of_order_as_a_kernel_sends_them_are_one_stream() -> None:
    window = Window(512 * MIB)
    dice = random.Random(2)
    sizes = []
    for group in range(0, 32 * MIB, MIB):
        offsets = list(range(group, group + MIB, 128 * KIB))
        dice.shuffle(offsets)
        for start in offsets:
            sizes.append(window.note(start, start + 128 * KIB))
    assert SMALLEST not in sizes[1:]
    assert _ahead(window, 32 * MIB)


@pytest.mark.parametrize("streams", [2, 4])
def test_several_streams_in_one_file_are_told_apart(streams: int) -> None:
    window = Window(1024 * MIB)
    sizes = []
    for step in range(40):
        for stream in range(streams):
            start = stream * 200 * MIB + step * 128 * KIB
            size = window.note(start, start + 128 * KIB)
            if step > 2:
                sizes.append(size)
    assert SMALLEST not in sizes


def test_what_is_ahead_ends_with_the_file_and_fits_the_room() -> None:
    window = Window(10 * MIB + 5)
    for start in range(0, 8 * MIB, 128 * KIB):
        window.note(start, start + 128 * KIB)
    ahead = _ahead(window, 8 * MIB)
    assert ahead
    assert all(start < 10 * MIB + 5 for start, _ in ahead)
    assert _ahead(window, 8 * MIB, room=0) == []


def test_a_file_read_everywhere_is_fetched_whole_when_it_fits() -> None:
    dice = random.Random(3)
    sizes = {True: [0] * 0, False: [0] * 0}
    for fits in sizes:
        window = Window(64 * MIB, in_memory=fits)
        for _ in range(100):
            start = dice.randrange(64) * MIB
            sizes[fits].append(window.note(start, start + 4096))
    assert sizes[True][0] == SMALLEST
    assert sizes[True][-1] == LARGEST
    assert LARGEST not in sizes[False]


def test_a_file_read_everywhere_comes_whole_when_only_the_disk_can_hold_it_and_is_read_from_there_in_small_blocks() -> None:
    dice, named = random.Random(5), []
    window = Window(64 * MIB, in_memory=False, on_disk=True)
    for _ in range(40):
        start = dice.randrange(64) * MIB
        assert window.note(start, start + 4096) < LARGEST
        named += _ahead(window, start + 4096, room=2 * LARGEST)
    assert sorted(start for start, stop in named if stop - start == LARGEST) == list(range(0, 64 * MIB, LARGEST))


def test_the_rest_of_a_file_read_everywhere_comes_by_itself_a_little_at_a_time() -> None:
    dice, window, named = random.Random(4), Window(64 * MIB), []
    for _ in range(40):
        start = dice.randrange(64) * MIB
        window.note(start, start + 4096)
        named += _ahead(window, start + 4096, room=2 * LARGEST)
    assert sorted(start for start, stop in named if stop - start == LARGEST) == list(range(0, 64 * MIB, LARGEST))
