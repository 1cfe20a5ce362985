"""What a killed daemon had promised, in the mount that comes after it: shown at once, and in the store in the end (S6, S7, S8, S10)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import trio
from pyfuse3 import EntryAttributes, RequestContext, SetattrFields
from trio.testing import MockClock

from storemount.errors import Denied, Unavailable
from storemount.writeback.change import Kind, State
from tests.fs.promises import CASES, Case, Objects
from tests.support.bare import Fields, bare_mount, objects, put_object, shown, staged_files
from tests.support.faulty import FaultyStore
from tests.support.readme import told

CHANGES = ("write", "copy", "rename", "delete")
"""The requests that change a store."""


def _none(store: FaultyStore) -> None:
    """The daemon is killed while its first requests are on their way."""
    for verb in CHANGES:
        store.hold(verb, times=1000)


def _unanswered(store: FaultyStore) -> None:
    """Whatever was asked has been done, and nobody heard of it."""
    for verb in CHANGES:
        store.hold_reply(verb, times=1000)


def _lost(store: FaultyStore) -> None:
    """Whatever was asked has been done, again and again, and was told as a failure (but for what a local store does in one step)."""
    for verb in CHANGES:
        if verb != "write" or not store.traits.local_files:
            store.lose_reply(verb, Unavailable("503"), times=1000)


def _after(count: int) -> Callable[[FaultyStore], None]:
    """The store goes away after so many changes."""

    def order(store: FaultyStore) -> None:
        asked = itertools.count()
        for verb in CHANGES:
            store.fail_sometimes(verb, Unavailable("503"), lambda: next(asked) >= count)

    return order


MOMENTS = {
    "before": _none,
    "unanswered": _unanswered,
    "lost": _lost,
    "after one": _after(1),
    "after two": _after(2),
    "after three": _after(3),
}


LAYERED = ("edited while it goes up", "appended while it goes up", "edit, rename, edit")
"""Cases in which a file is written again while it goes up."""


async def _killed(case: Case, store: FaultyStore, staging: Path, fault: Callable[[FaultyStore], None]) -> None:
    for key, data in case.given.items():
        await put_object(store, key, data, staging)
    async with bare_mount(store, staging) as m:
        await shown(m)  # A name that is not known waits for the end of a rename that the store is in the middle of.
        fault(store)
        await case.work(m)
        await trio.sleep(5)
    store.heal()


def _files(found: Objects) -> Objects:
    return {key: data for key, data in found.items() if not key.endswith("/")}


async def _is_kept(case: Case, store: FaultyStore, staging: Path) -> None:
    """By a mount that takes it up, in the store, and by one that comes after."""
    async with bare_mount(store, staging) as m:
        assert await shown(m) == case.kept
        await m.settle()
        assert _files(await objects(store)) == _files(case.kept)
        assert await shown(m) == case.kept
        await trio.sleep(60)
        await m.mount.durability.now()
        assert await shown(m) == case.kept
        assert staged_files(staging) == []
    async with bare_mount(store, staging) as m:
        assert m.mount.taken_up == 0
        assert await shown(m) == case.kept


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", CASES)
async def test_S7_what_a_killed_daemon_had_promised_is_shown_at_once_and_saved(
    clock: MockClock, either: FaultyStore, staging: Path, name: str, moment: str
) -> None:
    case = CASES[name]
    if moment == "unanswered" and name in LAYERED and either.traits.local_files:
        pytest.skip("a local store takes a file and answers in one step, so nobody writes in between")
    await _killed(case, either, staging, MOMENTS[moment])
    await _is_kept(case, either, staging)


@pytest.mark.parametrize("name", CASES)
async def test_S7_a_daemon_that_is_killed_while_it_takes_up_what_another_left_loses_nothing_either(
    clock: MockClock, either: FaultyStore, staging: Path, name: str
) -> None:
    case = CASES[name]
    await _killed(case, either, staging, _none)
    for fault in (_unanswered, _after(1), _lost):
        fault(either)
        async with bare_mount(either, staging):
            await trio.sleep(5)
        either.heal()
    await _is_kept(case, either, staging)


async def test_S6_staged_files_that_nothing_needs_are_removed(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    async with bare_mount(store, staging) as m:
        await m.put("kept", b"kept")
        await m.write(await m.create("half"), 0, b"half")
        assert len(staged_files(staging)) == 2
    async with bare_mount(store, staging) as m:
        assert len(staged_files(staging)) == 1
        assert await shown(m) == {"kept": b"kept"}


async def test_S7_a_file_replaced_by_one_that_is_still_open_is_the_old_or_the_new_one(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    """Programs rename before they close: what was closed must not be lost for what was not."""
    async with bare_mount(either, staging) as m:
        await m.put("model", b"old")
        fh = await m.create("tmp")
        await m.write(fh, 0, b"new")
        await m.rename("tmp", "model")
    async with bare_mount(either, staging) as m:
        found = await shown(m)
        found.pop("tmp", None)
        assert found in ({"model": b"old"}, {"model": b"new"})


async def test_S8_a_refused_change_is_taken_up_as_refused_and_can_be_tried_again(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    await put_object(either, "gone", b"old", staging)
    for verb in CHANGES:
        either.fail(verb, Denied("not yours"), times=1000)
    async with bare_mount(either, staging) as m:
        await m.put("f", b"data")
        await m.unlink("gone")
        await trio.sleep(60)
    either.heal()
    async with bare_mount(either, staging) as m:
        await trio.sleep(600)
        assert await shown(m) == {"f": b"data"}
        assert await objects(either) == {"gone": b"old"}
        rows = list(m.mount.journal)
        assert {(row.key, row.state, "not yours" in str(row.error)) for row in rows} == {
            ("f", State.REFUSED, True),
            ("gone", State.REFUSED, True),
        }
        for row in rows:
            m.mount.journal.retry(row)
        await m.settle()
        assert await objects(either) == {"f": b"data"}


@pytest.mark.parametrize("after_close", [False, True])
async def test_S12_attributes_of_what_is_not_saved_yet_are_kept(
    clock: MockClock, either: FaultyStore, staging: Path, after_close: bool
) -> None:
    entry = EntryAttributes()
    entry.st_mode, entry.st_mtime_ns = 0o100640, 1_000_000_000_123_456_789
    async with bare_mount(either, staging) as m:
        fh = await m.create("f")
        await m.write(fh, 0, b"1")
        if after_close:
            await m.close(fh)
        fields = cast(SetattrFields, Fields(update_mode=True, update_mtime=True))
        await m.fs.setattr(await m.ino("f"), entry, fields, None, RequestContext())
        if not after_close:
            await m.close(fh)
    async with bare_mount(either, staging) as m:
        for _ in range(2):
            found = await m.stat("f")
            assert (found.st_mode, found.st_mtime_ns) == (entry.st_mode, entry.st_mtime_ns)
            await m.settle()


async def test_S12_a_symbolic_link_that_is_not_saved_yet_is_kept(clock: MockClock, either: FaultyStore, staging: Path) -> None:
    if not either.traits.modes:
        pytest.skip("this store keeps no modes, and so no links")
    async with bare_mount(either, staging) as m:
        await m.symlink("link", b"some/where")
        await m.rename("link", "other")
    async with bare_mount(either, staging) as m:
        for _ in range(2):
            assert await m.names() == ["other"]
            assert await m.readlink("other") == b"some/where"
            await m.settle()
            await trio.sleep(60)


@pytest.mark.parametrize("seconds", [0.1, 5])
async def test_S7_a_file_edited_while_it_went_up_is_kept_though_the_store_has_taken_what_the_edit_lies_on(
    clock: MockClock, either: FaultyStore, staging: Path, seconds: float
) -> None:
    """The edit was closed before the upload ended; the daemon is killed before its own has begun, or while it is on its way."""
    if either.traits.local_files:
        pytest.skip("a local store takes a file in the step in which it is asked, so nobody writes in between")
    gate = either.hold("write")
    async with bare_mount(either, staging, upload_delay=0.5) as m:
        await m.put("f", b"first version")
        await gate.wait_reached()
        fh = await m.open("f", os.O_RDWR)
        await m.write(fh, 0, b"FIRST")
        await m.close(fh)
        either.hold("write", times=1000)
        gate.open()
        await trio.sleep(seconds)
        assert await objects(either) == {"f": b"first version"}
    either.heal()
    async with bare_mount(either, staging) as m:
        assert await shown(m) == {"f": b"FIRST version"}
        await m.settle()
        assert await objects(either) == {"f": b"FIRST version"}


async def test_S7_a_closed_file_is_kept_at_any_moment_at_which_its_layers_are_made_one(
    clock: MockClock, either: FaultyStore, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon is killed while the disk takes the whole file, before the journal says that it is whole."""

    async def never(*args: object, **kwargs: object) -> None:
        await trio.sleep_forever()

    async with bare_mount(either, staging) as m:
        await m.put("f", b"0123456789")
        await m.truncate("f", 4)
        with monkeypatch.context() as patched:
            patched.setattr(trio.to_thread, "run_sync", never)
            await trio.sleep(5)
    async with bare_mount(either, staging) as m:
        assert await shown(m) == {"f": b"0123"}
        await m.settle()
        assert await objects(either) == {"f": b"0123"}


