"""Cutting a write into parts, within the limits of S3."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storemount.config import GIB, MIB
from storemount.errors import Corrupt, TooLarge
from storemount.stores.base import Source
from storemount.stores.parts import part_size, patience, ranges, read_part

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
