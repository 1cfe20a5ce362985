"""Somebody else changes in the store what is edited here: nothing of either side is lost (S9)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from storemount.errors import TimedOut
from tests.support.bare import BareMount, bare_mount, faultless, objects, put_object
from tests.support.faulty import FaultyStore


async def _edit(m: BareMount, path: str, data: bytes) -> None:
    fh = await m.open(path, os.O_RDWR)
    await m.write(fh, 0, data)
    await m.close(fh)


async def _settled(m: BareMount) -> None:
    """As `settle`, but a row that nobody tries again is a failure here, and not a test that hangs."""
    m.mount.publisher.seal_below("")
    for _ in range(100):
        if not len(m.mount.journal):
            return
        await trio.sleep(10)
    raise AssertionError([(row.kind, row.key, row.state, row.due) for row in m.mount.journal])


def _ours(found: dict[str, bytes], path: str) -> bytes:
    """What lies beside `path`, which has to be one file."""
    (content,) = [data for key, data in found.items() if key.startswith(f"{path}.conflict-")]
    return content


async def test_S9_an_edit_over_a_version_that_others_replaced_is_kept_beside_theirs(
    clock: MockClock, either: FaultyStore, staging: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await put_object(either, "d/f", b"base", staging)
    async with bare_mount(either, staging, ttl=1) as m:
        await _edit(m, "d/f", b"OURS")
        await put_object(faultless(either), "d/f", b"theirs", staging)
        await _settled(m)
        await trio.sleep(2)
        found = {key: data for key, data in (await objects(either)).items() if not key.endswith("/")}
        assert len(found) == 2
        assert found["d/f"] == await m.get("d/f") == b"theirs"
        assert _ours(found, "d/f") == b"OURS"
        assert len(await m.names("d")) == 2
        (conflict,) = m.mount.conflicts.seen
        assert (conflict.path, await m.get(conflict.ours)) == ("d/f", b"OURS")
        assert conflict.ours in caplog.text


async def test_S9_a_handle_that_goes_on_writing_after_a_conflict_writes_to_ours(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    await put_object(either, "f", b"base", staging)
    async with bare_mount(either, staging, ttl=1) as m:
        fh = await m.open("f", os.O_RDWR)
        await m.write(fh, 0, b"OURS")
        await put_object(faultless(either), "f", b"theirs", staging)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.fsync, fh)
            await _settled(m)
        await m.write(fh, 4, b", and more")
        await m.close(fh)
        await _settled(m)
        found = await objects(either)
        assert (len(found), found["f"], _ours(found, "f")) == (2, b"theirs", b"OURS, and more")


async def test_S9_an_edit_of_a_file_that_others_deleted_is_a_file_again(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    await put_object(either, "f", b"base", staging)
    async with bare_mount(either, staging) as m:
        fh = await m.open("f", os.O_RDWR)
        await m.read(fh)
        await m.write(fh, 0, b"OURS")
        await faultless(either).delete(["f"])
        await m.close(fh)
        await _settled(m)
        assert await objects(either) == {"f": b"OURS"}


@pytest.mark.parametrize("again", [False, True])
async def test_S9_an_upload_of_ours_whose_answer_was_lost_is_no_conflict(
    clock: MockClock, store: FaultyStore, staging: Path, again: bool
) -> None:
    """`again`: the file was edited once more before the upload is tried again."""
    await put_object(store, "f", b"base", staging)
    async with bare_mount(store, staging) as m:
        store.lose_reply("write", TimedOut("late"))
        await _edit(m, "f", b"OURS")
        await trio.sleep(0.6)
        if again:
            await _edit(m, "f", b"MORE")
        await _settled(m)
        assert await objects(store) == {"f": b"MORE" if again else b"OURS"}
        assert m.mount.conflicts.seen == []


async def test_S9_an_upload_that_a_killed_daemon_had_made_is_no_conflict(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    await put_object(store, "f", b"base", staging)
    store.hold_reply("write")
    async with bare_mount(store, staging) as m:
        await _edit(m, "f", b"OURS")
        await trio.sleep(2)
        assert await objects(store) == {"f": b"OURS"}
    store.heal()
    async with bare_mount(store, staging) as m:
        await _settled(m)
        assert await objects(store) == {"f": b"OURS"}
        assert m.mount.conflicts.seen == []


async def test_S9_a_file_replaced_as_a_whole_is_the_last_writers(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    await put_object(either, "f", b"base", staging)
    async with bare_mount(either, staging) as m:
        await m.put("f", b"ours")
        await put_object(faultless(either), "f", b"theirs", staging)
        await _settled(m)
        assert await objects(either) == {"f": b"ours"}
        assert m.mount.conflicts.seen == []


async def test_S9_a_conflict_found_by_the_next_daemon_is_kept_beside_too(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    await put_object(either, "f", b"base", staging)
    async with bare_mount(either, staging) as m:
        fh = await m.open("f", os.O_RDWR)
        await m.write(fh, 0, b"WHOLE")  # All of its bytes are here.
        await m.close(fh)
    await put_object(faultless(either), "f", b"theirs", staging)
    async with bare_mount(either, staging) as m:
        await _settled(m)
        found = await objects(either)
        assert (len(found), found["f"], _ours(found, "f")) == (2, b"theirs", b"WHOLE")


async def test_S9_theirs_is_taken_along_through_every_rename_of_an_edited_file(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    await put_object(either, "f", b"base", staging)
    async with bare_mount(either, staging) as m:
        await _edit(m, "f", b"OURS")
        await put_object(faultless(either), "f", b"theirs", staging)
        await m.rename("f", "g")
        await m.rename("g", "h")
        await _settled(m)
        found = await objects(either)
        assert (len(found), found["h"], _ours(found, "h")) == (2, b"theirs", b"OURS")


async def test_S11_a_new_directory_that_took_the_place_of_one_in_the_store_is_removed_with_it(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    async with bare_mount(either, staging) as m:
        await m.mkdir("d")
        await _settled(m)
        await m.mkdir("e")
        await m.rename("e", "d")
        await m.rmdir("d")
        await _settled(m)
        assert await objects(either) == {}
        await m.mkdir("d")
        await _settled(m)
        await m.mkdir("e")
        await m.rename("e", "d")
        await m.rename("d", "f")
        await _settled(m)
        assert list(await objects(either)) == ["f/"]


async def test_S9_a_second_edit_that_waits_for_a_conflict_does_not_go_over_theirs(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    await put_object(either, "f", b"base", staging)
    async with bare_mount(either, staging, ttl=1) as m:
        gate = either.hold("write", key="f")
        await _edit(m, "f", b"OURS")
        await gate.wait_reached()
        await _edit(m, "f", b"ALSO")
        await put_object(faultless(either), "f", b"theirs", staging)
        gate.open()
        await _settled(m)
        found = await objects(either)
        assert (len(found), found["f"], _ours(found, "f")) == (2, b"theirs", b"ALSO")
        assert len(m.mount.conflicts.seen) == 1


@pytest.mark.parametrize("saved", [False, True])
async def test_S9_a_conflict_over_a_file_that_has_lost_its_name_ends(
    clock: MockClock, either: FaultyStore, staging: Path, saved: bool
) -> None:
    """It was removed, or replaced through a temporary file, while its upload was on its way."""
    await put_object(either, "f", b"base", staging)
    async with bare_mount(either, staging, ttl=1) as m:
        gate = either.hold("write", key="f")
        await _edit(m, "f", b"OURS")
        await gate.wait_reached()
        if saved:
            await m.put("f.tmp", b"newest")
            await m.rename("f.tmp", "f")
        else:
            await m.unlink("f")
        await put_object(faultless(either), "f", b"theirs", staging)
        gate.open()
        await _settled(m)
        assert await objects(either) == ({"f": b"newest"} if saved else {})
        assert m.mount.conflicts.seen == []


async def test_S9_what_others_put_under_an_old_name_while_its_directory_moved_stays(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    for name in ("a", "b"):
        await put_object(store, f"d/{name}", b"base", staging)
    async with bare_mount(store, staging, ttl=1) as m:
        await m.names("d")
        gate = store.hold("copy", key="e/a")
        await m.rename("d", "e")
        await gate.wait_reached()
        await trio.testing.wait_all_tasks_blocked()
        await put_object(faultless(store), "d/b", b"theirs", staging)
        gate.open()
        await _settled(m)
        found = {key: data for key, data in (await objects(store)).items() if not key.endswith("/")}
        assert found == {"d/b": b"theirs", "e/a": b"base", "e/b": b"base"}
        await trio.sleep(2)
        assert await m.get("d/b") == b"theirs"


@pytest.mark.parametrize("kind", ["delete", "move", "directory"])
async def test_S9_a_removal_whose_answer_was_lost_does_not_take_what_others_have_put_there_since(
    clock: MockClock, store: FaultyStore, staging: Path, kind: str
) -> None:
    await put_object(store, "d/f", b"base", staging)
    async with bare_mount(store, staging, ttl=1) as m:
        await m.names("d")
        store.lose_reply("delete", TimedOut("late"))
        if kind == "delete":
            await m.unlink("d/f")
        else:
            await m.rename("d/f", "d/g") if kind == "move" else await m.rename("d", "e")
        while not store.count()["delete"]:  # noqa: ASYNC110 - the request is what is waited for
            await trio.sleep(0.01)
        await put_object(faultless(store), "d/f", b"theirs", staging)
        await _settled(m)
        assert (await objects(store))["d/f"] == b"theirs"
