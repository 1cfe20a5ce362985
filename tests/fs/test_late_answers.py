"""Answers that come too late, or to another question: what changed meanwhile stands (S2, S3)."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from pyfuse3 import RequestContext
from trio.testing import MockClock

from storemount.errors import NotFound
from tests.support.bare import MAKERS, BareMount, bare_mount, fails, faultless, objects, put_object
from tests.support.faulty import FaultyStore


async def test_S3_a_late_answer_does_not_bring_back_a_deleted_name(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    """Asked before the unlink and answered after a newer listing."""
    await put_object(store, "d/x", b"x", staging)
    await put_object(store, "d/y", b"y", staging)
    async with bare_mount(store, staging, ttl=10) as m:
        directory = await m.ino("d")
        gate = store.hold_reply("stat", key="d/x")

        async def ask() -> None:
            with fails(errno.ENOENT):
                await m.lookup(directory, "x")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await gate.wait_reached()
            assert await m.names("d") == ["x", "y"]
            await m.fs.unlink(directory, b"x", RequestContext())
            await trio.sleep(11)
            assert await m.names("d") == ["y"]
            gate.open()
        assert await m.names("d") == ["y"]
        assert not await m.exists("d/x")


async def test_S3_a_directory_that_the_store_gets_while_an_older_listing_is_on_its_way_stays(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    await put_object(either, "other", b"1", staging)
    async with bare_mount(either, staging) as m:
        await m.mkdir("d")
        gate = either.hold_reply("list")
        shown: list[list[str]] = []

        async def look() -> None:
            shown.append(await m.names())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await gate.wait_reached()
            await m.settle()
            gate.open()
        assert shown == [["d", "other"]]
        assert await m.exists("d")


async def test_S3_a_listing_that_is_not_found_empties_nothing(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    """A flat store has no directory that could be missing."""
    await put_object(store, "d/f", b"1", staging)
    async with bare_mount(store, staging, ttl=1) as m:
        assert await m.names("d") == ["f"]
        inode = await m.ino("d/f")
        await trio.sleep(2)
        store.fail("list", NotFound("default backend - 404"))
        with fails(errno.EIO):
            await m.names("d")
        assert await m.names("d") == ["f"]
        assert await m.ino("d/f") == inode


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
async def test_S2_a_name_made_in_a_directory_that_goes_meanwhile_touches_no_other_key(
    clock: MockClock, store: FaultyStore, staging: Path, make: Callable[[BareMount, str], Awaitable[object]]
) -> None:
    """The rest of its path names somebody else's object."""
    others = {"a/b/k": b"k", "d/x": b"innocent", "s": b"s"}
    for key, data in {"a/b/d/z": b"z", **others}.items():
        await put_object(store, key, data, staging)
    async with bare_mount(store, staging, ttl=1) as m:
        gate = store.hold("stat", key="a/b/d/x")

        async def attempt() -> None:
            with fails(errno.ENOENT):
                await make(m, "a/b/d/x")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt)
            await gate.wait_reached()
            await faultless(store).delete(["a/b/d/z"])
            await trio.sleep(2)
            assert await m.names("a/b") == ["k"]
            gate.open()
        await m.settle()
        assert await objects(store) == others
