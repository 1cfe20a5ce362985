"""Directories are real (S11): made, listed, walked, removed, kept when they become empty."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.mounting import AZURE, CLASS, GCS, KINDS, PLAIN, Subject
from tests.support.waiting import synced

SUBJECTS = (*KINDS, CLASS, *AZURE, *GCS)
PLANTED = 2


def test_S11_mkdir_and_rmdir(root: Path) -> None:
    (root / "a").mkdir()
    assert (root / "a").is_dir()
    assert os.listdir(root / "a") == []
    (root / "a").rmdir()
    assert os.listdir(root) == []
    with pytest.raises(FileNotFoundError):
        (root / "a").stat()


def test_S11_rmdir_of_a_full_directory(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a/file").touch()
    with pytest.raises(OSError) as caught:
        (root / "a").rmdir()
    assert caught.value.errno == errno.ENOTEMPTY
    assert os.listdir(root / "a") == ["file"]


def test_S11_deleting_the_last_file_leaves_the_directory(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a/file").write_bytes(b"x")
    synced(root / "a")
    (root / "a/file").unlink()
    assert os.listdir(root) == ["a"]
    assert os.listdir(root / "a") == []


def test_S11_deleting_the_last_object_of_an_implicit_directory_leaves_it(root: Path, subject: Subject) -> None:
    """A directory that exists in the store only because of its files becomes a real one when they go."""
    assert root.is_dir()
    for key in subject.planted:
        (subject.root / key).unlink()
    assert os.listdir(subject.root / "planted") == []
    (subject.root / "planted").rmdir()
    assert not (subject.root / "planted").exists()


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda root: (root / "file/x").mkdir(), "ENOTDIR"),
        (lambda root: (root / "missing/x").mkdir(), "ENOENT"),
        (lambda root: (root / "folder").mkdir(), "EEXIST"),
        (lambda root: (root / "file").mkdir(), "EEXIST"),
        (lambda root: (root / "file").rmdir(), "ENOTDIR"),
        (lambda root: (root / "missing").rmdir(), "ENOENT"),
        (lambda root: (root / "folder").unlink(), "EISDIR"),
        (lambda root: (root / "missing").unlink(), "ENOENT"),
        (lambda root: os.listdir(root / "file"), "ENOTDIR"),
        (lambda root: os.listdir(root / "missing"), "ENOENT"),
        (lambda root: (root / "folder/../missing").stat(), "ENOENT"),
        (lambda root: os.rmdir(f"{root}/folder/."), "EINVAL"),
    ],
)
def test_S11_refusals(root: Path, act: Callable[[Path], object], expected: str) -> None:
    (root / "folder").mkdir()
    (root / "file").touch()
    with pytest.raises(OSError) as caught:
        act(root)
    assert errno.errorcode[caught.value.errno or 0] == expected
    assert sorted(os.listdir(root)) == ["file", "folder"]


def test_S11_deep_tree(root: Path) -> None:
    deep = root.joinpath(*(f"level{number}" for number in range(40)))
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"deep down")
    assert (deep / "file").read_bytes() == b"deep down"
    assert sum(1 for _ in os.walk(root)) == 41
    shutil.rmtree(root / "level0")
    assert os.listdir(root) == []


@pytest.mark.subjects(PLAIN, "local")
def test_S11_very_deep_tree(root: Path) -> None:
    """As deep as a path can be; an S3 key ends long before."""
    deep = root
    for _ in range(1200):
        deep = deep / "d"
        deep.mkdir()
    (deep / "file").write_bytes(b"deep down")
    synced(deep)
    (root / "d").rename(root / "e")
    assert len(subprocess.run(["find", root / "e"], capture_output=True, check=True).stdout.splitlines()) == 1201
    subprocess.run(["rm", "-r", root / "e"], check=True)
    assert os.listdir(root) == []


def test_S11_file_that_becomes_a_directory_and_back(root: Path) -> None:
    for _ in range(3):
        (root / "it").write_bytes(b"a file")
        assert (root / "it").is_file()
        (root / "it").unlink()
        (root / "it").mkdir()
        (root / "it/inside").write_bytes(b"below")
        assert (root / "it").is_dir()
        shutil.rmtree(root / "it")
    assert os.listdir(root) == []


@pytest.mark.subjects(PLAIN, "local", "s3-native")
def test_S11_ten_thousand_entries(root: Path, subject: Subject) -> None:
    """Every entry is listed exactly once, and stat agrees with the listing."""
    count = 1500 if subject.remote or subject.kind == CLASS else 10_000
    names = {f"entry-{number:05}" for number in range(count)}
    for name in names:
        (root / name).write_bytes(name.encode()[: int(name[-1])])
    with os.scandir(root) as entries:
        listed = [(entry.name, entry.is_file(), entry.stat().st_size) for entry in entries]
    assert sorted(listed) == [(name, True, int(name[-1])) for name in sorted(names)]


def test_S11_listing_while_it_changes(root: Path) -> None:
    """What is there for the whole of a listing is listed exactly once, whatever else comes and goes."""
    stable = {f"stable-{number}" for number in range(400)}
    for name in stable:
        (root / name).touch()
    seen = []
    with os.scandir(root) as entries:
        for number, entry in enumerate(entries):
            seen.append(entry.name)
            (root / f"fresh-{number}").touch()
            (root / f"fresh-{number}").unlink()
            if number > 2000:
                break
    assert sorted(name for name in seen if name.startswith("stable-")) == sorted(stable)


@pytest.mark.subjects("local", "s3-native")
def test_S11_a_file_that_is_saved_anew_is_in_every_listing(root: Path) -> None:
    names = {f"{number:04}" for number in range(600)}
    for name in names:
        (root / name).touch()
    seen = []
    with os.scandir(root) as entries:
        for number, entry in enumerate(entries):
            seen.append(entry.name)
            (root / "new").touch()
            (root / "new").rename(root / f"{number * 37 % 600:04}")
            assert number < 2000
    assert sorted(name for name in seen if name != "new") == sorted(names)


def test_S11_delete_while_listing(root: Path) -> None:
    """The way `rm -r` works: each entry is deleted as soon as it is read."""
    for number in range(700):
        (root / f"{number}").touch()
    with os.scandir(root) as entries:
        for entry in entries:
            os.unlink(entry.path)
    assert os.listdir(root) == []


def test_S11_rewind(root: Path) -> None:
    """A rewound descriptor lists again, with what is new."""
    (root / "a").touch()
    descriptor = os.open(root, os.O_RDONLY)
    try:
        assert os.listdir(descriptor) == ["a"]
        (root / "b").touch()
        assert sorted(os.listdir(descriptor)) == ["a", "b"]
    finally:
        os.close(descriptor)


def test_S11_parallel_mkdir_has_one_winner(root: Path) -> None:
    def attempt(_: int) -> bool:
        try:
            os.mkdir(root / "one")
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(32))) == 1


def test_S5_parallel_exclusive_create_has_one_winner(root: Path) -> None:
    """The lock files of programs: of many that create one name with O_EXCL, one succeeds."""

    def attempt(_: int) -> bool:
        try:
            os.close(os.open(root / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(32))) == 1


def test_directory_attributes(root: Path) -> None:
    """What programs look at: the type, at least one link, a working directory that answers, and `..`."""
    (root / "a/b").mkdir(parents=True)
    assert (root / "a").stat().st_nlink >= 1
    assert os.path.samefile(root / "a/b/..", root / "a")
    before = os.getcwd()
    os.chdir(root / "a/b")
    try:
        assert os.getcwd() == str(root / "a/b")
        Path("here").write_bytes(b"relative")
    finally:
        os.chdir(before)
    assert (root / "a/b/here").read_bytes() == b"relative"


def test_directory_time_moves_with_its_entries(root: Path) -> None:
    """make and rsync look at it: adding and deleting an entry renews the directory's mtime."""
    (root / "a").mkdir()
    os.utime(root / "a", ns=(10**18, 10**18))
    (root / "a/file").touch()
    added = (root / "a").stat().st_mtime_ns
    assert added > 10**18
    os.utime(root / "a", ns=(10**18, 10**18))
    (root / "a/file").unlink()
    assert (root / "a").stat().st_mtime_ns > 10**18
