"""Open files and what happens to their names and versions meanwhile (S4, S5, S10)."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from storemount.errors import Denied
from storemount.stores.base import Artifact, Meta
from storemount.stores.conditions import ALWAYS, Condition
from storemount.stores.local import LocalStore
from storemount.stores.memory import UNSAID
from storemount.writeback.change import State
from tests.support.bare import bare_mount, fails, faultless, objects, put_object, staged_files
from tests.support.faulty import FaultyStore, PromptMemoryStore

MIB = 1024 * 1024


async def test_S5_an_unlinked_open_file_is_read_and_written(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    await put_object(either, "f", b"content", staging)
    async with bare_mount(either, staging) as m:
        reader, writer = await m.open("f"), await m.open("f", os.O_RDWR)
        await m.unlink("f")
        await m.settle()
        assert await objects(either) == {}
        assert not await m.exists("f")
        assert await m.read(reader) == b"content"
        await m.write(writer, 3, b"TENT, and more")
        assert await m.read(reader) == b"conTENT, and more"
        await m.close(writer)
        assert await m.read(reader) == b"conTENT, and more"
        await m.close(reader)
        await trio.sleep(60)
        assert await objects(either) == {}
        assert staged_files(staging) == []


async def test_S5_a_replaced_open_file_keeps_its_bytes(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    await put_object(either, "f", b"old", staging)
    await put_object(either, "g", b"new", staging)
    async with bare_mount(either, staging) as m:
        reader, writer = await m.open("f"), await m.open("f", os.O_RDWR)
        await m.rename("g", "f")
        assert await m.read(reader) == b"old"
        await m.write(writer, 0, b"O")
        assert await m.read(reader) == b"Old"
        assert await m.get("f") == b"new"
        await m.close(writer)
        await m.close(reader)
        await m.settle()
        assert await objects(either) == {"f": b"new"}


async def test_S5_a_file_replaced_while_its_upload_runs_keeps_its_bytes_for_who_reads_it(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    async with bare_mount(either, staging) as m:
        await m.put("g", b"new")
        await m.settle()
        gate = either.hold("write", key="f")
        await m.put("f", b"old")
        reader = await m.open("f")
        await gate.wait_reached()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.rename, "g", "f")
            await trio.sleep(1)
            gate.open()
        assert await m.read(reader) == b"old"
        await m.close(reader)
        await m.settle()
        assert await objects(either) == {"f": b"new"}


@pytest.mark.parametrize("verb", ["unlink", "rename"])
async def test_S5_a_half_fetched_open_file_stays_whole_when_its_name_goes(
    clock: MockClock, either: FaultyStore, staging: Path, verb: str
) -> None:
    """Its bytes are partly in the staging, partly only in the object that is about to go."""
    content = os.urandom(3 * MIB)
    await put_object(either, "f", content, staging)
    async with bare_mount(either, staging) as m:
        fh = await m.open("f", os.O_RDWR)
        await m.write(fh, MIB, b"written")
        if verb == "unlink":
            await m.unlink("f")
        else:
            await m.put("g", b"another")
            await m.rename("g", "f")
        assert await m.read(fh) == content[:MIB] + b"written" + content[MIB + 7 :]
        await m.close(fh)


async def test_S4_a_handle_sees_one_version_or_an_error_when_somebody_else_replaces_the_object(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    old, new = os.urandom(9 * MIB), os.urandom(9 * MIB)
    await put_object(store, "f", old, staging)
    async with bare_mount(store, staging) as m:
        fh = await m.open("f")
        assert await m.read(fh, 0, 4096) == old[:4096]
        await put_object(store, "f", new, staging)
        await trio.sleep(20)
        assert await m.get("f") == new
        assert await m.read(fh, 0, 4096) == old[:4096]
        with fails(errno.ESTALE):
            await m.read(fh, 8 * MIB, 4096)
        await m.close(fh)


async def test_S4_a_local_version_stays_readable_after_it_was_replaced(clock: MockClock, tmp_path: Path, staging: Path) -> None:
    """A descriptor holds it."""
    (tmp_path / "store").mkdir()
    store = LocalStore(str(tmp_path / "store"))
    await put_object(store, "f", b"old", staging)
    async with bare_mount(store, staging) as m:
        fh = await m.open("f")
        await put_object(store, "f", b"new", staging)
        assert await m.read(fh) == b"old"
        await m.close(fh)


async def test_S4_writing_through_a_handle_of_a_replaced_version_is_an_error_and_not_lost_in_silence(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    await put_object(store, "f", b"old", staging)
    async with bare_mount(store, staging) as m:
        fh = await m.open("f", os.O_RDWR)
        await put_object(store, "f", b"theirs", staging)
        await trio.sleep(20)
        assert await m.get("f") == b"theirs"
        with fails(errno.ESTALE):
            await m.write(fh, 0, b"ours")
        await m.close(fh)
        await m.settle()
        assert await objects(store) == {"f": b"theirs"}


async def test_S5_two_handles_share_one_view(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    async with bare_mount(either, staging) as m:
        one = await m.create("f")
        two = await m.open("f", os.O_RDWR)
        await m.write(one, 0, b"aaaa")
        await m.write(two, 2, b"bbbb")
        assert await m.read(one) == await m.read(two) == b"aabbbb"
        assert (await m.stat("f")).st_size == 6
        await m.close(one)
        await trio.sleep(60)
        assert await objects(either) == {}
        await m.close(two)
        await m.settle()
        assert await objects(either) == {"f": b"aabbbb"}


async def test_S10_an_open_dirty_file_is_renamed(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    await put_object(either, "f", b"base content", staging)
    async with bare_mount(either, staging) as m:
        fh = await m.open("f", os.O_RDWR)
        await m.write(fh, 0, b"BASE")
        await m.rename("f", "g")
        await m.write(fh, 5, b"CON")
        assert await m.read(fh) == b"BASE CONtent"
        await m.close(fh)
        await m.settle()
        assert await objects(either) == {"g": b"BASE CONtent"}


async def test_S10_a_directory_moves_with_clean_open_dirty_and_running_files_below(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    async with bare_mount(either, staging) as m:
        await m.mkdir("d")
        await m.mkdir("d/sub")
        await m.put("d/clean", b"clean")
        await m.put("d/open", b"open")
        await m.settle()
        reader, writer = await m.open("d/open"), await m.open("d/clean", os.O_RDWR)
        await m.write(writer, 0, b"dirty")
        await m.put("d/sub/waiting", b"waiting")
        gate = either.hold("write", key="d/sub/running")
        await m.put("d/sub/running", b"running")
        await gate.wait_reached()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.rename, "d", "e")
            await trio.sleep(1)
            await m.write(writer, 5, b"er")
            gate.open()
        assert await m.names("e") == ["clean", "open", "sub"]
        assert not await m.exists("d")
        assert await m.read(reader) == b"open"
        assert await m.read(writer) == b"dirtyer"
        await m.close(reader)
        await m.close(writer)
        await m.settle()
        files = {key: data for key, data in (await objects(either)).items() if not key.endswith("/")}
        assert files == {"e/clean": b"dirtyer", "e/open": b"open", "e/sub/running": b"running", "e/sub/waiting": b"waiting"}


async def test_S10_a_file_read_while_its_directory_moves_is_read_to_its_end(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    content = os.urandom(9 * MIB)
    await put_object(store, "d/f", content, staging)
    async with bare_mount(store, staging) as m:
        fh = await m.open("d/f")
        assert await m.read(fh, 0, 4096) == content[:4096]
        await m.rename("d", "e")
        assert await m.read(fh) == content
        await m.close(fh)


@pytest.mark.parametrize("flags", [os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_TRUNC])
async def test_S5_truncating_on_open_reads_nothing_from_the_store(clock: MockClock, store: FaultyStore, staging: Path, flags: int) -> None:
    await put_object(store, "f", b"x" * MIB, staging)
    async with bare_mount(store, staging) as m:
        fh = await m.open("f", flags)
        await m.write(fh, 2, b"new")
        await m.close(fh)
        await m.settle()
        assert await objects(store) == {"f": b"\0\0new"}
        assert store.count()["read"] == 0


async def test_S5_truncate_and_extend_leave_zeros(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    await put_object(either, "f", b"0123456789", staging)
    async with bare_mount(either, staging) as m:
        await m.truncate("f", 4)
        await m.truncate("f", 8)
        assert await m.get("f") == b"0123\0\0\0\0"
        await m.settle()
        assert await objects(either) == {"f": b"0123\0\0\0\0"}


async def test_S5_opening_for_creation_a_file_that_appeared_meanwhile_opens_it_unless_it_must_be_new(
    clock: MockClock, store: FaultyStore, staging: Path
) -> None:
    async with bare_mount(store, staging) as m:
        await put_object(faultless(store), "f", b"theirs", staging)
        with fails(errno.EEXIST):
            await m.create("f", os.O_RDWR | os.O_EXCL)
        fh = await m.create("f", os.O_RDWR)
        assert await m.read(fh) == b"theirs"
        await m.close(fh)


async def test_S4_a_reader_whose_version_has_gone_closes_no_descriptor_of_another_file(
    clock: MockClock, tmp_path: Path, staging: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "f").write_bytes(b"old")
    store = LocalStore(str(root))
    async with bare_mount(store, staging) as m:
        reader = await m.open("f")
        assert await m.read(reader) == b"old"
        await m.put("f", b"mine")
        await m.settle()
        await put_object(store, "f", b"theirs", tmp_path)
        with fails(errno.ESTALE):
            await m.read(reader)
        # These take the numbers of descriptors that were closed.
        others = {name: await m.create(name) for name in ("a", "b", "c")}
        with fails(errno.ESTALE):
            await m.read(reader)
        await m.close(reader)
        for name, fh in others.items():
            await m.write(fh, 0, name.encode() * 5)
            assert await m.read(fh) == name.encode() * 5
            await m.close(fh)
        await m.settle()
        assert await objects(store) == {"a": b"aaaaa", "b": b"bbbbb", "c": b"ccccc", "f": b"theirs"}


@pytest.mark.parametrize("replaced", [False, True])
async def test_S5_S16_a_removal_that_the_store_refuses_is_kept_and_its_open_file_stays_readable(
    clock: MockClock, store: FaultyStore, staging: Path, replaced: bool
) -> None:
    """What the program was told stays true here, for as long as the store refuses."""
    before = {"f": b"old", "g": b"other"}
    for key, data in before.items():
        await put_object(store, key, data, staging)
    shown = ["f"] if replaced else ["g"]
    async with bare_mount(store, staging, ttl=1) as m:
        reader = await m.open("f")
        store.fail("copy" if replaced else "delete", Denied("no"))
        await (m.rename("g", "f") if replaced else m.unlink("f"))
        with pytest.raises(Denied):
            await m.settle()
        await trio.sleep(600)
        (row,) = m.mount.journal
        assert row.state is State.REFUSED
        assert await objects(store) == before
        assert await m.names() == shown
        assert await m.get(shown[0]) == b"other"
        assert await m.read(reader) == b"old"
        m.mount.journal.retry(row)
        await m.settle()
        await trio.sleep(2)
        assert await objects(store) == {shown[0]: b"other"}
        assert await m.names() == shown
        assert await m.read(reader) == b"old"
        await m.close(reader)
        assert staged_files(staging) == []


async def test_S5_a_file_that_was_replaced_and_whose_new_name_went_too_stays_readable(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    """The put that would have replaced its object is taken back, and the removal that comes instead has to keep it."""
    await put_object(either, "f", b"old", staging)
    async with bare_mount(either, staging) as m:
        reader = await m.open("f")
        await m.put("g", b"new")
        await m.rename("g", "f")
        await m.unlink("f")
        await m.settle()
        assert await objects(either) == {}
        assert await m.read(reader) == b"old"
        await m.close(reader)


async def test_S5_a_file_that_was_removed_and_whose_successor_was_renamed_stays_readable(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    """The new file would have replaced its object; it is renamed first, and the removal that comes instead has to keep it."""
    await put_object(either, "f", b"old", staging)
    async with bare_mount(either, staging) as m:
        reader = await m.open("f")
        await m.unlink("f")
        await m.put("f", b"new")
        await m.rename("f", "g")
        await m.settle()
        assert await objects(either) == {"g": b"new"}
        assert await m.read(reader) == b"old"
        await m.close(reader)


class ContentVersions(PromptMemoryStore):
    """Versions are told by their content, as an S3 ETag is: the same bytes under the same key are the same version again."""

    def _put(self, key: str, data: bytes, condition: Condition = ALWAYS, meta: Meta = UNSAID) -> Artifact:
        artifact = replace(super()._put(key, data, condition, meta), version=hashlib.sha256(data).hexdigest(), mtime_ns=0)
        self._objects[key] = artifact, data
        return artifact


async def test_S10_the_same_bytes_under_a_name_that_was_renamed_away_are_read_there(clock: MockClock, staging: Path) -> None:
    store = ContentVersions()
    async with bare_mount(store, staging) as m:
        await m.put("model", b"weights")
        await m.settle()
        await m.rename("model", "backup")
        await m.put("model", b"weights")
        await m.settle()
        await m.unlink("backup")
        await m.settle()
        assert await objects(store) == {"model": b"weights"}
        assert await m.get("model") == b"weights"
        await trio.sleep(60)
        assert await m.get("model") == b"weights"


async def test_S10_another_client_puts_the_same_bytes_where_they_were_before_a_rename(clock: MockClock, staging: Path) -> None:
    store = ContentVersions()
    await put_object(store, "model", b"weights", staging)
    async with bare_mount(store, staging, ttl=1) as m:
        await m.rename("model", "backup")
        await m.settle()
        await put_object(store, "model", b"weights", staging)
        await store.delete(["backup"])
        await trio.sleep(2)
        assert await m.get("model") == b"weights"


async def test_S10_a_file_that_is_moved_again_while_a_read_follows_it_is_read(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    """Each time the bytes have left the place that the last move led to."""
    await put_object(store, "a", b"content", staging)
    async with bare_mount(store, staging) as m:
        store.slow("copy", 0.01)
        store.slow("delete", 0.01)
        store.slow("read", 0.025)
        ino = await m.ino("a")
        for old, new in pairwise("abcdefghi"):
            await m.rename(old, new)
        fh = await m.open("i")
        m.mount.journal.hurry_all()
        assert m.node(ino).name == "i"
        assert await m.read(fh) == b"content"
        await m.close(fh)
