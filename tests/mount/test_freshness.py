"""Another client changes the store while it is mounted: seen within --ttl, and an open file stays one version (S3, S4)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support.mounting import STORES, Subject
from tests.support.outside import Outside
from tests.support.waiting import eventually, synced

SUBJECTS = STORES
TTL = 1.0
WITHIN = TTL + 2.0
"""The promise, and room for a slow machine."""
MOUNT_OPTIONS = ("--ttl", f"{TTL}s")
LARGE = 6 * 1024 * 1024


@pytest.fixture
def outside(subject: Subject) -> Outside:
    assert subject.outside is not None
    return subject.outside


def read(path: Path) -> bytes | None:
    """The content; None where there is no file, or where the version that the mount knows of is gone (ESTALE, allowed within the ttl)."""
    try:
        return path.read_bytes()
    except OSError as error:
        assert error.errno in (errno.ENOENT, errno.ESTALE)
        return None


def test_S3_a_new_object(root: Path, outside: Outside) -> None:
    """Also when the name was asked for before, and was absent then."""
    assert read(root / "new") is None
    assert os.listdir(root) == []
    outside.put(f"{root.name}/new", b"from outside")
    assert eventually(lambda: read(root / "new") == b"from outside", WITHIN)
    assert eventually(lambda: os.listdir(root) == ["new"], WITHIN)


def test_S3_a_new_object_in_a_new_directory(root: Path, outside: Outside) -> None:
    assert not (root / "a/b").exists()
    outside.put(f"{root.name}/a/b/c", b"deep")
    assert eventually(lambda: read(root / "a/b/c") == b"deep", WITHIN)


@pytest.mark.parametrize("size", [3, 12, 40], ids=["shorter", "same size", "longer"])
def test_S3_a_replaced_object(root: Path, outside: Outside, size: int) -> None:
    """Every read on the way gives one of the two versions, whole; size and content agree."""
    (root / "file").write_bytes(b"old content!")
    synced(root / "file")
    fresh = b"N" * size
    outside.put(f"{root.name}/file", fresh)
    seen: set[bytes | None] = set()

    def is_new() -> bool:
        data = read(root / "file")
        seen.add(data)
        return data == fresh

    assert eventually(is_new, WITHIN)
    assert seen <= {b"old content!", fresh, None}
    assert (root / "file").stat().st_size == size


def test_S3_a_deleted_object(root: Path, outside: Outside) -> None:
    (root / "file").write_bytes(b"x")
    (root / "other").write_bytes(b"y")
    synced(root)
    assert sorted(os.listdir(root)) == ["file", "other"]
    outside.delete(f"{root.name}/file")
    assert eventually(lambda: read(root / "file") is None, WITHIN)
    assert eventually(lambda: os.listdir(root) == ["other"], WITHIN)


def test_S3_a_deleted_directory(root: Path, outside: Outside) -> None:
    (root / "d").mkdir()
    (root / "d/file").write_bytes(b"x")
    synced(root)
    outside.delete(f"{root.name}/d/file")
    outside.delete(f"{root.name}/d/")
    assert eventually(lambda: not (root / "d").exists(), WITHIN)
    (root / "d").mkdir()
    assert os.listdir(root / "d") == []


def test_S3_a_file_that_became_a_directory(root: Path, outside: Outside) -> None:
    (root / "it").write_bytes(b"a file")
    synced(root)
    outside.delete(f"{root.name}/it")
    outside.put(f"{root.name}/it/inside", b"now below")
    assert eventually((root / "it").is_dir, WITHIN)
    assert (root / "it/inside").read_bytes() == b"now below"


def test_S3_own_changes_win_over_a_stale_listing(root: Path, outside: Outside) -> None:
    """What was just written here is shown at once, and is not undone by what the store still says."""
    outside.put(f"{root.name}/theirs", b"theirs")
    assert eventually(lambda: os.listdir(root) == ["theirs"], WITHIN)
    (root / "mine").write_bytes(b"mine")
    (root / "theirs").unlink()
    for _ in range(50):
        assert os.listdir(root) == ["mine"]
        assert (root / "mine").read_bytes() == b"mine"
    synced(root)
    assert outside.keys(f"{root.name}/") - {f"{root.name}/"} == {f"{root.name}/mine"}


def test_S4_an_open_file_is_one_version(root: Path, outside: Outside) -> None:
    """A handle opened before gives the old version to its end, or ESTALE; a new one gives the new version."""
    old, new = b"A" * LARGE, b"B" * LARGE
    outside.put(f"{root.name}/large", old)
    assert eventually((root / "large").exists, WITHIN)
    with open(root / "large", "rb", buffering=0) as file:
        assert file.read(1000) == b"A" * 1000
        outside.put(f"{root.name}/large", new)
        assert eventually(lambda: read(root / "large") == new, WITHIN)
        try:
            rest = b"".join(iter(lambda: file.read(1 << 17), b""))
        except OSError as error:
            assert error.errno == errno.ESTALE
        else:
            assert rest == b"A" * (LARGE - 1000)


def test_S4_an_open_file_that_was_deleted(root: Path, outside: Outside) -> None:
    outside.put(f"{root.name}/large", b"A" * LARGE)
    assert eventually((root / "large").exists, WITHIN)
    with open(root / "large", "rb", buffering=0) as file:
        assert file.read(10) == b"A" * 10
        outside.delete(f"{root.name}/large")
        assert eventually(lambda: not (root / "large").exists(), WITHIN)
        try:
            rest = b"".join(iter(lambda: file.read(1 << 17), b""))
        except OSError as error:
            assert error.errno == errno.ESTALE
        else:
            assert rest == b"A" * (LARGE - 10)


def test_S4_versions_are_not_mixed_while_they_change(root: Path, outside: Outside) -> None:
    """Objects of one repeated byte, replaced again and again; each file that is read consists of one byte only, in one of the lengths."""
    lengths = {bytes([number]): 1_000_000 + number * 1000 for number in range(1, 13)}
    for byte, length in lengths.items():
        outside.put(f"{root.name}/file", byte * length)
        assert eventually((root / "file").exists, WITHIN)
        data = read(root / "file")
        assert data is None or data == data[:1] * lengths[data[:1]]
    assert eventually(lambda: read(root / "file") == byte * length, WITHIN)
