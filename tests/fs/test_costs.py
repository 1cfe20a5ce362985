"""What things cost: requests for each operation, and no checkpoint where nothing needs to be waited for (DESIGN: cost rules; S10)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
from pyfuse3 import RequestContext
from trio.testing import MockClock, assert_no_checkpoints

from storemount.names.namespace import RUN
from storemount.names.nodes import ROOT
from tests.support.bare import bare_mount, objects, put_object, staged_files
from tests.support.faulty import FaultyStore

MIB = 1024 * 1024
KIB = 1024


async def test_a_cache_hit_passes_no_checkpoint(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    await put_object(store, "d/f", b"content", staging)
    context = RequestContext()
    async with bare_mount(store, staging) as m:
        await m.names("d")
        fh = await m.open("d/f")
        await m.read(fh)
        folder, file = await m.ino("d"), await m.ino("d/f")
        with assert_no_checkpoints():
            assert await m.fs.read(fh, 0, 7) == b"content"
            assert (await m.fs.lookup(folder, b"f", context)).st_ino == file
            assert (await m.fs.lookup(folder, b"absent", context)).st_ino == 0
            assert (await m.fs.getattr(file, context)).st_size == 7
        await m.close(fh)


async def test_opening_writing_and_closing_pass_no_checkpoint(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    await put_object(store, "f", b"content", staging)
    context = RequestContext()
    async with bare_mount(store, staging) as m:
        file = await m.ino("f")
        with assert_no_checkpoints():
            fh = (await m.fs.open(file, os.O_RDWR, context)).fh
            await m.fs.write(fh, 0, b"new")
            await m.fs.flush(fh)
            await m.fs.release(fh)


async def test_a_lookup_is_one_request(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    await put_object(store, "d/f", b"1", staging)
    async with bare_mount(store, staging) as m:
        folder = await m.ino("d")
        store.forget()
        await m.lookup(folder, "f")
        assert store.count() == Counter(stat=1)


async def test_a_listing_is_one_request_and_none_for_each_entry(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    for number in range(500):
        await put_object(store, f"d/{number:03}", b"x", staging)
    async with bare_mount(store, staging) as m:
        folder = await m.ino("d")
        store.forget()
        names = await m.names("d")
        for name in names:
            await m.lookup(folder, name)
        assert len(names) == 500
        assert store.count() == Counter(list=1)


async def test_looking_up_many_names_costs_a_listing_and_not_a_request_each(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    for number in range(100):
        await put_object(store, f"d/{number:03}", b"x", staging)
    async with bare_mount(store, staging) as m:
        folder = await m.ino("d")
        store.forget()
        for number in range(100):
            await m.lookup(folder, f"{number:03}")
        assert len(store.requests) < 10


async def test_a_small_file_is_one_read(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    content = os.urandom(300 * KIB)
    await put_object(store, "f", content, staging)
    async with bare_mount(store, staging) as m:
        fh = await m.open("f")
        store.forget()
        got = b"".join([await m.read(fh, offset, 128 * KIB) for offset in range(0, 400 * KIB, 128 * KIB)])
        await m.close(fh)
        assert got == content
        assert store.count() == Counter(read=1)


async def test_a_large_file_is_read_in_large_pieces_and_each_byte_once(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    content = os.urandom(40 * MIB)
    await put_object(store, "f", content, staging)
    async with bare_mount(store, staging, cache_size=128 * MIB) as m:
        fh = await m.open("f")
        store.forget()
        for offset in range(0, len(content), 128 * KIB):
            assert await m.read(fh, offset, 128 * KIB) == content[offset : offset + 128 * KIB]
        await m.close(fh)
        assert sum(request.stop - request.start for request in store.requests) == len(content)
        assert store.count()["read"] <= 20


async def test_random_reads_of_a_large_file_fetch_little(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    content = bytes(64 * MIB)
    await put_object(store, "f", content, staging)
    async with bare_mount(store, staging) as m:
        fh = await m.open("f")
        store.forget()
        for number in (40, 7, 55, 21, 33, 60, 14, 48):
            await m.read(fh, number * MIB + 12345, 4 * KIB)
        await m.close(fh)
        assert sum(request.stop - request.start for request in store.requests) <= 8 * 256 * KIB


async def test_a_write_into_the_middle_of_a_big_object_fetches_nothing_before_close(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    content = os.urandom(20 * MIB)
    await put_object(store, "f", content, staging)
    async with bare_mount(store, staging) as m:
        fh = await m.open("f", os.O_RDWR)
        store.forget()
        await m.write(fh, 10 * MIB, b"middle")
        assert not store.requests
        assert await m.read(fh, 10 * MIB - 2, 10) == content[10 * MIB - 2 : 10 * MIB] + b"middle" + content[10 * MIB + 6 : 10 * MIB + 8]
        assert sum(request.stop - request.start for request in store.requests) <= 8 * MIB
        await m.close(fh)
        await m.settle()
        assert (await objects(store))["f"] == content[: 10 * MIB] + b"middle" + content[10 * MIB + 6 :]


async def test_mkdir_rmdir_and_unlink_are_one_request_each_and_wait_for_none(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    await put_object(store, "f", b"1", staging)
    context = RequestContext()
    async with bare_mount(store, staging) as m:
        await m.names()
        steps: list[tuple[Callable[[], Awaitable[object]], Counter[str]]] = [
            (lambda: m.fs.mkdir(ROOT, b"d", 0o755, context), Counter(write=1)),
            (lambda: m.fs.rmdir(ROOT, b"d", context), Counter(delete=1)),
            (lambda: m.fs.unlink(ROOT, b"f", context), Counter(delete=1)),
        ]
        for change, requests in steps:
            store.forget()
            await change()
            assert not store.requests
            await m.settle()
            assert store.count() == requests


async def test_a_run_of_removals_goes_together(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    """Five seconds of `rm -rf`: a request after one delay, as for a single removal, one for each four after that, and the directory's."""
    delay = 0.5
    await put_object(store, "d/", b"", staging)
    for number in range(50):
        await put_object(store, f"d/{number}", b"1", staging)
    async with bare_mount(store, staging, upload_delay=delay) as m:
        await m.names("d")
        store.forget()
        for number in range(50):
            await m.unlink(f"d/{number}")
            if number % 4 == 3:
                await trio.sleep(0.4)
        await m.rmdir("d")
        await trio.sleep(RUN * delay + 1)
        assert store.count()["delete"] <= 3 + 5 / (RUN * delay)
        assert not await m.names()
        assert not [page async for page in store.inner.list("") if page]