async def test_S7_after_a_power_cut_a_promise_that_is_not_believed_leaves_alone_what_the_one_before_it_stands_on(
    clock: MockClock, either: FaultyStore, staging: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first edit was on its way, and on the disk; the second lies over it, and was closed just before the power went."""
    await put_object(either, "f", b"0123456789", staging)
    async with bare_mount(either, staging) as m:
        either.hold("write", times=1000)
        for data, wait in ((b"A", 5.0), (b"B", 0.0)):
            fh = await m.open("f", os.O_RDWR)
            await m.write(fh, 0 if data == b"A" else 9, data)
            await m.close(fh)
            await trio.sleep(wait)
    either.heal()
    monkeypatch.setattr("storemount.assembly.boot", lambda: "after the power cut")
    async with bare_mount(either, staging) as m:
        assert await shown(m) == {"f": b"A123456789"}
        await m.settle()
        assert await objects(either) == {"f": b"A123456789"}
    (line,) = [record.message for record in caplog.records if "less than a second" in record.message]
    assert told("less than a second before the power went", line)
    assert "00000002.unsure" in line, "the second layer, and nothing else"
    assert "00000001" not in line


async def test_S7_S11_what_the_store_has_in_a_directory_is_shown_though_its_marker_waits_for_the_one_above(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    """The last files of two directories, one in the other, have just been removed: both get a marker, and neither is new."""
    for key in ("d/e/f", "d/e/deep/g", "d/h"):
        await put_object(either, key, b"1", staging)
    async with bare_mount(either, staging) as m:
        await m.names("d")
        await m.names("d/e")
        for verb in CHANGES:
            either.hold(verb, times=1000)
        await m.unlink("d/h")
        await m.unlink("d/e/f")
        for path in ("d", "d/e"):
            node = m.node(await m.ino(path))
            m.mount.journal.add(Kind.MKDIR, node, node.path)
        m.mount.journal.commit()
        await trio.sleep(1)
    either.heal()
    async with bare_mount(either, staging) as m:
        assert await shown(m) == {"d/": b"", "d/e/": b"", "d/e/deep/": b"", "d/e/deep/g": b"1"}


async def test_S7_S10_a_file_renamed_while_it_went_up_is_renamed_again_after_a_restart(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    """It is in the store under the last of its names before the first rename has its turn."""
    either.hold("write", times=1000)
    async with bare_mount(either, staging) as m:
        await m.put("f", b"content")
        await m.put("g", b"replaced")
        m.mount.journal.hurry_all()
        await trio.sleep(1)
        await m.rename("f", "g")
        m.mount.journal.commit()
    either.heal()
    either.fail("write", Unavailable("not now"), key="f")
    older = either.hold("write", key="g")
    async with bare_mount(either, staging) as m:
        await trio.sleep(0.01)
        await m.rename("g", "h")
        await trio.sleep(5)
        assert await objects(either) == {"h": b"content"}
        older.open()
        await m.settle()
        assert await objects(either) == {"h": b"content"}


@pytest.mark.parametrize("synced", [False, True])
async def test_S7_the_newest_close_counts_though_an_older_upload_is_still_to_be_done(
    clock: MockClock, either: FaultyStore, staging: Path, synced: bool
) -> None:
    """Between the two the file was renamed; when it is opened once more, the older upload waits for the close, or for an fsync."""
    either.hold("write", times=1000)
    async with bare_mount(either, staging) as m:
        await m.put("f", b"first")
        m.mount.journal.hurry_all()
        await trio.sleep(1)
        await m.rename("f", "g")
        await m.put("g", b"second")
        m.mount.journal.commit()
    either.heal()
    async with bare_mount(either, staging) as m:
        fh = await m.open("g", os.O_WRONLY | os.O_TRUNC)
        await trio.sleep(5)
        await m.write(fh, 0, b"the third")
        if synced:
            with trio.fail_after(20):
                await m.fsync(fh)
            assert await objects(either) == {"g": b"the third"}
        await m.close(fh)
        await m.settle()
        assert await objects(either) == {"g": b"the third"}
