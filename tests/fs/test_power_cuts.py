"""A journal that a power cut has set back, under a store that has gone on: what was safe at the time is there, once (S7, S9, S10).

The staging folder is put back to what it was when the journal was synced last. Cuts of a real disk, with whatever its kernel
had written by then, are in tests/crash.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from pyfuse3 import FUSEError
from trio.testing import MockClock

from storemount.errors import Unavailable
from tests.fs.promises import CASES
from tests.fs.test_recovery import LAYERED, MOMENTS, _files
from tests.support.bare import BareMount, bare_mount, objects, put_object, shown, staged_files
from tests.support.faulty import FaultyStore
from tests.support.forgetful import ForgetfulDisk


def _nothing(store: FaultyStore) -> None:
    """The store does everything."""


AHEAD: dict[str, Callable[[FaultyStore], None]] = {
    "all done": _nothing,
    **{name: MOMENTS[name] for name in ("unanswered", "after one", "after two")},
}


@pytest.mark.parametrize("moment", AHEAD)
@pytest.mark.parametrize("name", CASES)
async def test_S7_what_was_safe_before_a_power_cut_is_there_though_the_store_is_ahead_of_the_journal(
    clock: MockClock, either: FaultyStore, staging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, moment: str
) -> None:
    case = CASES[name]
    if moment == "unanswered" and name in LAYERED and either.traits.local_files:
        pytest.skip("a local store takes a file and answers in one step, so nobody writes in between")
    for key, data in case.given.items():
        await put_object(either, key, data, staging)
    disk = ForgetfulDisk(staging, tmp_path / "disk", monkeypatch)
    async with bare_mount(either, staging) as m:
        await shown(m)
        AHEAD[moment](either)
        await case.work(m)
        await m.mount.durability.now()
        await trio.sleep(5)
    either.heal()
    disk.cut()
    async with bare_mount(either, staging) as m:
        assert await shown(m) == case.kept
        await m.settle()
        assert _files(await objects(either)) == _files(case.kept)
        assert await shown(m) == case.kept
        await trio.sleep(60)
        await m.mount.durability.now()
        assert staged_files(staging) == []


async def _removed_and_made_anew(m: BareMount) -> None:
    await m.unlink("f")
    await m.mount.durability.now()
    await m.put("f", b"new")


async def _replaced(m: BareMount) -> None:
    await m.put("f", b"safe")
    await m.mount.durability.now()
    await m.put("new", b"new")
    await m.rename("new", "f")


async def _replaced_twice(m: BareMount) -> None:
    await _replaced(m)
    await m.put("newer", b"newer")
    await m.rename("newer", "f")


async def _replaced_and_removed(m: BareMount) -> None:
    await _replaced(m)
    await m.unlink("f")
    m.mount.journal.commit()


@pytest.mark.parametrize(
    ("given", "work", "kept"),
    [
        pytest.param({"f": b"old"}, _removed_and_made_anew, {}, id="removed and made anew"),
        pytest.param({}, _replaced, {"f": b"safe"}, id="replaced"),
        pytest.param({"f": b"old"}, _replaced, {"f": b"safe"}, id="a change replaced"),
        pytest.param({}, _replaced_twice, {"f": b"safe"}, id="replaced twice"),
        pytest.param({}, _replaced_and_removed, {}, id="replaced and removed"),
    ],
)
async def test_S7_what_is_not_believed_after_a_power_cut_leaves_what_was_safe_before_it(
    clock: MockClock,
    either: FaultyStore,
    staging: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, bytes],
    work: Callable[[BareMount], Awaitable[None]],
    kept: dict[str, bytes],
) -> None:
    """Nothing goes up; the disk has what was synced, and all of the journal."""
    for key, data in given.items():
        await put_object(either, key, data, staging)
    for verb in ("write", "delete", "rename", "copy"):
        either.hold(verb, times=1000)
    async with bare_mount(either, staging) as m:
        await shown(m)
        await work(m)
    either.heal()
    monkeypatch.setattr("storemount.assembly.boot", lambda: "after the power cut")
    async with bare_mount(either, staging) as m:
        assert await shown(m) == kept
        await m.settle()
        assert await objects(either) == kept
        assert all(name.startswith("kept/") and name.endswith(".unsure") for name in staged_files(staging))


async def test_S9_a_file_whose_time_was_set_before_the_power_cut_and_that_was_edited_is_no_conflict(
    clock: MockClock, either: FaultyStore, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a version is told by its time, setting the time makes another one, which the journal had not heard of yet."""
    if not either.traits.modes:
        pytest.skip("this store keeps no times")
    await put_object(either, "f", b"0123", staging)
    either.hold_reply("annotate")
    async with bare_mount(either, staging) as m:
        await CASES["dated and edited"].work(m)
        await m.mount.durability.now()
        await trio.sleep(5)
    either.heal()
    monkeypatch.setattr("storemount.assembly.boot", lambda: "after the power cut")
    async with bare_mount(either, staging) as m:
        await m.settle()
        assert await objects(either) == {"f": b"X123"}
        assert not m.mount.conflicts.seen


