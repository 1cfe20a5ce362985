"""Sets of byte ranges, against sets of bytes (S5)."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from storemount.writeback.extents import Extents

SIZE = 60
SPANS = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE))
CHANGES = st.lists(st.one_of(st.tuples(st.just("add"), SPANS), st.tuples(st.just("cut"), SPANS)), max_size=20)


@given(changes=CHANGES, asked=SPANS)
def test_extents_are_a_set_of_bytes(changes: list[tuple[str, tuple[int, int]]], asked: tuple[int, int]) -> None:
    extents, brute = Extents(), set[int]()
    for verb, (start, stop) in changes:
        if verb == "add":
            extents.add(start, stop)
            brute |= set(range(start, stop))
        else:
            extents.cut(start)
            brute = {byte for byte in brute if byte < start}
        gaps = list(extents.gaps(0, SIZE))
        assert {byte for gap in gaps for byte in range(*gap)} == set(range(SIZE)) - brute
        assert all(first[1] < second[0] for first, second in itertools.pairwise(gaps))
        assert all(start < stop for start, stop in gaps)
    assert {byte for gap in extents.gaps(*asked) for byte in range(*gap)} == set(range(*asked)) - brute


def test_a_file_written_from_end_to_end_is_one_extent() -> None:
    extents = Extents()
    for number in range(1000):
        extents.add(number * 4096, number * 4096 + 4096)
    assert len(extents) == 1
