"""Staged files: extents, layers, and what is fetched from under them (S5, S6)."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from storemount.errors import Unavailable
from storemount.writeback.staging import Extents, StagedFile, Staging

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


@dataclass
class Under:
    """A base that counts what is fetched from it, and fails or waits as told."""

    data: bytes
    fetched: list[tuple[int, int]] = field(default_factory=list)
    dropped: int = 0
    error: Exception | None = None
    gate: trio.Event | None = None

    @property
    def size(self) -> int:
        return len(self.data)

    async def fetch(self, start: int, stop: int) -> bytes:
        self.fetched.append((start, stop))
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.data[start:stop]

    def drop(self) -> None:
        self.dropped += 1


def _content(staged: StagedFile) -> bytes:
    return Path(staged.path).read_bytes()


def _exists(staged: StagedFile) -> bool:
    return os.path.exists(staged.path)


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path)


async def test_only_what_is_read_is_fetched_and_once(staging: Staging) -> None:
    base = Under(os.urandom(1000))
    staged = staging.create(base)
    staged.write(500, b"x" * 100)
    assert base.fetched == []
    assert bytes(await staged.read(450, 200)) == base.data[450:500] + b"x" * 100 + base.data[600:650]
    assert base.fetched == [(450, 500), (600, 650)]
    assert bytes(await staged.read(450, 200)) == base.data[450:500] + b"x" * 100 + base.data[600:650]
    assert len(base.fetched) == 2
    staged.drop()


async def test_fill_brings_the_rest_and_lets_the_base_go(staging: Staging) -> None:
    base = Under(os.urandom(1000))
    staged = staging.create(base)
    staged.write(0, b"y")
    assert not staged.whole
    await staged.fill()
    assert staged.whole
    assert base.dropped == 1
    assert _content(staged) == b"y" + base.data[1:]
    staged.drop()
    assert base.dropped == 1


async def test_a_write_during_a_fetch_is_not_overwritten_by_it(staging: Staging) -> None:
    base = Under(b"b" * 100, gate=trio.Event())
    staged = staging.create(base)
    got: list[bytes] = []

    async def read() -> None:
        got.append(bytes(await staged.read(0, 100)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        staged.write(10, b"WRITTEN")
        assert base.gate is not None
        base.gate.set()
    assert got == [b"b" * 10 + b"WRITTEN" + b"b" * 83]
    staged.drop()


async def test_a_truncate_during_a_fetch_leaves_zeros(staging: Staging) -> None:
    base = Under(b"b" * 100, gate=trio.Event())
    staged = staging.create(base)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(staged.read, 0, 100)
        await trio.testing.wait_all_tasks_blocked()
        staged.truncate(10)
        staged.truncate(100)
        assert base.gate is not None
        base.gate.set()
    assert bytes(await staged.read(0, 100)) == b"b" * 10 + bytes(90)
    staged.drop()


async def test_what_the_base_cannot_give_is_an_error_and_can_be_tried_again(staging: Staging) -> None:
    base = Under(b"b" * 10, error=Unavailable("503"))
    staged = staging.create(base)
    with pytest.raises(Unavailable):
        await staged.read(0, 10)
    with pytest.raises(Unavailable):
        await staged.fill()
    base.error = None
    assert bytes(await staged.read(0, 10)) == base.data
    staged.drop()


async def test_the_file_goes_with_its_last_holder_even_in_the_middle_of_a_read(staging: Staging) -> None:
    base = Under(b"b" * 10, gate=trio.Event())
    staged = staging.create(base)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(staged.read, 0, 10)
        await trio.testing.wait_all_tasks_blocked()
        staged.drop()
        assert _exists(staged)
        assert base.gate is not None
        base.gate.set()
    assert not _exists(staged)
    assert base.dropped == 1


async def test_a_layer_over_a_frozen_file_keeps_both_contents(staging: Staging) -> None:
    lower = staging.create()
    lower.write(0, b"lower layer")
    lower.freeze()
    upload = lower.hold()
    upper = staging.create(lower)
    upper.write(0, b"UPPER")
    assert bytes(await upper.read(0, 100)) == b"UPPER layer"
    assert bytes(await upload.read(0, 100)) == b"lower layer"
    upload.drop()
    upper.truncate(20)
    await upper.fill()
    assert not _exists(lower)
    assert _content(upper) == b"UPPER layer" + bytes(9)
    upper.drop()
    assert os.listdir(staging.folder) == []


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 150), st.binary(min_size=1, max_size=40)),
        st.tuples(st.just("truncate"), st.integers(0, 150), st.just(b"")),
        st.tuples(st.just("read"), st.integers(0, 150), st.binary(max_size=60)),
        st.tuples(st.just("layer"), st.just(0), st.just(b"")),
        st.tuples(st.just("fill"), st.just(0), st.just(b"")),
    ),
    max_size=25,
)


@given(base=st.binary(max_size=100), steps=STEPS)
async def test_S5_any_writes_truncates_and_layers_over_a_base_are_a_file(base: bytes, steps: list[tuple[str, int, bytes]]) -> None:
    with TemporaryDirectory() as folder:
        staging, model = Staging(Path(folder)), bytearray(base)
        staged: StagedFile = staging.create(Under(base))
        for verb, offset, data in steps:
            if verb == "write":
                staged.write(offset, data)
                model.extend(bytes(max(0, offset - len(model))))
                model[offset : offset + len(data)] = data
            elif verb == "truncate":
                staged.truncate(offset)
                del model[offset:]
                model.extend(bytes(offset - len(model)))
            elif verb == "read":
                assert bytes(await staged.read(offset, len(data))) == model[offset : offset + len(data)]
            elif verb == "layer":
                staged.freeze()
                staged = staging.create(staged)
            else:
                await staged.fill()
            assert staged.size == len(model)
        await staged.fill()
        assert _content(staged) == model
        staged.drop()
        assert os.listdir(folder) == []