async def test_S10_S11_a_directory_takes_along_nothing_of_the_one_that_had_its_name_before(
    clock: MockClock, either: FaultyStore, staging: Path, tmp_path: Path
) -> None:
    """Both have an empty directory inside; the older one still waits to be moved when the newer one's is."""
    (tmp_path / "other").mkdir()
    async with bare_mount(either, staging) as m:
        await m.mkdir("c")
        await m.settle()
        await m.mkdir("c/x")
        await m.rename("c", "d")
        await m.mkdir("c")
        await m.mkdir("c/x")
        await m.rename("c/x", "e")
        await m.settle()
    async with bare_mount(either, tmp_path / "other") as m:
        assert await shown(m) == {"c/": b"", "d/": b"", "d/x/": b"", "e/": b""}


async def test_S7_a_link_in_the_place_of_a_file_that_was_on_its_way_leaves_nothing_of_it(
    clock: MockClock, either: FaultyStore, staging: Path
) -> None:
    """What the store had of the file is known, what it is getting is not: the removal must not go by the former."""
    if not either.traits.link_suffix:
        pytest.skip("where a link has the key of a file, its upload replaces the file")
    await put_object(either, "f", b"old", staging)
    async with bare_mount(either, staging) as m:
        await shown(m)
        await m.symlink("link", b"target")
        await m.settle()
        upload = either.hold("write", times=1000)
        await m.put("f", b"newer")
        with trio.fail_after(5):
            await upload.wait_reached()
        await m.rename("link", "g")
        await m.rename("f", "h")
        await m.rename("g", "h")
        await m.mount.durability.now()
    either.heal()
    async with bare_mount(either, staging) as m:
        await m.settle()
        assert await shown(m) == {"h ->": b"target"}
        assert set(await objects(either)) == {f"h{either.traits.link_suffix}"}


async def test_S9_S10_an_edited_file_that_came_to_the_store_before_the_power_cut_is_renamed_and_edited_again(
    clock: MockClock, either: FaultyStore, staging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is under its old name is another version than the one that the journal speaks of, and it is ours."""
    await put_object(either, "f", b"0123", staging)
    disk = ForgetfulDisk(staging, tmp_path / "disk", monkeypatch)
    async with bare_mount(either, staging) as m:
        fh = await m.open("f", os.O_RDWR)
        await m.write(fh, 0, b"X")
        await m.close(fh)
        await m.mount.durability.now()
        await trio.sleep(5)
        assert await objects(either) == {"f": b"X123"}
    disk.cut()
    either.fail("write", Unavailable("not now"))
    async with bare_mount(either, staging) as m:
        await trio.sleep(0.01)  # It has failed once, and waits.
        await m.rename("f", "g")
        await m.settle()
        await m.truncate("g", 2)
        await m.settle()
        assert await objects(either) == {"g": b"X1"}
        assert not m.mount.conflicts.seen


@pytest.mark.parametrize("verb", ["write", "rename", "list", "copy"])
async def test_S3_S10_a_directory_that_has_moved_before_the_power_cut_is_never_seen_empty(
    clock: MockClock, either: FaultyStore, staging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """The journal says that it is still to be moved, and the store fails at first when that is done once more."""
    await put_object(either, "d/f", b"1", staging)
    disk = ForgetfulDisk(staging, tmp_path / "disk", monkeypatch)
    async with bare_mount(either, staging) as m:
        await shown(m)
        await m.rename("d", "e")
        await m.mount.durability.now()
        await trio.sleep(5)
    disk.cut()
    either.fail(verb, Unavailable("not now"), times=2)
    async with bare_mount(either, staging) as m:
        seen = []
        for _ in range(60):
            with suppress(FUSEError):
                seen.append(await m.names("e"))
            await trio.sleep(1)
        assert seen and all(names == ["f"] for names in seen)
        assert await shown(m) == {"e/": b"", "e/f": b"1"}


async def test_S7_what_was_replaced_twice_stays_replaced_when_only_the_last_survives_the_power_cut(
    clock: MockClock, either: FaultyStore, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that a file took the place of, which another file took the place of; the bytes of the one in the middle were never synced."""
    if not either.traits.modes:
        pytest.skip("this store keeps no links on their way")
    for verb in ("write", "delete", "copy"):
        either.hold(verb, times=1000)
    async with bare_mount(either, staging) as m:
        await m.symlink("f", b"target")
        await m.mount.durability.now()
        for content in (b"middle", b"last"):
            await m.put("new", content)
            await m.rename("new", "f")
        [last] = m.mount.journal.at("f")
        m.mount.journal.commit()
        m.mount.ledger.mark_synced([last.id])
    either.heal()
    monkeypatch.setattr("storemount.assembly.boot", lambda: "after the power cut")
    async with bare_mount(either, staging) as m:
        assert await shown(m) == {"f": b"last"}
        await m.settle()
        assert await objects(either) == {"f": b"last"}


async def test_S7_S10_what_was_removed_from_a_directory_that_has_moved_before_the_power_cut_stays_removed(
    clock: MockClock, either: FaultyStore, staging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal speaks of the version under its old name; the store has a copy, under the new one."""
    for key in ("d/f", "d/g"):
        await put_object(either, key, b"1", staging)
    disk = ForgetfulDisk(staging, tmp_path / "disk", monkeypatch)
    async with bare_mount(either, staging) as m:
        await shown(m)
        await m.rename("d", "e")
        await m.unlink("e/f")
        await m.mount.durability.now()
        for _ in range(30):
            if "d/f" not in await objects(either):
                break
            await trio.sleep(0.01)
    disk.cut()
    async with bare_mount(either, staging) as m:
        await m.settle()
        assert await shown(m) == {"e/": b"", "e/g": b"1"}
        assert "e/f" not in await objects(either)
