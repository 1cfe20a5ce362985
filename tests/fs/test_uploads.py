"""From a closed file to an object: when it goes up, what goes up, and what happens when the store will not have it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from storemount.errors import Denied, TimedOut, Unavailable
from storemount.writeback.change import Applied, State
from tests.support.bare import bare_mount, fails, faultless, objects, put_object
from tests.support.faulty import FaultyStore


async def test_S6_nothing_is_published_before_close(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        fh = await m.create("f")
        await m.write(fh, 0, b"half")
        await trio.sleep(60)
        assert await objects(store) == {}
        await m.close(fh)
        await m.settle()
        assert await objects(store) == {"f": b"half"}


async def test_S6_truncating_on_open_publishes_nothing_before_close(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    await put_object(store, "f", b"old", staging)
    async with bare_mount(store, staging) as m:
        fh = await m.open("f", os.O_WRONLY | os.O_TRUNC)
        await m.write(fh, 0, b"half of th")
        await trio.sleep(60)
        assert await objects(store) == {"f": b"old"}
        await m.write(fh, 10, b"e new")
        await m.close(fh)
        await m.settle()
        assert await objects(store) == {"f": b"half of the new"}


async def test_S6_a_file_opened_again_before_its_upload_is_not_published_half_written(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    async with bare_mount(store, staging) as m:
        await m.put("f", b"first")
        fh = await m.open("f", os.O_WRONLY)
        await m.write(fh, 0, b"SEC")
        await trio.sleep(60)
        assert (await objects(store)).get("f") in (None, b"first")
        await m.write(fh, 3, b"OND")
        await m.close(fh)
        await m.settle()
        assert await objects(store) == {"f": b"SECOND"}


async def test_S16_a_failed_upload_is_tried_again_until_it_succeeds(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    store.fail("write", Unavailable("503"), times=3)
    async with bare_mount(store, staging) as m:
        await m.put("f", b"data")
        await trio.sleep(120)
        assert await objects(store) == {"f": b"data"}
        assert store.count()["write"] == 4
        assert not len(m.mount.journal)


async def test_S16_a_refused_upload_is_told_at_the_next_flush_and_fsync(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    store.fail("write", Denied("no"), times=1000)
    async with bare_mount(store, staging) as m:
        await m.put("f", b"data")
        await trio.sleep(5)
        fh = await m.open("f", os.O_RDWR)
        with fails(errno.EACCES):
            await m.fsync(fh)
        with fails(errno.EACCES):
            await m.close(fh)
        store.heal()
        await trio.sleep(600)
        (row,) = m.mount.journal
        assert row.state is State.REFUSED
        assert await m.get("f") == b"data"
        m.mount.journal.retry(row)
        await m.settle()
        assert await objects(store) == {"f": b"data"}


async def test_S16_the_next_close_of_a_refused_file_tries_again(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    store.fail("write", Denied("no"))
    async with bare_mount(store, staging) as m:
        await m.put("f", b"data")
        await trio.sleep(60)
        assert await objects(store) == {}
        fh = await m.open("f", os.O_RDWR)
        await m.write(fh, 0, b"DATA")
        with fails(errno.EACCES):
            await m.close(fh)
        await m.settle()
        assert await objects(store) == {"f": b"DATA"}
        fh = await m.open("f", os.O_RDWR)
        await m.close(fh)


async def test_S16_a_lost_reply_to_an_upload_does_no_harm(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    store.lose_reply("write", TimedOut("late"))
    async with bare_mount(store, staging) as m:
        await m.put("f", b"data")
        await m.settle()
        assert await objects(store) == {"f": b"data"}
        assert await m.get("f") == b"data"


@pytest.mark.parametrize("settled", [True, False])
async def test_S10_renaming_a_file_whose_upload_failed_loses_nothing(
    clock: MockClock, store: FaultyStore, staging: Path, settled: bool
) -> None:
    async with bare_mount(store, staging) as m:
        if settled:
            await m.put("f", b"before")
            await m.settle()
        store.fail("write", Unavailable("503"), times=2)
        await m.put("f", b"data")
        await trio.sleep(1)
        await m.rename("f", "g")
        await trio.sleep(60)
        assert await objects(store) == {"g": b"data"}


async def test_S10_renaming_a_directory_with_a_failed_upload_below_loses_nothing(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    async with bare_mount(store, staging) as m:
        await m.mkdir("d")
        store.fail("write", Unavailable("503"), times=2, key="d/f")
        await m.put("d/f", b"data")
        await trio.sleep(1)
        await m.rename("d", "e")
        await trio.sleep(60)
        assert await objects(store) == {"e/": b"", "e/f": b"data"}


async def test_S16_a_refused_unlink_is_kept_and_the_upload_it_took_back_does_not_come_after_it(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    await put_object(store, "f", b"old", staging)
    store.fail("delete", Denied("no"))
    async with bare_mount(store, staging) as m:
        await m.put("f", b"new")
        await m.unlink("f")
        await trio.sleep(60)
        assert await m.names() == []
        assert not await m.exists("f")
        assert await objects(store) == {"f": b"old"}
        (row,) = m.mount.journal
        assert row.state is State.REFUSED
        m.mount.journal.retry(row)
        await m.settle()
        assert await objects(store) == {}


async def test_S16_a_new_file_under_a_name_whose_removal_was_refused_goes_up_over_it(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    await put_object(store, "f", b"old", staging)
    store.fail("delete", Denied("no"), times=1000)
    async with bare_mount(store, staging) as m:
        await m.unlink("f")
        await trio.sleep(60)
        await m.put("f", b"new")
        assert await m.get("f") == b"new"
        await trio.sleep(60)
        store.heal()
        for row in m.mount.journal:
            m.mount.journal.retry(row)
        await m.settle()
        assert await objects(store) == {"f": b"new"}


async def test_S7_a_file_is_sent_once_though_somebody_waits_for_it_in_the_moment_in_which_its_upload_starts(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    async with bare_mount(either, staging, upload_delay=1000) as m:
        await m.put("f", b"data")
        (row,) = m.mount.journal
        assert m.mount.publisher.may_start(row)
        m.mount.journal.start(row)  # As the worker does; the upload's own task has not run yet.
        m.mount.publisher.seal_below("")
        assert await m.mount.publisher.put(row) is Applied.DONE
        m.mount.journal.finish([row])
        await m.settle()
        assert either.count()["write"] == 1
        assert await objects(either) == {"f": b"data"}


async def test_S7_fsync_of_an_open_file_waits_for_the_store(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        fh = await m.create("f")
        await m.write(fh, 0, b"one")
        await m.fsync(fh)
        assert await objects(store) == {"f": b"one"}
        await m.write(fh, 3, b" two")
        await m.fsync(fh)
        assert await objects(store) == {"f": b"one two"}
        await m.close(fh)


async def test_S7_what_was_written_before_an_fsync_is_in_the_store_after_it_though_writes_go_on(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    async with bare_mount(store, staging) as m:
        fh = await m.create("f")
        await m.write(fh, 0, b"before")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.fsync, fh)
            await wait_all_tasks_blocked()
            await m.write(fh, 6, b" after")
        assert (await objects(store))["f"].startswith(b"before")
        await m.close(fh)
        await m.settle()
        assert await objects(store) == {"f": b"before after"}


async def test_S5_writes_during_an_upload_keep_both_contents_right(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    gate = store.hold("write")
    async with bare_mount(store, staging) as m:
        await m.put("f", b"first version")
        await gate.wait_reached()
        fh = await m.open("f", os.O_RDWR)
        await m.write(fh, 6, b"VERSION, longer")
        assert await m.read(fh) == b"first VERSION, longer"
        gate.open()
        await trio.sleep(5)
        assert await objects(store) == {"f": b"first version"}
        assert await m.read(fh) == b"first VERSION, longer"
        await m.close(fh)
        await m.settle()
        assert await objects(store) == {"f": b"first VERSION, longer"}


async def test_a_file_closed_again_before_its_upload_is_sent_once(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        for number in range(5):
            await m.put("f", b"%d" % number)
        await m.settle()
        assert store.count()["write"] == 1
        assert await objects(store) == {"f": b"4"}


@pytest.mark.parametrize("directory", [False, True])
async def test_S7_fsync_follows_a_file_that_is_renamed_meanwhile(
    clock: MockClock, either: FaultyStore, staging: Path, directory: bool
) -> None:
    async with bare_mount(either, staging) as m:
        await m.mkdir("d")
        fh = await m.create("d/f")
        await m.write(fh, 0, b"saved")
        either.fail("write", Unavailable("503"))
        synced = trio.Event()

        async def fsync() -> None:
            await m.fsync(fh)
            synced.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fsync)
            await trio.sleep(0.01)
            if directory:
                await m.rename("d", "e")
            else:
                await m.rename("d/f", "d/g")
            await synced.wait()
            assert (await objects(either)).get("e/f" if directory else "d/g") == b"saved"
        await m.close(fh)


async def test_S5_a_file_saved_while_it_is_being_unlinked_does_not_come_back(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    async with bare_mount(either, staging) as m:
        await m.put("f", b"old")
        await m.settle()
        fh = await m.open("f", os.O_RDWR)
        gate = either.hold("delete")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.unlink, "f")
            await gate.wait_reached()
            await m.write(fh, 0, b"new")
            nursery.start_soon(m.fsync, fh)
            await trio.sleep(1)
            gate.open()
        await m.close(fh)
        await trio.sleep(60)
        assert await objects(either) == {}
        assert await m.names() == []


async def test_S5_a_file_that_is_rewritten_without_a_pause_goes_up_all_the_same(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    async with bare_mount(store, staging, upload_delay=0.5) as m:
        for number in range(60):
            await m.put("log", b"%d" % number)
            await trio.sleep(0.4)
            if "log" in await objects(store):
                break
        assert trio.current_time() < 12
        await m.settle()
        assert await objects(store) == {"log": b"%d" % number}


async def test_S7_fsync_of_a_directory_ends_while_others_keep_writing_there(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    store.slow("write", 0.3)
    async with bare_mount(store, staging) as m:
        await m.mkdir("d")
        await m.put("d/before", b"x")
        ended = trio.Event()
        give_up = trio.current_time() + 60

        async def keep_writing(client: int) -> None:
            number = 0
            while not ended.is_set() and trio.current_time() < give_up:
                await m.put(f"d/{client}-{number % 50}", b"x")
                number += 1
                await trio.sleep(0.2)

        async with trio.open_nursery() as nursery:
            for client in range(4):
                nursery.start_soon(keep_writing, client)
            await trio.sleep(1)
            await m.fsync_directory("d")
            ended.set()
            assert trio.current_time() < give_up
            assert "d/before" in await objects(store)


async def test_S7_an_fsync_is_about_what_was_written_while_the_file_went_up(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    """The file was closed, opened again and written to; somebody had all that was closed go up, and then its writer asks."""
    async with bare_mount(either, staging) as m:
        await m.put("f", b"closed")
        fh = await m.open("f", os.O_RDWR)
        await m.write(fh, 6, b", and more")
        gate = either.hold("write", key="f")
        m.mount.publisher.seal_below("")
        await gate.wait_reached()
        gate.open()
        await m.fsync(fh)
        assert await objects(either) == {"f": b"closed, and more"}
        await m.close(fh)


async def test_S9_what_was_written_while_a_new_file_went_up_is_a_change_of_that(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    async with bare_mount(either, staging, ttl=1) as m:
        await m.put("f", b"closed")
        fh = await m.open("f", os.O_RDWR)
        await m.write(fh, 6, b", and more")
        m.mount.publisher.seal_below("")
        await trio.sleep(5)
        assert await objects(either) == {"f": b"closed"}
        await put_object(faultless(either), "f", b"theirs", staging)
        await m.close(fh)
        await trio.sleep(60)
        found = await objects(either)
        assert found.pop("f") == b"theirs"
        assert list(found.values()) == [b"closed, and more"]
