"""Keys that are no names, and names that are no keys (S2)."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from storemount.stores.azurenames import FORBIDDEN
from tests.support.bare import MAKERS, BareMount, bare_mount, fails, faultless, objects, put_object
from tests.support.faulty import FaultyStore


async def test_S2_what_cannot_be_a_name_is_hidden_and_unharmed(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    hostile = ["//lead", "d//double", "d/./dot", "d/../dots", "..", "d/" + "x" * 256, "d/nul\0", "file", "file/below", "/"]
    for key in hostile:
        await put_object(store, key, key.encode(), staging)
    await put_object(store, "d/good", b"good", staging)
    async with bare_mount(store, staging) as m:
        assert await m.names() == ["d", "file"]
        assert await m.names("d") == ["good"]
        assert await m.names("file") == ["below"]
        await m.unlink("d/good")
        with fails(errno.ENOTEMPTY):
            await m.rmdir("d")
        await m.put("d/new", b"new")
        await m.rename("d", "moved")
        await m.settle()
    held = await objects(store)
    for key in hostile:
        assert held["moved/" + key[2:] if key.startswith("d/") else key] == key.encode()


async def test_S2_a_directory_can_be_removed_once_its_hidden_keys_have_gone(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    await put_object(store, "d//hidden", b"1", staging)
    await put_object(store, "d/", b"", staging)
    async with bare_mount(store, staging, ttl=10) as m:
        with fails(errno.ENOTEMPTY):
            await m.rmdir("d")
        await faultless(store).delete(["d//hidden"])
        await trio.sleep(11)
        await m.rmdir("d")
        await m.settle()
        assert await objects(store) == {}


@pytest.mark.parametrize(("name", "number"), [("x" * 256, errno.ENAMETOOLONG), ("é" * 128, errno.ENAMETOOLONG)])
async def test_S2_a_name_that_is_too_long_is_refused(clock: MockClock, store: FaultyStore, staging: Path, name: str, number: int) -> None:
    async with bare_mount(store, staging) as m:
        for verb in (m.create, m.mkdir, m.stat):
            with fails(number):
                await verb(name)
        await m.put("f", b"1")
        with fails(number):
            await m.rename("f", name)
        assert await m.get("f") == b"1"


async def test_S2_a_key_that_is_too_long_for_the_store_is_refused(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        path = ""
        for _ in range(4):
            path = f"{path}/{'d' * 250}".lstrip("/")
            await m.mkdir(path)
        with fails(errno.ENAMETOOLONG):
            await m.create(path + "/" + "f" * 50)


async def test_S2_a_name_that_is_not_utf8_is_refused_where_keys_must_be(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        with fails(errno.EILSEQ):
            await m.create(os.fsdecode(b"caf\xe9"))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("name", ["dot.", "...", "back\\slash", "tab\t"])
async def test_S2_a_name_that_the_store_would_change_is_refused(
    clock: MockClock, store: FaultyStore, staging: Path, make: Callable[[BareMount, str], Awaitable[object]], name: str
) -> None:
    """As Azure would: at once, and not when it is uploaded."""
    await put_object(store, "s", b"s", staging)
    store.traits = replace(store.traits, forbidden=FORBIDDEN)
    async with bare_mount(store, staging) as m:
        with fails(errno.EILSEQ):
            await make(m, name)
        await make(m, "a.name that is.fine")
        await m.settle()


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
async def test_S2_the_name_of_an_unfinished_copy_is_refused(
    clock: MockClock, either: FaultyStore, staging: Path, make: Callable[[BareMount, str], Awaitable[object]]
) -> None:
    """The local store shows no such name: what was written there would be lost to sight."""
    await put_object(either, "s", b"s", staging)
    async with bare_mount(either, staging, ttl=1) as m:
        with fails(errno.EILSEQ):
            await make(m, ".storemount-x.part")
        await trio.sleep(2)
        assert await m.names() == ["s"]
        assert await objects(either) == {"s": b"s"}


async def test_S2_a_file_and_a_directory_of_one_name_on_different_pages_are_one_directory(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    await put_object(store, "d/a", b"file", staging)
    for number in range(1000):
        await put_object(store, f"d/a-{number:04}", b"", staging)
    await put_object(store, "d/a/x", b"x", staging)
    async with bare_mount(store, staging, ttl=1) as m:
        assert (await m.names("d")).count("a") == 1
        assert store.count()["list"] == 2
        inode = await m.ino("d/a")
        for _ in range(2):
            await trio.sleep(2)
            assert len(await m.names("d")) == 1001
            assert await m.ino("d/a") == inode
        assert await m.names("d/a") == ["x"]
        assert await m.get("d/a/x") == b"x"
