"""Staged files: layers, promises, and what is fetched from under them (S5, S6)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from storemount.errors import Unavailable
from storemount.writeback.staging import Layer, StagedFile, Staging
from tests.unit.rows import room


@dataclass
class Under:
    """A base that counts what is fetched from it, and fails or waits as told."""

    data: bytes
    fetched: list[tuple[int, int]] = field(default_factory=list)
    held: int = 1
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

    def again(self) -> Under:
        self.held += 1
        return self

    def drop(self) -> None:
        self.dropped += 1


def _content(staged: StagedFile) -> bytes:
    return Path(staged.path).read_bytes()


def _exists(staged: StagedFile) -> bool:
    return os.path.exists(staged.path)


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path, room(tmp_path))


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


async def test_fill_brings_the_rest_and_needs_nothing_below(staging: Staging) -> None:
    base = Under(os.urandom(1000))
    staged = staging.create(base)
    staged.write(0, b"y")
    assert not staged.whole
    await staged.fill()
    assert staged.whole and staged.layers == [staged] and staged.layer.base_size == 0
    assert base.dropped == 0
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
    assert upper.layers == [upper] and upper.chain == [upper, lower]
    assert _content(upper) == b"UPPER layer" + bytes(9)
    upper.drop()
    assert os.listdir(staging.folder) == []


# promises


async def test_S7_what_was_promised_is_never_overwritten_and_what_comes_after_it_may_be(staging: Staging) -> None:
    staged = staging.create()
    staged.write(0, b"promised")
    staged.protect()
    assert [staged.takes(offset) for offset in (0, 7, 8, 100)] == [False, False, True, True]
    staged.write(8, b" and more")
    assert not staged.flushed
    staged.truncate(8)
    staged.freeze()
    assert not staged.takes(8)
    staged.thaw()
    assert staged.takes(8)
    staged.drop()


async def test_S7_a_staged_file_comes_back_as_it_was_promised(staging: Staging) -> None:
    """What was appended after the promise is cut off; the rest is still fetched from the base."""
    base = Under(os.urandom(100))
    staged = staging.create(base, edits=True)
    staged.write(40, b"edited")
    staged.protect()
    promised = staged.layer
    staged.write(100, b"not promised")
    os.close(staged.fd)  # as the kernel does for a process that was killed
    back = staging.restored([promised], base, {})
    assert (back.size, back.edits, back.flushed, back.takes(99), back.layer) == (100, True, True, False, promised)
    assert bytes(await back.read(0, 200)) == base.data[:40] + b"edited" + base.data[46:]
    back.drop()


async def test_S7_layers_come_back_one_over_the_other_and_one_that_two_files_share_once(staging: Staging) -> None:
    lower = staging.create()
    lower.write(0, b"lower layer")
    lower.protect()
    lower.freeze()
    upper = staging.create(lower.hold())
    upper.write(0, b"UPPER")
    upper.protect()
    layers = [layer.layer for layer in upper.layers]
    for file in (upper, lower):
        os.close(file.fd)
    opened: dict[int, StagedFile] = {}
    one, two = staging.restored(layers[1:], None, opened), staging.restored(layers, None, opened)
    assert two.layers[1] is one
    assert bytes(await one.read(0, 100)) == b"lower layer"
    assert bytes(await two.read(0, 100)) == b"UPPER layer"
    for file in (*opened.values(), one, two):
        file.drop()
    assert os.listdir(staging.folder) == []


async def test_S7_what_is_missing_or_too_short_is_an_error_and_is_left_alone(staging: Staging) -> None:
    staged = staging.create()
    staged.write(0, b"promised")
    layer = staged.layer
    os.truncate(staged.path, 4)
    with pytest.raises(ValueError, match="4 bytes of 8"):
        staging.restored([layer], None, {})
    assert _content(staged) == b"prom"
    staged.drop()
    with pytest.raises(FileNotFoundError):
        staging.restored([layer], None, {})
    with pytest.raises(ValueError, match="without a staged file"):
        staging.restored([], None, {})


async def test_flatten_takes_over_what_the_layers_below_hold_and_asks_nothing_of_the_store(staging: Staging) -> None:
    base = Under(b"b" * 100)
    staged = staging.create(base)
    for offset in (10, 30, 50):
        staged.write(offset, b"%d" % offset)
        staged.freeze()
        staged = staging.create(staged)
    staged.write(0, b"top")
    before = list(base.fetched)
    await staged.flatten()
    assert (base.fetched, base.held - base.dropped, len(staged.layers)) == (before, 1, 1)
    assert len(os.listdir(staging.folder)) == 1
    expected = bytearray(base.data)
    expected[0:3], expected[10:12], expected[30:32], expected[50:52] = b"top", b"10", b"30", b"50"
    assert bytes(await staged.read(0, 100)) == expected
    staged.drop()
    assert base.held == base.dropped


# the folder


async def test_S16_what_is_kept_aside_is_found_again_and_goes_with_its_last_holder(staging: Staging) -> None:
    lower = staging.create()
    lower.write(0, b"lower")
    lower.freeze()
    upper = staging.create(lower)
    upper.write(0, b"U")
    layers = [layer.layer for layer in upper.layers]
    for _ in range(2):
        staging.keep(upper)
    assert os.listdir(staging.folder) == ["kept"]
    for file in (upper, lower):
        os.close(file.fd)
    opened: dict[int, StagedFile] = {}
    back = staging.restored(layers, None, opened)
    assert bytes(await back.read(0, 10)) == b"Uower"
    for file in (*opened.values(), back):
        file.drop()
    assert os.listdir(staging.folder / "kept") == []


async def test_S6_a_sweep_removes_the_files_that_nothing_needs_and_nothing_else(staging: Staging) -> None:
    needed, kept, half = (staging.create() for _ in range(3))
    staging.keep(kept)
    unsure = staging.set_aside(staging.create().number)
    (staging.folder / "journal.sqlite").touch()
    staging.sweep({needed.number, kept.number})
    assert [_exists(file) for file in (needed, kept, half)] == [True, True, False]
    assert unsure.exists()
    assert (staging.folder / "journal.sqlite").exists()
    staging.sweep(set())
    assert not _exists(kept)
    assert unsure.exists()


async def test_S7_a_number_is_never_given_twice_while_its_file_is_there(staging: Staging) -> None:
    first, second = staging.create(), staging.create()
    staging.keep(second)
    other = Staging(staging.folder, room(staging.folder)).create()
    assert len({first.number, second.number, other.number}) == 3
    assert other.number > second.number


async def test_S15_room_is_taken_by_what_is_written_and_given_back_with_the_file(tmp_path: Path) -> None:
    there = room(tmp_path)
    staging = Staging(tmp_path, there)
    staged = staging.create(Under(b"b" * 1000))
    assert there.taken == 0
    staged.write(100, b"x" * 50)
    staged.write(120, b"x" * 50)
    assert there.taken == 70
    await staged.fill()
    assert there.taken == 1000
    staged.truncate(10)
    assert there.taken == 10
    layer = staged.layer
    os.close(staged.fd)
    again = room(tmp_path)
    opened: dict[int, StagedFile] = {}
    back = Staging(tmp_path, again).restored([layer], None, opened)
    assert again.taken == 10
    for file in (*opened.values(), back):
        file.drop()
    assert again.taken == 0


Promise: TypeAlias = tuple[list[StagedFile], list[Layer], bytes]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 150), st.binary(min_size=1, max_size=40)),
        st.tuples(st.just("truncate"), st.integers(0, 150), st.just(b"")),
        st.tuples(st.just("read"), st.integers(0, 150), st.binary(max_size=60)),
        st.tuples(st.just("layer"), st.just(0), st.just(b"")),
        st.tuples(st.sampled_from(["fill", "flatten", "promise", "killed"]), st.just(0), st.just(b"")),
    ),
    max_size=25,
)


@given(base=st.binary(max_size=100), steps=STEPS)
@example(base=b"\0", steps=[(verb, 0, b"") for verb in ("layer", "promise", "flatten", "killed")])
async def test_S5_S7_any_writes_truncates_layers_and_deaths_over_a_base_are_a_file(
    base: bytes, steps: list[tuple[str, int, bytes]]
) -> None:
    """A death brings back what was promised last, and nothing that came after it. Whoever has promised layers holds each of them, as
    the journal does until it has written down others."""
    with TemporaryDirectory() as folder:
        staging, model = Staging(Path(folder), room(Path(folder))), bytearray(base)
        staged: StagedFile = staging.create(Under(base))
        promised: Promise | None = None
        for verb, offset, data in steps:
            if verb in ("write", "truncate") and not staged.takes(offset):
                staged = staging.create(staged)
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
            elif verb == "fill":
                await staged.fill()
            elif verb == "flatten":
                await staged.flatten()
            elif verb == "promise":
                staged.protect()
                older, promised = promised, _promise(staged, model)
                _let_go(older)
            elif promised is not None:
                held, layers, content = promised
                for file in {file.number: file for file in (*staged.layers, *held)}.values():
                    os.close(file.fd)
                opened: dict[int, StagedFile] = {}
                staging = Staging(Path(folder), room(Path(folder)))
                staged = staging.restored(layers, Under(base), opened)
                for file in opened.values():
                    file.drop()
                staging.sweep(set(opened))
                model, promised = bytearray(content), _promise(staged, content)
            assert staged.size == len(model)
        await staged.fill()
        assert _content(staged) == model
        _let_go(promised)
        staged.drop()
        assert os.listdir(folder) == []


def _promise(staged: StagedFile, content: bytes | bytearray) -> Promise:
    held = [layer.hold() for layer in staged.layers]
    return held, [layer.layer for layer in held], bytes(content)


def _let_go(promised: Promise | None) -> None:
    for layer in promised[0] if promised is not None else ():
        layer.drop()