async def test_a_directory_that_is_made_and_removed_is_no_request(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        await m.names()
        store.forget()
        await m.mkdir("d")
        await m.put("d/f", b"1")
        await m.unlink("d/f")
        await m.rmdir("d")
        await m.settle()
        assert not store.requests


async def test_a_tree_is_removed_in_one_request_for_its_files_and_one_for_each_level_of_directories(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    for key in ("t/", "t/a/", "t/b/", *(f"t/{folder}/{number}" for folder in "ab" for number in range(100))):
        await put_object(store, key, b"", staging)
    async with bare_mount(store, staging) as m:
        for folder in ("", "t", "t/a", "t/b"):
            await m.names(folder)
        store.forget()
        for folder in "ab":
            for number in range(100):
                await m.unlink(f"t/{folder}/{number}")
            await m.rmdir(f"t/{folder}")
        await m.rmdir("t")
        await m.settle()
        assert await objects(store) == {}
        assert store.count() == Counter(delete=3)


async def test_a_file_deleted_and_written_anew_is_one_write(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    await put_object(store, "f", b"old", staging)
    async with bare_mount(store, staging) as m:
        await m.names()
        store.forget()
        await m.unlink("f")
        await m.put("f", b"new")
        await m.settle()
        assert store.count() == Counter(write=1)
        assert await objects(store) == {"f": b"new"}


async def test_S10_a_directory_that_is_not_in_the_store_yet_costs_nothing_to_rename(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    async with bare_mount(store, staging) as m:
        await m.names()
        store.forget()
        await m.mkdir("d")
        await m.put("d/f", b"1")
        await m.rename("d", "e")
        await m.settle()
        assert store.count() == Counter(write=2)
        assert await objects(store) == {"e/": b"", "e/f": b"1"}


async def test_S10_a_file_that_is_not_uploaded_yet_costs_nothing_to_rename_or_remove(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    async with bare_mount(store, staging) as m:
        await m.names()
        store.forget()
        await m.put("tmp", b"1")
        await m.rename("tmp", "other")
        await m.unlink("other")
        await m.settle()
        assert not store.requests
        assert staged_files(staging) == []


async def test_S10_saving_by_a_temporary_file_and_a_rename_is_one_write_in_all(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        await m.names()
        store.forget()
        for number in range(5):
            await m.put("model.tmp", b"%d" % number)
            await m.rename("model.tmp", "model")
        await m.settle()
        assert store.count() == Counter(write=1)
        assert await objects(store) == {"model": b"4"}


async def test_S10_a_directory_of_n_files_moves_with_n_copies_and_one_delete(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    for number in range(20):
        await put_object(store, f"d/{number}", b"x", staging)
    async with bare_mount(store, staging) as m:
        await m.names()
        store.forget()
        await m.rename("d", "e")
        await m.settle()
        assert store.count() == Counter(copy=20, delete=1, list=2, write=1), (
            "the second listing: what others have put there meanwhile stays"
        )


async def test_many_files_go_up_side_by_side(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    store.slow("write", 10)
    async with bare_mount(store, staging) as m:
        for number in range(16):
            await m.put(f"f{number}", b"x")
        started = clock.current_time()
        await m.settle()
        assert clock.current_time() - started < 30
        assert store.count()["write"] == 16
