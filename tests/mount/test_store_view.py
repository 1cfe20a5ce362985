"""What another client finds in the store for what was done through the mount (S1, S2, S6, S7, S8, S11)."""

from __future__ import annotations

import errno
import os
import random
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.command import Storemount
from tests.support.mounting import STORES, Mount, Subject, mounted, planted_bytes
from tests.support.outside import Outside, contents
from tests.support.waiting import eventually, synced

SUBJECTS = STORES
PLANTED = 3


def outside_of(subject: Subject) -> Outside:
    assert subject.outside is not None
    return subject.outside


@pytest.mark.parametrize("size", [0, 1, 4096, 1_000_000, 21_000_000])
def test_S1_same_bytes(root: Path, subject: Subject, size: int) -> None:
    data = random.Random(size).randbytes(size)
    (root / "file").write_bytes(data)
    synced(root / "file")
    assert outside_of(subject).get(f"{root.name}/file") == data


def test_S1_objects_of_others_are_files(root: Path, subject: Subject) -> None:
    assert root.is_dir()
    for key in subject.planted:
        assert (subject.root / key).read_bytes() == planted_bytes(key)
    assert sorted(os.listdir(subject.root / "planted")) == [Path(key).name for key in subject.planted]


def test_S6_nothing_is_there_before_close(root: Path, subject: Subject) -> None:
    with open(root / "file", "wb", buffering=0) as file:
        for _ in range(20):
            file.write(b"x" * 100_000)
        assert f"{root.name}/file" not in outside_of(subject).keys(f"{root.name}/")
    synced(root)
    assert outside_of(subject).get(f"{root.name}/file") == b"x" * 2_000_000


def test_S6_the_old_version_stays_whole_until_close(root: Path, subject: Subject) -> None:
    (root / "file").write_bytes(b"old" * 1000)
    synced(root / "file")
    with open(root / "file", "r+b", buffering=0) as file:
        file.write(b"new" * 500)
        assert outside_of(subject).get(f"{root.name}/file") == b"old" * 1000
    synced(root / "file")
    assert outside_of(subject).get(f"{root.name}/file") == b"new" * 500 + b"old" * 500


def test_S6_a_version_is_never_half(root: Path, subject: Subject) -> None:
    """While a file is saved again and again, whatever another client gets is one of the versions, whole."""
    versions = [bytes([number]) * 300_000 for number in range(1, 30)]
    (root / "file").write_bytes(versions[0])
    synced(root)
    done = threading.Event()

    def watch() -> set[bytes]:
        seen = set()
        while not done.is_set():
            seen.add(outside_of(subject).get(f"{root.name}/file"))
        return seen

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        for number, version in enumerate(versions):
            (root / "file").write_bytes(version)
            if number % 5 == 0:
                synced(root / "file")
        synced(root / "file")
        done.set()
        assert watching.result() <= set(versions)
    assert outside_of(subject).get(f"{root.name}/file") == versions[-1]


def test_S7_fsync_of_a_file(root: Path, subject: Subject) -> None:
    """Also while it stays open, and again after more was written."""
    with open(root / "file", "wb", buffering=0) as file:
        for text in (b"first", b", second"):
            file.write(text)
            os.fsync(file.fileno())
            assert outside_of(subject).get(f"{root.name}/file").endswith(text)
        os.fdatasync(file.fileno())


def test_S7_fsync_of_a_directory_covers_everything_below(root: Path, subject: Subject) -> None:
    (root / "a/b").mkdir(parents=True)
    expected = {}
    for number in range(20):
        path = root / ("a" if number % 2 else "a/b") / f"{number}"
        path.write_bytes(b"%d" % number)
        expected[f"{root.name}/{path.relative_to(root)}"] = b"%d" % number
    synced(root)
    assert contents(outside_of(subject), f"{root.name}/") == expected


def test_S7_fsync_of_a_directory_returns_while_others_write(root: Path, subject: Subject) -> None:
    """It waits for what was there when it was called, not for what comes after."""
    (root / "mine").write_bytes(b"mine")
    done = threading.Event()

    def others() -> None:
        number = 0
        while not done.is_set():
            (root / f"theirs{number % 50}").write_bytes(b"%d" % number)
            number += 1

    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(others)
        syncing = pool.submit(synced, root)
        try:
            syncing.result(timeout=20)
        finally:
            done.set()
        writing.result()
    assert outside_of(subject).get(f"{root.name}/mine") == b"mine"


def test_S7_a_file_that_is_saved_all_the_time_still_reaches_the_store(root: Path, subject: Subject) -> None:
    """A log or a heartbeat, written again before the last upload was due."""

    def save_and_look() -> bool:
        (root / "heartbeat").write_bytes(b"beat")
        return f"{root.name}/heartbeat" in outside_of(subject).keys(f"{root.name}/")

    assert eventually(save_and_look, 15)


