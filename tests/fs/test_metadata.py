"""Metadata through remounts, on this machine and on another, and what that costs (S12)."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import trio
from pyfuse3 import EntryAttributes, RequestContext, SetattrFields
from trio.testing import MockClock

from storemount.errors import Unavailable
from storemount.names.nodes import ROOT
from storemount.stores.base import Artifact, Meta, Source
from storemount.stores.memory import MemoryStore
from tests.support.bare import BareMount, Fields, bare_mount, fails, objects, put_object
from tests.support.faulty import FaultyStore

TIME = 1_000_000_000_123_456_789
EXECUTABLE = Meta(mode=0o100755, uid=1234, mtime_ns=TIME, xattrs={b"user.colour": b"red"})
CONTEXT = RequestContext()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The staging folder of another machine, which has notes of its own."""
    folder = tmp_path / "another machine" / "staging"
    folder.mkdir(parents=True)
    return folder


async def set_attributes(
    m: BareMount, path: str, *, mode: int | None = None, uid: int | None = None, gid: int | None = None, mtime_ns: int | None = None
) -> None:
    entry = EntryAttributes()
    entry.st_mode, entry.st_uid, entry.st_gid, entry.st_mtime_ns = mode or 0, uid or 0, gid or 0, mtime_ns or 0
    fields = Fields(update_mode=mode is not None, update_uid=uid is not None, update_gid=gid is not None, update_mtime=mtime_ns is not None)
    await m.fs.setattr(await m.ino(path), entry, cast(SetattrFields, fields), None, CONTEXT)


async def put_elsewhere(store: FaultyStore, key: str, data: bytes, meta: Meta, folder: Path) -> Artifact:
    """Another program writes an object with metadata, unseen."""
    path = folder / "another-program"
    path.write_bytes(data)
    made = await store.inner.write(key, Source(str(path), len(data), meta=meta))
    path.unlink()
    return made


async def kept(store: FaultyStore, key: str) -> Meta:
    meta = (await store.inner.describe(key)).meta
    assert meta is not None
    return meta


