"""What names exist: freshness, absence, failures, directories, refusals (S1, S3, S11, S13, S14)."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import trio
from pyfuse3 import FUSEError, RequestContext
from trio.testing import MockClock

from storemount.errors import Denied, MissingStore, StoreMountError, TimedOut, Unavailable, Unreachable
from storemount.names.nodes import ROOT
from storemount.stores.deadline import Deadlined
from tests.support.bare import NOREPLACE, bare_mount, fails, faultless, objects, put_object
from tests.support.faulty import FaultyStore

FAILURES = [
    (TimedOut("late"), errno.ETIMEDOUT),
    (Denied("no"), errno.EACCES),
    (Unavailable("503"), errno.EIO),
    (Unreachable("refused"), errno.EHOSTUNREACH),
    (MissingStore("no bucket"), errno.EIO),
]


# freshness


async def test_S3_what_others_write_and_delete_is_seen_within_the_ttl(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    truth = faultless(either)
    async with bare_mount(either, staging, ttl=10) as m:
        assert await m.names() == []
        assert not await m.exists("f")
        await put_object(truth, "f", b"one", staging)
        await trio.sleep(10.1)
        assert await m.get("f") == b"one"
        assert await m.names() == ["f"]
        await put_object(truth, "f", b"second", staging)
        await trio.sleep(10.1)
        assert (await m.stat("f")).st_size == 6
        assert await m.get("f") == b"second"
        await truth.delete(["f"])
        await trio.sleep(10.1)
        assert await m.names() == []
        assert not await m.exists("f")


async def test_S3_nothing_is_asked_within_the_ttl(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    await put_object(store, "d/f", b"1", staging)
    async with bare_mount(store, staging, ttl=10) as m:
        await m.names("d")
        store.forget()
        await trio.sleep(9)
        await m.stat("d/f")
        await m.names("d")
        assert not await m.exists("d/absent")
        assert not store.requests


async def test_S3_ttl_0_asks_each_time(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    truth = faultless(either)
    async with bare_mount(either, staging, ttl=0) as m:
        for number in range(6):
            await put_object(truth, "f", b"x" * number, staging)
            assert (await m.stat("f")).st_size == number
            assert await m.names() == ["f"]
        await truth.delete(["f"])
        assert not await m.exists("f")
        assert await m.names() == []


async def test_S3_immutable_never_asks_again(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    await put_object(store, "f", b"one", staging)
    async with bare_mount(store, staging, ttl=float("inf")) as m:
        assert await m.names() == ["f"]
        await put_object(store, "f", b"other", staging)
        await put_object(store, "g", b"new", staging)
        store.forget()
        await trio.sleep(80_000)
        assert await m.names() == ["f"]
        assert (await m.stat("f")).st_size == 3
        assert not await m.exists("g")
        assert not store.requests


async def test_S3_a_replaced_object_is_another_inode_and_an_unchanged_one_is_the_same(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    await put_object(store, "same", b"1", staging)
    await put_object(store, "other", b"1", staging)
    async with bare_mount(store, staging, ttl=10) as m:
        before = [await m.ino("same"), await m.ino("other")]
        await put_object(store, "other", b"2", staging)
        await trio.sleep(11)
        after = [await m.ino("same"), await m.ino("other")]
        assert after[0] == before[0]
        assert after[1] != before[1]


async def test_S3_own_changes_are_seen_at_once_whatever_the_store_still_shows(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    """A listing that was asked for before a change, and is answered after it, does not overrule it."""
    await put_object(store, "gone", b"1", staging)
    await put_object(store, "old", b"1", staging)
    async with bare_mount(store, staging, ttl=0) as m:
        gate = store.hold("list")
        shown: list[list[str]] = []

        async def look() -> None:
            shown.append(await m.names())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await gate.wait_reached()
            await m.put("new", b"2")
            await m.mkdir("dir")
            await m.unlink("gone")
            await m.rename("old", "renamed")
            gate.open()
        assert shown == [["dir", "new", "renamed"]]


async def test_S3_an_upload_that_ends_while_an_older_listing_is_on_its_way_does_not_hide_its_file(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    """The store answered before the object was there; the answer is taken up when the file is no longer pending."""
    await put_object(store, "other", b"1", staging)
    async with bare_mount(store, staging, ttl=0) as m:
        await m.put("f", b"1")
        gate = store.hold_reply("list")
        shown: list[list[str]] = []

        async def look() -> None:
            shown.append(await m.names())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await gate.wait_reached()
            await m.settle()
            gate.open()
        assert shown == [["f", "other"]]


# failures are not absence


@pytest.mark.parametrize(("error", "number"), FAILURES)
@pytest.mark.parametrize("expired", [False, True])
async def test_S3_S14_a_failing_store_is_an_error_and_never_an_absence(
    clock: MockClock, store: FaultyStore, staging: Path, error: StoreMountError, number: int, expired: bool
) -> None:
    await put_object(store, "d/f", b"1", staging)
    async with bare_mount(store, staging, ttl=10) as m:
        folder = await m.ino("d")
        if expired:
            await m.names("d")
            await trio.sleep(11)
        store.fail("stat", error, times=1000)
        store.fail("list", error, times=1000)
        with fails(number):
            await m.lookup(folder, "f")
        with fails(number):
            entries = m.mount.catalog.entries(m.node(folder))
            try:
                await entries.at(0)
            except StoreMountError as failure:
                raise FUSEError(failure.errno) from failure
        with fails(number):
            await m.fs.rmdir(ROOT, b"d", RequestContext())
        store.heal()
        assert await m.names("d") == ["f"]
        assert await m.get("d/f") == b"1"


async def test_S3_a_listing_that_breaks_off_empties_nothing(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    """The first page came, the second did not: what was known stays known."""
    for number in range(1500):
        await put_object(store, f"d/{number:04}", b"", staging)
    async with bare_mount(store, staging, ttl=10) as m:
        assert len(await m.names("d")) == 1500
        await trio.sleep(11)
        store.fail_sometimes("list", TimedOut("late"), lambda: store.count()["list"] % 2 == 0)
        store.forget()
        with fails(errno.ETIMEDOUT):
            await m.names("d")
        store.heal()
        assert await m.exists("d/1499")
        assert len(await m.names("d")) == 1500


async def test_S14_a_silent_store_is_given_up_within_the_deadline_by_all_who_wait(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    store.hold("stat", times=1000)
    async with bare_mount(Deadlined(store, 20), staging, ttl=10) as m:
        failed = 0

        async def look() -> None:
            nonlocal failed
            with fails(errno.ETIMEDOUT):
                await m.ino("f")
            failed += 1

        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(look)
        assert failed == 10
        assert trio.current_time() - started < 21


async def test_S14_with_a_dead_store_cached_reads_and_writes_go_on(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    await put_object(store, "cached", b"cached", staging)
    async with bare_mount(store, staging, ttl=10) as m:
        assert await m.get("cached") == b"cached"
        reader, writer = await m.open("cached"), await m.create("new")
        for verb in ("stat", "list", "read", "write", "delete", "copy"):
            store.fail(verb, Unreachable("refused"), times=1000)
        await trio.sleep(100)
        assert await m.read(reader) == b"cached"
        await m.write(writer, 0, b"written")
        assert await m.read(writer) == b"written"
        await m.close(writer)
        await m.close(reader)
        await trio.sleep(100)
        store.heal()
        await trio.sleep(100)
        assert await objects(store) == {"cached": b"cached", "new": b"written"}


# directories


async def test_S11_directories_are_real(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    async with bare_mount(either, staging) as m:
        await m.mkdir("d")
        await m.settle()
        assert await objects(either) == {"d/": b""}
        with fails(errno.EEXIST):
            await m.mkdir("d")
        await m.put("d/f", b"1")
        with fails(errno.ENOTEMPTY):
            await m.rmdir("d")
        with fails(errno.EISDIR):
            await m.unlink("d")
        with fails(errno.ENOTDIR):
            await m.rmdir("d/f")
        await m.unlink("d/f")
        assert await m.names("d") == []
        await m.rmdir("d")
        assert not await m.exists("d")
        with fails(errno.ENOENT):
            await m.rmdir("d")
        await m.settle()
        assert await objects(either) == {}


@pytest.mark.parametrize("how", ["unlink", "rename", "rmdir", "unlink with a new file beside", "unlink with a new directory beside"])
async def test_S11_an_implicit_directory_outlives_the_last_thing_in_it(
    clock: MockClock, store: FaultyStore, staging: Path, how: str
) -> None:
    await put_object(store, "d/e/" if how == "rmdir" else "d/f", b"", staging)
    async with bare_mount(store, staging) as m:
        await m.names("d")
        if how == "unlink":
            await m.unlink("d/f")
        elif how == "rename":
            await m.rename("d/f", "g")
        elif how == "rmdir":
            await m.rmdir("d/e")
        elif how == "unlink with a new directory beside":
            await m.mkdir("d/lock")
            await m.unlink("d/f")
            await m.rmdir("d/lock")
        else:
            await m.put("d/new", b"1")
            await m.unlink("d/f")
            await m.unlink("d/new")
        await m.settle()
        await trio.sleep(60)
        assert await m.names("d") == []
        assert "d/" in await objects(store)


async def test_S3_what_was_found_while_a_listing_was_on_its_way_is_not_gone_at_its_end(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    await put_object(store, "d/f", b"1", staging)
    async with bare_mount(store, staging, ttl=10) as m, trio.open_nursery() as nursery:
        gate = store.hold_reply("list", key="d/")
        nursery.start_soon(m.names, "d")
        await gate.wait_reached()
        await trio.sleep(3)
        await put_object(faultless(store), "d/theirs/g", b"2", staging)
        ino = await m.ino("d/theirs")
        gate.open()
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        assert (await m.lookup(ino, "g")).st_size == 1
        assert "theirs" in await m.names("d")


async def test_S11_S3_a_directory_that_others_delete_is_gone_within_the_ttl(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    truth = faultless(either)
    await put_object(truth, "d/f", b"1", staging)
    async with bare_mount(either, staging, ttl=10) as m:
        assert await m.names("d") == ["f"]
        await truth.delete(["d/f"])
        await truth.delete(["d/"])
        await trio.sleep(11)
        assert await m.names() == []
        assert not await m.exists("d")


async def test_S11_a_new_directory_that_replaced_another_and_was_removed_is_gone(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    async with bare_mount(either, staging, ttl=1) as m:
        await m.mkdir("d")
        await m.mkdir("e")
        await m.rename("d", "e")
        await m.rmdir("e")
        await m.settle()
        await trio.sleep(2)
        assert await objects(either) == {}
        assert await m.names() == []


@pytest.mark.parametrize("flat", [True, False])
async def test_S10_rename_follows_posix(clock: MockClock, either: FaultyStore, staging: Path, flat: bool) -> None:
    async with bare_mount(either, staging) as m:
        await m.put("f", b"f")
        await m.put("g", b"g")
        await m.mkdir("empty")
        await m.mkdir("full")
        await m.put("full/x", b"x")
        if flat:
            await m.settle()
        for old, new, flags, number in [
            ("f", "g", NOREPLACE, errno.EEXIST),
            ("f", "empty", 0, errno.EISDIR),
            ("empty", "f", 0, errno.ENOTDIR),
            ("empty", "full", 0, errno.ENOTEMPTY),
            ("absent", "x", 0, errno.ENOENT),
            ("f", "g", 2, errno.EINVAL),
        ]:
            with fails(number):
                await m.rename(old, new, flags)
        await m.rename("f", "g")
        await m.rename("full", "empty")
        await m.rename("g", "g")
        assert await m.names() == ["empty", "g"]
        assert await m.get("empty/x") == b"x"
        await m.settle()
        files = {key: data for key, data in (await objects(either)).items() if not key.endswith("/")}
        assert files == {"empty/x": b"x", "g": b"f"}


# refusals


async def test_S13_what_is_not_offered_is_refused_at_once(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    context = RequestContext()
    async with bare_mount(store, staging) as m:
        await m.put("f", b"1")
        ino = await m.ino("f")
        with fails(errno.EPERM):
            await m.fs.link(ino, ROOT, b"hard", context)
        for kind in (0o010000, 0o020000, 0o060000, 0o140000):
            with fails(errno.EPERM):
                await m.fs.mknod(ROOT, b"device", kind | 0o600, 0, context)
        assert await m.names() == ["f"]


async def test_S12_symbolic_links(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    async with bare_mount(either, staging) as m:
        await m.symlink("link", b"some/where")
        assert await m.readlink("link") == b"some/where"
        await m.settle()
        await trio.sleep(60)
        assert await m.readlink("link") == b"some/where"
        assert await m.names() == ["link"]
        await m.rename("link", "other")
        assert await m.readlink("other") == b"some/where"
        await m.unlink("other")
        assert await m.names() == []


async def test_S12_extended_attributes(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    context = RequestContext()
    async with bare_mount(store, staging) as m:
        await m.put("f", b"1")
        ino = await m.ino("f")
        assert await m.fs.getxattr(ino, b"user.storemount.state", context) == b"pending"
        await m.settle()
        assert await m.fs.getxattr(ino, b"user.storemount.state", context) == b"stored"
        await m.fs.setxattr(ino, b"user.mine", b"value", context)
        assert await m.fs.getxattr(ino, b"user.mine", context) == b"value"
        assert list(await m.fs.listxattr(ino, context)) == [b"user.mine"]
        await m.fs.removexattr(ino, b"user.mine", context)
        for name, number in [(b"user.mine", errno.ENODATA), (b"security.x", errno.ENOTSUP)]:
            with fails(number):
                await m.fs.getxattr(ino, name, context)
        with fails(errno.EPERM):
            await m.fs.setxattr(ino, b"user.storemount.uri", b"x", context)
