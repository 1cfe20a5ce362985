"""Rename works for files, open files, files not yet in the store, and whole directories (S10)."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.mounting import AZURE, CLASS, GCS, KINDS, STORES, Subject, planted_bytes
from tests.support.renaming import EXCHANGE, NOREPLACE, renameat2
from tests.support.waiting import synced

SUBJECTS = (*KINDS, CLASS, *AZURE, *GCS)
PLANTED = 8


def refused(act: Callable[[], object]) -> str:
    """The name of the errno that `act` ends with, or "done"."""
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def test_S10_new_file(root: Path) -> None:
    (root / "a").write_bytes(b"content")
    (root / "a").rename(root / "b")
    assert os.listdir(root) == ["b"]
    assert (root / "b").read_bytes() == b"content"
    assert not (root / "a").exists()


def test_S10_a_backup_with_the_same_content(root: Path) -> None:
    """Two files with equal bytes are two files, also where the store names a version by its content."""
    (root / "model").write_bytes(b"weights")
    synced(root)
    (root / "model").rename(root / "model.bak")
    (root / "model").write_bytes(b"weights")
    synced(root)
    (root / "model.bak").unlink()
    synced(root)
    os.stat(root / "model")
    assert (root / "model").read_bytes() == b"weights"


def test_S10_object_not_read_yet(root: Path, subject: Subject) -> None:
    key = subject.planted[0]
    (subject.root / key).rename(root / "moved")
    assert (root / "moved").read_bytes() == planted_bytes(key)
    assert not (subject.root / key).exists()


def test_S10_over_an_existing_file(root: Path) -> None:
    """The way programs save: write a temporary file, rename it over the old one; ten times."""
    target = root / "checkpoint"
    for number in range(10):
        fresh = root / "checkpoint.tmp"
        fresh.write_bytes(b"version %d" % number)
        fresh.replace(target)
        assert target.read_bytes() == b"version %d" % number
    assert os.listdir(root) == ["checkpoint"]


def test_S10_over_an_object_not_read_yet(root: Path, subject: Subject) -> None:
    (root / "new").write_bytes(b"mine")
    (root / "new").replace(subject.root / subject.planted[1])
    assert (subject.root / subject.planted[1]).read_bytes() == b"mine"


def test_S10_over_an_open_file(root: Path) -> None:
    """A reader keeps the version it opened (S4)."""
    (root / "file").write_bytes(b"old version")
    with open(root / "file", "rb", buffering=0) as reader:
        (root / "new").write_bytes(b"new")
        (root / "new").replace(root / "file")
        assert reader.read() == b"old version"
    assert (root / "file").read_bytes() == b"new"


def test_S10_open_file(root: Path) -> None:
    """A file that is being written is renamed; what is written later goes to the new name."""
    with open(root / "part", "wb", buffering=0) as file:
        file.write(b"first half, ")
        (root / "part").rename(root / "whole")
        file.write(b"second half")
        assert not (root / "part").exists()
    assert (root / "whole").read_bytes() == b"first half, second half"


def test_S10_chain_of_names(root: Path) -> None:
    """a to b to c to a: each step counts, whatever has reached the store meanwhile."""
    (root / "a").write_bytes(b"traveller")
    for old, new in ("ab", "bc", "ca", "ab"):
        (root / old).rename(root / new)
    assert os.listdir(root) == ["b"]
    assert (root / "b").read_bytes() == b"traveller"


def test_S10_swap_by_three_renames(root: Path) -> None:
    (root / "a").write_bytes(b"A")
    (root / "b").write_bytes(b"B")
    (root / "a").rename(root / "t")
    (root / "b").rename(root / "a")
    (root / "t").rename(root / "b")
    assert ((root / "a").read_bytes(), (root / "b").read_bytes()) == (b"B", b"A")


def test_S10_old_name_is_free_again(root: Path) -> None:
    (root / "log").write_bytes(b"old log")
    (root / "log").rename(root / "log.1")
    (root / "log").write_bytes(b"new log")
    assert (root / "log.1").read_bytes() == b"old log"
    assert (root / "log").read_bytes() == b"new log"


def test_S10_directory_tree(root: Path) -> None:
    """Everything below moves at once, open files included, and stays writable."""
    for folder in ("x", "y/z"):
        (root / "old" / folder).mkdir(parents=True)
        for number in range(3):
            (root / "old" / folder / f"{number}").write_bytes(f"{folder} {number}".encode())
    with open(root / "old/y/z/0", "ab", buffering=0) as file:
        (root / "old").rename(root / "new")
        file.write(b" and more")
    assert not (root / "old").exists()
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    expected = {f"new/{folder}/{number}": f"{folder} {number}".encode() for folder in ("x", "y/z") for number in range(3)}
    expected["new/y/z/0"] += b" and more"
    assert found == expected


def test_S10_directory_with_objects_not_read_yet(root: Path, subject: Subject) -> None:
    """A directory that has been in the store since before the mount; it goes there and back."""
    keys = subject.planted[2:]
    (subject.root / "planted").rename(root / "moved")
    assert not (subject.root / "planted").exists()
    assert {key: (root / "moved" / Path(key).name).read_bytes() for key in keys} == {key: planted_bytes(key) for key in keys}
    (root / "moved").rename(subject.root / "planted")
    assert (subject.root / keys[0]).read_bytes() == planted_bytes(keys[0])


def test_S10_renamed_directory_takes_new_entries(root: Path) -> None:
    (root / "a/b").mkdir(parents=True)
    (root / "a").rename(root / "c")
    (root / "c/b/file").write_bytes(b"new")
    (root / "a").mkdir()
    (root / "a/file").write_bytes(b"other")
    assert (root / "c/b/file").read_bytes() == b"new"
    assert os.listdir(root / "a") == ["file"]
    (root / "c").rename(root / "a/c")
    assert (root / "a/c/b/file").read_bytes() == b"new"


def test_S10_directory_over_an_empty_directory(root: Path) -> None:
    (root / "full").mkdir()
    (root / "full/file").touch()
    (root / "empty").mkdir()
    (root / "full").rename(root / "empty")
    assert [str(path.relative_to(root)) for path in root.rglob("*")] == ["empty", "empty/file"]


@pytest.mark.parametrize("flags", [0, NOREPLACE])
def test_S10_what_rename_refuses(root: Path, tmp_path: Path, flags: int) -> None:
    """Every pair of (file, empty, full directory, missing, link) gives the errno of the local disk, and harms nothing."""

    def outcomes(base: Path) -> dict[str, str]:
        done = {}
        for old in ("file", "empty", "full", "missing", "link"):
            for new in ("file", "empty", "full", "missing", "link"):
                folder = base / f"{old}-to-{new}"
                source, target = made(folder / "old", old), made(folder / "new", new)
                done[f"{old} to {new}"] = refused(partial(renameat2, source, target, flags))
                done[f"after {old} to {new}"] = " ".join(sorted(str(path.relative_to(folder)) for path in folder.rglob("*")))
        return done

    assert outcomes(root) == outcomes(tmp_path)


def made(folder: Path, kind: str) -> Path:
    folder.mkdir(parents=True)
    path = folder / "it"
    if kind == "file":
        path.write_bytes(b"file")
    elif kind in ("empty", "full"):
        path.mkdir()
        if kind == "full":
            (path / "entry").touch()
    elif kind == "link":
        path.symlink_to("nowhere")
    return path


def test_S10_noreplace_keeps_what_is_there(root: Path) -> None:
    (root / "new").write_bytes(b"new")
    (root / "old").write_bytes(b"old")
    assert refused(lambda: renameat2(root / "new", root / "old", NOREPLACE)) == "EEXIST"
    assert (root / "old").read_bytes() == b"old"
    renameat2(root / "new", root / "other", NOREPLACE)
    assert (root / "other").read_bytes() == b"new"


@pytest.mark.subjects(*STORES)
def test_S10_exchange_is_refused(root: Path) -> None:
    """S13: two names cannot be swapped in one step; EINVAL, and nothing has moved."""
    (root / "a").write_bytes(b"A")
    (root / "b").write_bytes(b"B")
    assert refused(lambda: renameat2(root / "a", root / "b", EXCHANGE)) == "EINVAL"
    assert ((root / "a").read_bytes(), (root / "b").read_bytes()) == (b"A", b"B")


def test_S10_into_itself(root: Path) -> None:
    (root / "a/b").mkdir(parents=True)
    assert refused(lambda: (root / "a").rename(root / "a/b/c")) == "EINVAL"
    assert refused(lambda: (root / "a/b").rename(root / "a")) == "ENOTEMPTY"


def test_S10_onto_itself(root: Path) -> None:
    (root / "a").write_bytes(b"same")
    (root / "a").rename(root / "a")
    assert (root / "a").read_bytes() == b"same"


@pytest.mark.subjects(*STORES)
def test_S10_to_another_file_system(root: Path, tmp_path: Path) -> None:
    """EXDEV from rename; mv copies instead."""
    (root / "file").write_bytes(b"x")
    assert refused(lambda: (root / "file").rename(tmp_path / "file")) == "EXDEV"


def test_S10_modification_time_stays(root: Path) -> None:
    (root / "a").write_bytes(b"x")
    os.utime(root / "a", ns=(10**18, 10**18))
    (root / "a").rename(root / "b")
    assert (root / "b").stat().st_mtime_ns == 10**18


def test_S10_many_random_renames_match_a_model(root: Path) -> None:
    """Seeded renames of files and directories, against a dict of what should be where."""
    dice = random.Random(10)
    model: dict[str, bytes] = {}
    for folder in ("d0", "d1", "d2"):
        (root / folder).mkdir()
        for name in "abc":
            (root / folder / name).write_bytes(f"{folder}/{name}".encode())
            model[f"{folder}/{name}"] = f"{folder}/{name}".encode()
    for number in range(60):
        old, folder = dice.choice(sorted(model)), dice.choice(("d0", "d1", "d2"))
        new = f"{folder}/{dice.choice('abcdef')}"
        (root / old).replace(root / new)
        model[new] = model.pop(old)
        if number % 10 == 9:
            (root / "d0").rename(root / "spare")
            (root / "d1").rename(root / "d0")
            (root / "spare").rename(root / "d1")
            swap = {"d0": "d1", "d1": "d0", "d2": "d2"}
            model = {f"{swap[path[:2]]}{path[2:]}": data for path, data in model.items()}
    assert {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()} == model
