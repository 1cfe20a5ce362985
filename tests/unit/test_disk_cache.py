"""The disk cache: what comes off it is what the store gave, and it stays within its bounds (S4, S15)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from storemount.cache.blockfile import CHUNK, Span, encoded
from storemount.cache.blocks import LARGEST, SMALLEST
from storemount.cache.disk import LOOK, DiskCache
from storemount.cache.shelf import Shelf
from storemount.config import MIB
from storemount.disk import Budget
from storemount.errors import Corrupt, NoSpace, Unsupported
from storemount.stores.base import Artifact


class Origin:
    """A store of known bytes; what it was asked for. It gives `short` bytes too few, and nothing before it `answers`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self.short = 0
        self.answers = trio.Event()
        self.answers.set()

    def content(self, artifact: Artifact) -> bytes:
        pattern = f"{artifact.key}@{artifact.version} ".encode()
        return (pattern * (artifact.size // len(pattern) + 1))[: artifact.size]

    async def fetch(self, artifact: Artifact, start: int, stop: int) -> bytes:
        self.asked.append((artifact.key, start, stop))
        await self.answers.wait()
        await trio.lowlevel.checkpoint()
        return self.content(artifact)[start : stop - self.short]


@pytest.fixture
def origin() -> Origin:
    return Origin()


@asynccontextmanager
async def cache(
    origin: Origin, folder: Path, *, size: int = 1 << 30, store: str = "s", budget: Budget | None = None
) -> AsyncIterator[DiskCache]:
    """A mount's disk cache; when it is left, all that it was to write is written."""
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as writes:
            disk = DiskCache(origin.fetch, store, folder, size, budget or Budget(None), writes)
            nursery.start_soon(disk.run)
            yield disk
        nursery.cancel_scope.cancel()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("??/*") if path.is_file())


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await trio.sleep(0.01)
    raise AssertionError("it did not come to hold")


def one(key: str = "k", version: str = "v", size: int = 1000) -> Artifact:
    return Artifact(key, version, size, 0)


async def test_a_block_outlives_the_daemon(origin: Origin, tmp_path: Path) -> None:
    large = one(size=LARGEST + 1000)
    spans = ((0, LARGEST), (LARGEST, LARGEST + 1000))
    async with cache(origin, tmp_path) as disk:
        for start, stop in spans:
            assert await disk.fetch(large, start, stop) == origin.content(large)[start:stop]
    origin.asked.clear()
    async with cache(origin, tmp_path) as disk:
        for start, stop in spans:
            assert await disk.fetch(large, start, stop) == origin.content(large)[start:stop]
        assert (disk.hits, disk.misses) == (2, 0)
    assert not origin.asked


async def test_a_small_block_comes_out_of_a_large_one(origin: Origin, tmp_path: Path) -> None:
    large = one(size=LARGEST)
    async with cache(origin, tmp_path) as disk:
        await disk.fetch(large, 0, LARGEST)
    origin.asked.clear()
    async with cache(origin, tmp_path) as disk:
        for start in (0, 3 * SMALLEST, LARGEST - SMALLEST):
            assert await disk.fetch(large, start, start + SMALLEST) == origin.content(large)[start : start + SMALLEST]
    assert not origin.asked


@pytest.mark.parametrize(
    ("wanted", "store"),
    [
        pytest.param(one(version="newer"), "s", id="another version"),
        pytest.param(one(key="other"), "s", id="another key"),
        pytest.param(one(size=999), "s", id="another size"),
        pytest.param(one(), "other", id="another store"),
    ],
)
async def test_S4_only_the_very_version_counts(origin: Origin, tmp_path: Path, wanted: Artifact, store: str) -> None:
    async with cache(origin, tmp_path) as disk:
        await disk.fetch(one(), 0, 1000)
    async with cache(origin, tmp_path, store=store) as disk:
        assert await disk.fetch(wanted, 0, wanted.size) == origin.content(wanted)
        assert disk.misses == 1


def _flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def _of_another_block(path: Path) -> None:
    other = Span("s", one(key="other"), 0, 1000)
    path.write_bytes(encoded(other, bytes(1000)) + bytes(1000))


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda path: _flip(path, -1), id="the last bit"),
        pytest.param(lambda path: _flip(path, 48), id="a bit of the data"),
        pytest.param(lambda path: _flip(path, 41), id="a bit of a checksum"),
        pytest.param(lambda path: _flip(path, 0), id="another format"),
        pytest.param(lambda path: _flip(path, 30), id="a bit of the length"),
        pytest.param(lambda path: os.truncate(path, 500), id="cut short"),
        pytest.param(lambda path: os.truncate(path, 0), id="empty"),
        pytest.param(lambda path: path.write_bytes(bytes(path.stat().st_size)), id="zeros after a power cut"),
        pytest.param(_of_another_block, id="another block"),
    ],
)
async def test_S4_a_damaged_block_is_fetched_again_and_never_served(
    origin: Origin, tmp_path: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with cache(origin, tmp_path) as disk:
        await disk.fetch(one(), 0, 1000)
    [path] = files(tmp_path)
    whole = path.read_bytes()
    harm(path)
    async with cache(origin, tmp_path) as disk:
        assert await disk.fetch(one(), 0, 1000) == origin.content(one())
        assert disk.misses == 1
    assert "a block of 'k' on the disk is damaged" in caplog.text
    assert path.read_bytes() == whole


async def test_a_range_of_a_large_block_whose_other_chunks_are_damaged_is_read(origin: Origin, tmp_path: Path) -> None:
    large = one(size=LARGEST)
    async with cache(origin, tmp_path) as disk:
        await disk.fetch(large, 0, LARGEST)
    [path] = files(tmp_path)
    _flip(path, -1)
    async with cache(origin, tmp_path) as disk:
        assert await disk.fetch(large, 0, CHUNK) == origin.content(large)[:CHUNK]
        assert await disk.fetch(large, LARGEST - CHUNK, LARGEST) == origin.content(large)[-CHUNK:]
        assert (disk.hits, disk.misses) == (1, 1)


async def test_S15_what_was_not_used_for_longest_goes_and_what_is_pinned_stays(origin: Origin, tmp_path: Path) -> None:
    artifacts = [one(key=str(number), size=MIB) for number in range(10)]
    async with cache(origin, tmp_path) as disk:
        await disk.have(artifacts[0], pinned=True)
        for artifact in artifacts[1:]:
            await disk.have(artifact, pinned=False)
    shelf = Shelf(tmp_path)
    for age, artifact in enumerate(artifacts):
        os.utime(shelf._path(Span("s", artifact, 0, MIB)), (age, age))
    async with cache(origin, tmp_path, size=5 * MIB) as disk:
        await until(lambda: 0 < disk.held <= 5 * MIB)
        there = [artifact.key for artifact in artifacts if shelf.has(Span("s", artifact, 0, MIB))]
        assert there[0] == "0"
        assert there[1:] == [str(number) for number in range(10 - len(there) + 1, 10)]
        assert 3 <= len(there) <= 5
        await disk.drop(artifacts[0])
        assert not shelf.has(Span("s", artifacts[0], 0, MIB))


async def test_S15_once_it_is_full_what_is_read_now_takes_the_place_of_what_was_read_long_ago(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storemount.cache.disk.LOOK", 0.02)
    shelf = Shelf(tmp_path)
    spans = [Span("s", one(key=str(number), size=MIB), 0, MIB) for number in range(12)]
    async with cache(origin, tmp_path, size=5 * MIB) as disk:
        for age, span in enumerate(spans):
            with trio.fail_after(30):
                while not shelf.has(span):
                    await disk.fetch(span.artifact, span.start, span.stop)
                    await trio.sleep(0.02)
            os.utime(shelf._path(span), (age + 1, age + 1))
        assert shelf.has(spans[-1]) and not shelf.has(spans[0])
        await until(lambda: disk.held <= disk.size)


async def test_S15_it_is_under_the_cap_of_what_is_staged(origin: Origin, tmp_path: Path) -> None:
    budget = Budget(16 * MIB)
    async with cache(origin, tmp_path, budget=budget) as disk:
        for number in range(20):
            await disk.fetch(one(key=str(number), size=MIB), 0, MIB)
            await trio.testing.wait_all_tasks_blocked(0.001)
        assert 0 < disk.held <= 8 * MIB
        budget.staged = 8 * MIB
        assert await disk.give_way()
        assert disk.held == 0 and not files(tmp_path)
        with pytest.raises(NoSpace):
            await disk.have(one(key="pinned"), pinned=True)


async def test_S15_one_file_may_have_half_of_it(origin: Origin, tmp_path: Path) -> None:
    budget = Budget(None)
    async with cache(origin, tmp_path / "c", size=64 * MIB, budget=budget) as disk:
        assert disk.keeps(32 * MIB)
        assert not disk.keeps(32 * MIB + 1)
        budget.cap = 64 * MIB  # Half of it is for what is staged, and an eighth of it a margin.
        assert disk.keeps(12 * MIB)
        assert not disk.keeps(12 * MIB + 1)


async def test_two_mounts_share_it(origin: Origin, tmp_path: Path) -> None:
    """Both write the same blocks, read each other's, and trim, all at once."""
    artifacts = [one(key=str(number), size=64 * 1024) for number in range(64)]

    async def use(disk: DiskCache, order: list[Artifact]) -> None:
        for artifact in order * 4:
            assert await disk.fetch(artifact, 0, artifact.size) == origin.content(artifact)

    async with cache(origin, tmp_path, size=2 * MIB) as first, cache(origin, tmp_path, size=2 * MIB) as second:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use, first, artifacts)
            nursery.start_soon(use, second, artifacts[::-1])
        await first.give_way()
        await second.give_way()
    assert not any(path.suffix == ".new" for path in files(tmp_path))
    assert sum(path.stat().st_blocks * 512 for path in files(tmp_path)) <= 5 * MIB


async def test_S15_a_folder_that_cannot_be_used_costs_a_line_and_no_read(
    origin: Origin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "file"
    folder.write_bytes(b"no folder")
    async with cache(origin, folder) as disk:
        for _ in range(3):
            assert await disk.fetch(one(), 0, 1000) == origin.content(one())
    assert len(caplog.records) <= 2
    assert str(folder) in caplog.text


async def test_a_file_that_a_killed_daemon_left_unfinished_goes(origin: Origin, tmp_path: Path) -> None:
    left = tmp_path / "ab" / "cd.1-1.new"
    left.parent.mkdir()
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    assert Shelf(tmp_path).count() == 0
    assert not left.exists()


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in files(folder))


def pins(folder: Path) -> int:
    return sum(not path.stat().st_mode & 0o200 for path in files(folder))


async def test_S15_what_many_write_at_once_is_all_counted(origin: Origin, tmp_path: Path, clock: MockClock) -> None:
    budget = Budget(None)
    async with cache(origin, tmp_path, budget=budget) as disk, trio.open_nursery() as readers:
        await trio.sleep(LOOK)
        for number in range(40):
            readers.start_soon(disk.fetch, one(key=str(number), size=MIB), 0, MIB)
    assert budget.cached == on_disk(tmp_path) > 40 * MIB


async def test_S15_what_another_mount_writes_counts_too(origin: Origin, tmp_path: Path) -> None:
    async with cache(origin, tmp_path, size=20 * MIB) as first, cache(origin, tmp_path, size=20 * MIB) as second:
        await trio.testing.wait_all_tasks_blocked(0.01)
        for disk, name in ((first, "a"), (second, "b")):
            for number in range(6):
                await disk.have(one(key=f"{name}{number}", size=MIB), pinned=False)
        await until(lambda: min(first.held, second.held) > 12 * MIB)
        await first.drop(one(key="a0", size=MIB))
        assert first.held == on_disk(tmp_path)


async def test_what_is_pinned_while_a_reader_fetches_it_stays_pinned(origin: Origin, tmp_path: Path) -> None:
    """The block of the reader comes second, to the disk too."""
    async with cache(origin, tmp_path) as disk, cache(origin, tmp_path) as other, trio.open_nursery() as readers:
        origin.answers = slow = trio.Event()
        readers.start_soon(other.fetch, one(), 0, 1000)
        await until(lambda: bool(origin.asked))
        origin.answers = trio.Event()
        origin.answers.set()
        await disk.have(one(), pinned=True)
        slow.set()
    assert pins(tmp_path) == len(files(tmp_path)) == 1


async def test_S4_a_damaged_pin_is_made_whole_and_stays_pinned(origin: Origin, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    large = one(size=LARGEST)
    async with cache(origin, tmp_path) as disk:
        await disk.have(large, pinned=True)
        [path] = files(tmp_path)
        whole = path.read_bytes()
        path.chmod(0o600)
        _flip(path, -1)
        path.chmod(0o400)
    async with cache(origin, tmp_path) as disk:
        assert await disk.fetch(large, LARGEST - 10, LARGEST) == origin.content(large)[-10:]
    assert "is damaged" in caplog.text
    assert path.read_bytes() == whole and pins(tmp_path) == 1


async def test_S15_pins_are_not_looked_at_again_and_again(origin: Origin, tmp_path: Path, mock_clock: MockClock) -> None:
    budget = Budget(32 * MIB)
    async with cache(origin, tmp_path, budget=budget) as disk:
        await disk.have(one(size=MIB), pinned=True)
        budget.staged = 16 * MIB
        assert not await disk.give_way()
        os.rename(tmp_path, moved := tmp_path.with_name("moved"))
        os.mkdir(tmp_path)
        assert not await disk.give_way() and disk.held > MIB, "it has looked again"
        os.rmdir(tmp_path)
        os.rename(moved, tmp_path)
        await disk.unpin(one(size=MIB))
        assert await disk.give_way() and not disk.held


async def test_what_comes_short_is_not_kept(origin: Origin, tmp_path: Path) -> None:
    origin.short = 1
    async with cache(origin, tmp_path) as disk:
        assert len(await disk.fetch(one(), 0, 1000)) == 999
        with pytest.raises(Corrupt):
            await disk.have(one(), pinned=False)
    assert not files(tmp_path)


async def test_S4_what_has_no_version_is_not_kept(origin: Origin, tmp_path: Path) -> None:
    async with cache(origin, tmp_path) as disk:
        assert await disk.fetch(one(version=""), 0, 1000) == origin.content(one(version=""))
        with pytest.raises(Unsupported):
            await disk.have(one(version=""), pinned=False)
    assert not files(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
async def test_S4_another_users_blocks_are_not_read(origin: Origin, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with cache(origin, tmp_path) as disk:
        await disk.fetch(one(), 0, 1000)
    os.chown(tmp_path, 12345, -1)
    async with cache(origin, tmp_path) as disk:
        assert await disk.fetch(one(), 0, 1000) == origin.content(one())
        assert (disk.hits, disk.misses) == (0, 1)
    assert "another user's" in caplog.text


async def test_nobody_else_can_write_there(origin: Origin, tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    async with cache(origin, tmp_path) as disk:
        await disk.fetch(one(), 0, 1000)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path, files(tmp_path)[0].parent)} == {0o700}


async def test_a_folder_that_is_removed_comes_back(
    origin: Origin, tmp_path: Path, clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "blocks"
    async with cache(origin, folder) as disk:
        await trio.sleep(10)
        folder.rmdir()
        await disk.fetch(one(), 0, 1000)
        await trio.sleep(10)
        assert len(caplog.records) == 1 and not folder.exists()
        await trio.sleep(70)
        await disk.fetch(one(), 0, 1000)
    assert len(caplog.records) == 1
    assert len(files(folder)) == 1


async def test_S15_a_folder_in_which_nothing_can_be_written_costs_one_line(
    origin: Origin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(256):
        (tmp_path / f"{number:02x}").write_bytes(b"in the way")
    async with cache(origin, tmp_path) as disk:
        for number in range(5):
            assert await disk.fetch(one(str(number)), 0, 1000) == origin.content(one(str(number)))
            await trio.testing.wait_all_tasks_blocked(0.001)
        with pytest.raises(OSError):
            await disk.have(one(), pinned=True)
    assert len(caplog.records) == 1


async def test_a_hit_that_the_kernel_has_at_hand_takes_no_checkpoint(origin: Origin, tmp_path: Path) -> None:
    large = one(size=LARGEST)
    async with cache(origin, tmp_path) as disk:
        await disk.have(large, pinned=False)
        await disk.fetch(large, 0, SMALLEST)
        with trio.testing.assert_no_checkpoints():
            await disk.fetch(large, 0, LARGEST)