def test_S10_renames_reach_the_store(root: Path, subject: Subject) -> None:
    (root / "old/deep").mkdir(parents=True)
    (root / "old/one").write_bytes(b"1")
    (root / "old/deep/two").write_bytes(b"2")
    synced(root)
    (root / "old/one").rename(root / "old/uno")
    (root / "old").rename(root / "new")
    synced(root)
    assert contents(outside_of(subject), f"{root.name}/") == {f"{root.name}/new/uno": b"1", f"{root.name}/new/deep/two": b"2"}
    assert not any("/old" in key for key in outside_of(subject).keys(f"{root.name}/"))


def test_S10_save_by_temporary_file_leaves_one_object(root: Path, subject: Subject) -> None:
    for number in range(5):
        (root / "model.tmp").write_bytes(b"%d" % number)
        (root / "model.tmp").replace(root / "model")
    synced(root)
    assert contents(outside_of(subject), f"{root.name}/") == {f"{root.name}/model": b"4"}


def test_S11_directories_have_markers(root: Path, subject: Subject) -> None:
    (root / "empty").mkdir()
    (root / "gone").mkdir()
    (root / "gone").rmdir()
    synced(root)
    keys = outside_of(subject).keys(f"{root.name}/")
    assert f"{root.name}/empty/" in keys
    assert f"{root.name}/gone/" not in keys


def test_S11_the_last_file_goes_and_the_directory_stays_in_the_store(root: Path, subject: Subject) -> None:
    (root / "a").mkdir()
    (root / "a/file").write_bytes(b"x")
    synced(root)
    (root / "a/file").unlink()
    synced(root)
    keys = outside_of(subject).keys(f"{root.name}/a")
    assert keys == {f"{root.name}/a/"}


def test_deletes_reach_the_store(root: Path, subject: Subject) -> None:
    for number in range(30):
        (root / f"{number}").write_bytes(b"x")
    (root / "tree/below").mkdir(parents=True)
    (root / "tree/below/file").write_bytes(b"x")
    synced(root)
    for path in sorted(root.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    synced(root)
    assert contents(outside_of(subject), f"{root.name}/") == {}
    assert f"{root.name}/tree/" not in outside_of(subject).keys(f"{root.name}/")


def test_S8_unmount_waits_for_the_store(subject: Subject, storemount: Storemount) -> None:
    """Everything that was closed is there when the command returns, and a new mount shows it."""
    outside = outside_of(subject)
    expected = {f"drain/{number}": b"%d" % number * 1000 for number in range(100)}
    with mounted(second_mount(storemount, subject)) as mount:
        (mount.point / "drain").mkdir()
        for key, data in expected.items():
            (mount.point / key).write_bytes(data)
    assert contents(outside, "drain/") == expected
    with mounted(second_mount(storemount, subject)) as mount:
        assert {f"drain/{path.name}": path.read_bytes() for path in (mount.point / "drain").iterdir()} == expected


def second_mount(storemount: Storemount, subject: Subject, *options: str) -> Mount:
    """The same store, mounted once more elsewhere."""
    assert subject.mount is not None
    engine = ("--engine", subject.kind.partition("-")[2]) if subject.remote else ()
    return Mount(storemount, subject.mount.store, (*engine, *options))


def test_two_mounts_of_one_store(root: Path, subject: Subject, storemount: Storemount) -> None:
    """What one has synced, the other finds (a new name: nothing about it was cached)."""
    (root / "file").write_bytes(b"from the first mount")
    synced(root)
    with mounted(second_mount(storemount, subject)) as mount:
        assert (mount.point / root.name / "file").read_bytes() == b"from the first mount"
        (mount.point / root.name / "answer").write_bytes(b"from the second")
    assert outside_of(subject).get(f"{root.name}/answer") == b"from the second"


def test_read_only_mount(root: Path, subject: Subject, storemount: Storemount) -> None:
    """Reads work; every change is refused with EROFS, and none reaches the store."""
    (root / "file").write_bytes(b"x")
    synced(root)
    before = outside_of(subject).keys(f"{root.name}/")
    with mounted(second_mount(storemount, subject, "--read-only")) as mount:
        there = mount.point / root.name
        assert (there / "file").read_bytes() == b"x"
        changes: list[Callable[[], object]] = [
            (there / "new").touch,
            (there / "new").mkdir,
            (there / "file").unlink,
            lambda: (there / "file").write_bytes(b"y"),
            lambda: (there / "file").rename(there / "other"),
            lambda: (there / "file").chmod(0o600),
            lambda: os.truncate(there / "file", 0),
            lambda: (there / "link").symlink_to("file"),
        ]
        for change in changes:
            with pytest.raises(OSError) as caught:
                change()
            assert caught.value.errno == errno.EROFS
    assert outside_of(subject).keys(f"{root.name}/") == before
