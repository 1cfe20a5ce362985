"""Directories that move while something fails or goes on below them (S10)."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from pyfuse3 import RequestContext
from trio.testing import MockClock

from storemount.errors import Denied, Unavailable
from storemount.writeback.change import State
from tests.support.bare import BareMount, bare_mount, objects, put_object
from tests.support.faulty import FaultyStore

MOVED = {"e/": b"", **{f"e/{number}": b"%d" % number for number in range(5)}}


async def _filled(store: FaultyStore, staging: Path) -> None:
    for number in range(5):
        await put_object(store, f"d/{number}", b"%d" % number, staging)
    await put_object(store, "e/", b"", staging)


async def _known(m: BareMount) -> None:
    """What is looked at later is known, so that a failing store is asked for nothing but the move."""
    for folder in ("", "d", "e"):
        await m.names(folder)


async def _looks_moved(m: BareMount) -> None:
    assert await m.names() == ["e"]
    assert await m.names("e") == ["0", "1", "2", "3", "4"]
    assert await m.get("e/3") == b"3"
    assert not await m.exists("d")


@pytest.mark.parametrize("verb", ["copy", "list", "write", "delete"])
@pytest.mark.parametrize("lost_reply", [False, True])
async def test_S10_a_directory_rename_that_fails_at_first_is_seen_whole_at_once_and_ends_by_itself(
    clock: MockClock, store: FaultyStore, staging: Path, verb: str, lost_reply: bool
) -> None:
    await _filled(store, staging)
    async with bare_mount(store, staging) as m:
        await _known(m)
        (store.lose_reply if lost_reply else store.fail)(verb, Unavailable("503"), times=3)
        await m.rename("d", "e")
        await _looks_moved(m)
        await trio.sleep(60)
        assert not len(m.mount.journal)
        await _looks_moved(m)
        assert await objects(store) == MOVED


@pytest.mark.parametrize("verb", ["copy", "list", "write", "delete"])
async def test_S10_S16_a_directory_rename_that_the_store_refuses_is_kept_loses_nothing_and_can_be_repeated(
    clock: MockClock, store: FaultyStore, staging: Path, verb: str
) -> None:
    await _filled(store, staging)
    async with bare_mount(store, staging) as m:
        await _known(m)
        before = await objects(store)
        store.fail(verb, Denied("no"), times=1000)
        await m.rename("d", "e")
        with pytest.raises(Denied):
            await m.settle()
        await trio.sleep(60)
        if verb != "list":  # What the mount knew has aged, and nobody tells it more.
            await _looks_moved(m)
        assert before.items() <= (await objects(store)).items()
        store.heal()
        await trio.sleep(600)
        (row,) = m.mount.journal
        assert row.state is State.REFUSED
        await _looks_moved(m)
        m.mount.journal.retry(row)
        await m.settle()
        await trio.sleep(60)
        await _looks_moved(m)
        assert await objects(store) == MOVED


@pytest.mark.parametrize("what", ["mkdir", "unlink", "create", "rename", "rmdir", "look"])
async def test_S10_changes_below_a_directory_that_is_moving_end_in_its_new_place(
    clock: MockClock, either: FaultyStore, staging: Path, what: str
) -> None:
    await put_object(either, "d/f", b"f", staging)
    await put_object(either, "d/g", b"g", staging)
    context = RequestContext()
    async with bare_mount(either, staging) as m:
        await m.mkdir("d/sub")
        folder = await m.ino("d")
        changes: dict[str, Callable[[], Awaitable[object]]] = {
            "mkdir": lambda: m.fs.mkdir(folder, b"new", 0o755, context),
            "unlink": lambda: m.fs.unlink(folder, b"f", context),
            "rename": lambda: m.fs.rename(folder, b"f", folder, b"renamed", 0, context),
            "rmdir": lambda: m.fs.rmdir(folder, b"sub", context),
            "create": lambda: _create(m, folder, b"new"),
            "look": lambda: m.fs.lookup(folder, b"unknown", context),
        }
        await trio.sleep(60)
        await _while_it_moves(m, either, changes[what])
        await m.settle()
        await trio.sleep(60)
        expected = {"f", "g", "sub"}
        expected |= {"mkdir": {"new"}, "create": {"new"}, "rename": {"renamed"}}.get(what, set())
        expected -= {"unlink": {"f"}, "rename": {"f"}, "rmdir": {"sub"}}.get(what, set())
        assert set(await m.names("e")) == expected
        assert await m.names() == ["e"]
        assert not {key for key in await objects(either) if not key.startswith("e/")}


async def _while_it_moves(m: BareMount, store: FaultyStore, change: Callable[[], Awaitable[object]]) -> None:
    """Do something in directory d while it is being renamed to e."""
    gate = store.hold("rename" if store.traits.rename else "copy")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(m.rename, "d", "e")
        await gate.wait_reached()
        nursery.start_soon(change)
        await trio.sleep(1)
        gate.open()


async def _create(m: BareMount, folder: int, name: bytes) -> None:
    info, _ = await m.fs.create(folder, name, 0o644, os.O_RDWR | os.O_EXCL, RequestContext())
    await m.close(info.fh)


@pytest.mark.parametrize("lost_reply", [False, True])
async def test_S10_a_directory_move_whose_first_delete_fails_ends_well(
    clock: MockClock, store: FaultyStore, staging: Path, lost_reply: bool
) -> None:
    for key in ("d/a", "d/b"):
        await put_object(store, key, key.encode(), staging)
    async with bare_mount(store, staging) as m:
        writer, reader = await m.open("d/a", os.O_RDWR), await m.open("d/b")
        await m.write(writer, 0, b"D")
        (store.lose_reply if lost_reply else store.fail)("delete", Unavailable("503"))
        await m.rename("d", "e")
        await m.close(writer)
        await m.settle()
        assert await m.get("e/b") == await m.read(reader) == b"d/b"
        await m.close(reader)
        assert await objects(store) == {"e/": b"", "e/a": b"D/a", "e/b": b"d/b"}


async def test_S10_S16_a_directory_whose_old_names_the_store_will_not_delete_is_read_and_written_under_the_new_one(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    for key in ("d/a", "d/b"):
        await put_object(store, key, key.encode(), staging)
    async with bare_mount(store, staging) as m:
        writer = await m.open("d/a", os.O_RDWR)
        await m.write(writer, 0, b"D")
        store.fail("delete", Denied("no"), times=1000)
        await m.rename("d", "e")
        await m.close(writer)
        with pytest.raises(Denied):
            await m.settle()
        await trio.sleep(60)
        assert await m.names() == ["e"]
        assert (await m.get("e/a"), await m.get("e/b")) == (b"D/a", b"d/b")
        store.heal()
        for row in m.mount.journal:
            m.mount.journal.retry(row)
        await m.settle()
        assert await objects(store) == {"e/": b"", "e/a": b"D/a", "e/b": b"d/b"}
        assert (await m.get("e/a"), await m.get("e/b")) == (b"D/a", b"d/b")


async def test_S11_a_directory_that_a_file_only_passed_through_is_removed(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    await put_object(either, "f", b"1", staging)
    async with bare_mount(either, staging) as m:
        await m.mkdir("d")
        await m.rename("f", "d/f")
        await m.rename("d/f", "g")
        await m.rmdir("d")
        await m.settle()
        assert await objects(either) == {"g": b"1"}