async def test_S12_a_remount_on_this_machine_knows_it_by_a_listing_alone(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        await m.put("tool", b"#!/bin/sh\n")
        await set_attributes(m, "tool", mode=0o755, mtime_ns=TIME)
        await m.settle()
    store.forget()
    async with bare_mount(store, staging) as m:
        await m.names()
        found = await m.stat("tool")
        assert (found.st_mode, found.st_mtime_ns) == (0o100755, TIME)
        assert store.count() == Counter(list=1)


async def test_S12_another_machine_learns_it_by_a_look_and_by_full_listings(
    clock: MockClock, store: FaultyStore, staging: Path, elsewhere: Path
) -> None:
    for number in range(100):
        await put_elsewhere(store, f"{number:02}", b"x", EXECUTABLE, staging)
    async with bare_mount(store, elsewhere) as m:
        assert (await m.stat("00")).st_mode == 0o100755
        await m.names()
        assert (await m.stat("00")).st_mode == 0o100755
        assert (await m.stat("99")).st_mode == 0o100644
    store.forget()
    async with bare_mount(store, elsewhere, metadata="full") as m:
        await m.names()
        found = await m.stat("99")
        assert (found.st_mode, found.st_mtime_ns, found.st_uid) == (0o100755, TIME, 1234)
        assert store.count() == Counter(list=1, describe=99)
        await trio.sleep(60)
        store.forget()
        await m.names()
        assert store.count() == Counter(list=1)


async def test_S12_what_another_machine_changes_is_seen_by_a_full_listing(
    clock: MockClock, store: FaultyStore, staging: Path, elsewhere: Path
) -> None:
    """The bytes, and so the version, are the same: it is the time that tells."""
    made = await put_elsewhere(store, "f", b"x", Meta(mode=0o100644), staging)
    aged = await store.inner.annotate(made, Meta(mode=0o100640))
    async with bare_mount(store, elsewhere, metadata="full") as m:
        await m.names()
        assert (await m.stat("f")).st_mode == 0o100640
        ino = await m.ino("f")
        changed = await store.inner.annotate(aged, Meta(mode=0o100755))
        _set_time(store, changed, aged.mtime_ns + 60 * 10**9)
        await trio.sleep(60)
        await m.names()
        assert (await m.stat("f")).st_mode == 0o100755
        assert await m.ino("f") == ino


def _set_time(store: FaultyStore, artifact: Artifact, mtime_ns: int) -> None:
    """When the store got it, as if so much time had passed."""
    assert isinstance(store.inner, MemoryStore)
    _, data = store.inner._objects[artifact.key]
    store.inner._objects[artifact.key] = replace(artifact, mtime_ns=mtime_ns), data


async def test_S12_a_full_listing_that_cannot_ask_says_so(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    await put_elsewhere(store, "f", b"x", EXECUTABLE, staging)
    async with bare_mount(store, staging, metadata="full") as m:
        store.fail("describe", Unavailable("busy"))
        with fails(errno.EIO):
            await m.names()
        assert await m.names() == ["f"]


async def test_S12_changes_after_the_upload_are_one_request_however_many(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        await m.put("f", b"x")
        await m.settle()
        store.forget()
        await set_attributes(m, "f", mode=0o700)
        await set_attributes(m, "f", uid=4321, gid=1234)
        await set_attributes(m, "f", mtime_ns=TIME)
        await m.fs.setxattr(await m.ino("f"), b"user.colour", b"red", CONTEXT)
        assert not store.requests
        await m.settle()
        assert store.count() == Counter(annotate=1)
    assert await kept(store, "f") == Meta(0o100700, 4321, 1234, TIME, {b"user.colour": b"red"})


async def test_S12_changes_before_the_upload_go_along_with_it(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        await m.put("f", b"x")
        await set_attributes(m, "f", mode=0o700, mtime_ns=TIME)
        await m.settle()
        assert store.count()["annotate"] == 0
    assert await kept(store, "f") == Meta(mode=0o100700, mtime_ns=TIME)


async def test_S12_a_change_while_the_file_goes_up_comes_after_it(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    gate = store.hold("write", key="f")
    async with bare_mount(store, staging) as m:
        await m.put("f", b"x")
        await gate.wait_reached()
        await set_attributes(m, "f", mode=0o700)
        gate.open()
        await m.settle()
    assert (await kept(store, "f")).mode == 0o100700


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_WRONLY | os.O_TRUNC])
async def test_S12_an_edit_keeps_what_the_store_has_said(clock: MockClock, store: FaultyStore, staging: Path, flags: int) -> None:
    await put_elsewhere(store, "f", b"old", EXECUTABLE, staging)
    async with bare_mount(store, staging) as m:
        await m.names()
        fh = await m.open("f", flags)
        await m.write(fh, 0, b"new")
        await m.close(fh)
        await m.settle()
        assert await objects(store) == {"f": b"new"}
    meta = await kept(store, "f")
    assert (meta.mode, meta.uid, meta.xattrs) == (0o100755, 1234, {b"user.colour": b"red"})
    assert meta.mtime_ns != TIME


async def test_S12_attributes_are_asked_for_by_name_and_added_to_what_is_there(
    clock: MockClock, store: FaultyStore, staging: Path, elsewhere: Path
) -> None:
    await put_elsewhere(store, "f", b"x", EXECUTABLE, staging)
    async with bare_mount(store, staging) as m:
        await m.names()
        ino = await m.ino("f")
        store.forget()
        assert await m.fs.listxattr(ino, CONTEXT) == []
        assert not store.requests
        assert await m.fs.getxattr(ino, b"user.colour", CONTEXT) == b"red"
        with fails(errno.ENODATA):
            await m.fs.getxattr(ino, b"user.absent", CONTEXT)
        assert store.count() == Counter(describe=1)
        await m.fs.setxattr(ino, b"user.size", b"large", CONTEXT)
        assert sorted(await m.fs.listxattr(ino, CONTEXT)) == [b"user.colour", b"user.size"]
        await m.settle()
        assert (await kept(store, "f")).xattrs == {b"user.colour": b"red", b"user.size": b"large"}
    async with bare_mount(store, elsewhere) as m:
        for name in (b"user.colour", b"user.size"):
            await m.fs.removexattr(await m.ino("f"), name, CONTEXT)
    async with bare_mount(store, elsewhere) as m:  # The second removal was promised, and not sent.
        await m.settle()
    assert (await kept(store, "f")).xattrs == {}


async def test_S12_a_directory_has_metadata_of_its_own(clock: MockClock, store: FaultyStore, staging: Path, elsewhere: Path) -> None:
    async with bare_mount(store, staging) as m:
        await m.mkdir("d")
        await set_attributes(m, "d", mode=0o700, mtime_ns=TIME)
        await m.mkdir("usual")
        await m.settle()
        assert await kept(store, "d/") == Meta(stat.S_IFDIR | 0o700, mtime_ns=TIME)
        assert await kept(store, "usual/") == Meta()
        await set_attributes(m, "d", mode=0o750)
        await m.fs.setxattr(await m.ino("d"), b"user.colour", b"red", CONTEXT)
        store.forget()
        await m.settle()
        assert store.count() == Counter(annotate=1, describe=1)
    for folder, metadata in ((staging, "listing"), (elsewhere, "full")):
        async with bare_mount(store, folder, metadata=metadata) as m:
            await m.names()
            found = await m.stat("d")
            assert (found.st_mode, found.st_mtime_ns) == (stat.S_IFDIR | 0o750, TIME)
            assert await m.fs.getxattr(await m.ino("d"), b"user.colour", CONTEXT) == b"red"


async def test_S12_a_directory_without_a_marker_gets_one_with_its_mode(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    await put_object(store, "d/f", b"x", staging)
    async with bare_mount(store, staging) as m:
        await set_attributes(m, "d", mode=0o700)
    async with bare_mount(store, staging) as m:
        assert (await m.stat("d")).st_mode == stat.S_IFDIR | 0o700
        await m.settle()
    assert (await kept(store, "d/")).mode == stat.S_IFDIR | 0o700


async def test_S12_a_directory_keeps_it_when_it_moves_and_when_it_is_emptied(
    clock: MockClock, store: FaultyStore, staging: Path, elsewhere: Path
) -> None:
    for key in ("a/", "a/b/"):
        await put_elsewhere(store, key, b"", Meta(mode=stat.S_IFDIR | 0o700), staging)
    await put_object(store, "a/f", b"x", staging)
    async with bare_mount(store, elsewhere) as m:
        await m.unlink("a/f")
        await m.rename("a", "moved")
        await m.settle()
    assert await objects(store) == {"moved/": b"", "moved/b/": b""}
    assert [(await kept(store, key)).mode for key in ("moved/", "moved/b/")] == [stat.S_IFDIR | 0o700] * 2


async def test_S12_a_directory_made_anew_is_not_the_one_before(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        await m.mkdir("d")
        await set_attributes(m, "d", mode=0o700)
        await m.settle()
        await m.rmdir("d")
        await m.settle()
        await put_object(store, "d/f", b"x", staging)
        await trio.sleep(60)
        assert (await m.stat("d")).st_mode == stat.S_IFDIR | 0o755


async def test_S12_the_root_of_the_store_keeps_none(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        await set_attributes(m, "", mode=0o700)
        assert (await m.stat("")).st_mode == stat.S_IFDIR | 0o700
        await m.settle()
        assert not store.requests


# symbolic links


async def test_S12_links_are_seen_by_a_listing_alone(clock: MockClock, store: FaultyStore, staging: Path, elsewhere: Path) -> None:
    async with bare_mount(store, staging) as m:
        await m.symlink("latest", b"models/7")
        await m.settle()
    assert await objects(store) == {"latest.rclonelink": b"models/7"}
    store.forget()
    async with bare_mount(store, elsewhere) as m:
        assert await m.names() == ["latest"]
        found = await m.stat("latest")
        assert (found.st_mode, found.st_size) == (stat.S_IFLNK | 0o777, 8)
        assert store.count() == Counter(list=1)
        assert await m.readlink("latest") == b"models/7"


async def test_S12_a_link_is_found_by_its_name_and_not_by_its_key(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    await put_object(store, "latest.rclonelink", b"models/7", staging)
    async with bare_mount(store, staging) as m:
        assert not await m.exists("latest.rclonelink")
        assert await m.readlink("latest") == b"models/7"
        assert not await m.exists("absent")


@pytest.mark.parametrize("other", [{"f": b"file"}, {"f/g": b"below"}])
async def test_S12_a_file_or_a_directory_wins_over_a_link_of_its_name(
    clock: MockClock, store: FaultyStore, staging: Path, other: dict[str, bytes]
) -> None:
    for key, data in {**other, "f.rclonelink": b"target"}.items():
        await put_object(store, key, data, staging)
    async with bare_mount(store, staging) as m:
        for _ in range(2):
            assert await m.names() == ["f", "f.rclonelink"]
            assert await m.get("f.rclonelink") == b"target"
            assert not stat.S_ISLNK((await m.stat("f")).st_mode)
            await trio.sleep(60)


@pytest.mark.parametrize(("name", "size"), [("large.rclonelink", 4097), ("empty.rclonelink", 0), (".rclonelink", 5)])
async def test_S12_what_cannot_be_a_target_is_a_file(clock: MockClock, store: FaultyStore, staging: Path, name: str, size: int) -> None:
    await put_object(store, name, b"x" * size, staging)
    async with bare_mount(store, staging) as m:
        assert await m.get(name) == b"x" * size
        assert await m.names() == [name]


async def test_S12_a_file_that_a_program_calls_so_keeps_its_name_here(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        await m.put("f.rclonelink", b"target")
        await m.settle()
        await trio.sleep(60)
        assert await m.names() == ["f.rclonelink"]
        assert await m.get("f.rclonelink") == b"target"


async def test_S12_files_and_links_take_each_others_names(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    """`ln -sfn`, and its opposite; in the store as planned and as done."""
    for settled in (False, True):
        async with bare_mount(store, staging) as m:
            await m.put("file", b"data")
            await m.symlink("link", b"target")
            if settled:
                await m.settle()
            await m.rename("link", "file")
            assert await m.readlink("file") == b"target"
            await m.settle()
            assert await objects(store) == {"file.rclonelink": b"target"}
            await m.put("new", b"data")
            if settled:
                await m.settle()
            await m.rename("new", "file")
            assert await m.get("file") == b"data"
            await m.settle()
            await trio.sleep(60)
            assert await m.names() == ["file"]
            assert await objects(store) == {"file": b"data"}
            await m.unlink("file")
            await m.symlink("file", b"other")
            await m.settle()
            assert await objects(store) == {"file.rclonelink": b"other"}
            await m.unlink("file")
            await m.settle()
            assert await objects(store) == {}


async def test_S12_no_trace_is_seen_of_a_link_that_is_about_to_go(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        await m.symlink("f", b"target")
        await m.put("new", b"data")
        await m.put("g.rclonelink", b"a file of this name")
        await m.settle()
        gate, late = store.hold("delete"), store.hold_reply("list")
        await m.rename("new", "f")
        await m.unlink("g.rclonelink")
        await gate.wait_reached()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.names)
            await late.wait_reached()
            gate.open()
            await m.settle()
            late.open()
        assert await m.names() == ["f"]
        assert not await m.exists("f.rclonelink")
        assert not await m.exists("g")
        await trio.sleep(60)
        assert await m.names() == ["f"]
        assert await objects(store) == {"f": b"data"}


async def test_S12_links_move_with_their_directory_and_survive_a_kill(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        await m.mkdir("d")
        await m.symlink("d/old", b"target")
        await m.settle()
        await m.symlink("d/new", b"target")
        await m.rename("d/old", "d/older")
        await m.rename("d", "e")
    async with bare_mount(store, staging) as m:
        assert await m.names("e") == ["new", "older"]
        await m.settle()
        assert await objects(store) == {"e/": b"", "e/new.rclonelink": b"target", "e/older.rclonelink": b"target"}
        for name in ("new", "older"):
            assert await m.readlink(f"e/{name}") == b"target"
            await m.unlink(f"e/{name}")
    async with bare_mount(store, staging) as m:
        assert await m.names("e") == []
        await m.settle()
        assert await objects(store) == {"e/": b""}


async def test_S12_what_was_not_made_here_moves_as_it_is(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    await put_object(store, "d/link.rclonelink", b"target", staging)
    await put_elsewhere(store, "d/other", b"target", Meta(mode=stat.S_IFLNK | 0o777), staging)
    await put_elsewhere(store, "d/tool", b"x", EXECUTABLE, staging)
    async with bare_mount(store, staging) as m:
        for name in ("link", "other", "tool"):
            await m.stat(f"d/{name}")
        await m.names("d")
        await m.rename("d", "e")
        await m.settle()
        await m.rename("e/link", "e/moved")
        await m.settle()
        modes = [(await m.stat(f"e/{name}")).st_mode for name in ("moved", "other", "tool")]
        assert modes == [stat.S_IFLNK | 0o777, stat.S_IFLNK | 0o777, 0o100755]
        assert [await m.readlink(f"e/{name}") for name in ("moved", "other")] == [b"target", b"target"]


async def test_S12_a_link_by_its_mode_is_another_inode_than_the_file_it_was_taken_for(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    """As s3fs-fuse writes them: only a look tells."""
    await put_elsewhere(store, "link", b"target\n", Meta(mode=stat.S_IFLNK | 0o777), staging)
    async with bare_mount(store, staging) as m:
        await m.names()
        taken_for = await m.stat("link")
        assert stat.S_ISREG(taken_for.st_mode)
        with fails(errno.ENODATA):
            await m.fs.getxattr(taken_for.st_ino, b"user.absent", CONTEXT)
        found = await m.lookup(ROOT, "link")
        assert stat.S_ISLNK(found.st_mode) and found.st_ino != taken_for.st_ino
        assert await m.readlink("link") == b"target"
