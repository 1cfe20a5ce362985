"""The disk under the staging folder is full: the program is told, and nothing wrong reaches the store (S15, S16, S6)."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.command import Storemount
from tests.support.mounting import STORES, mount_of, mounted
from tests.support.outside import Outside
from tests.support.waiting import synced

MIB = 1024 * 1024
BASE = os.urandom(MIB) * 12

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")


@pytest.fixture
def small_disk(storemount: Storemount) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = storemount.home / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "storemount-test", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


@pytest.fixture
def outside(kind: str, fresh_store: Callable[[str], Outside]) -> Outside:
    view = fresh_store(kind)
    view.put("large", BASE)
    return view


def told(path: Path, mode: str, offset: int, data: bytes) -> int | None:
    """The errno that the program sees from write, fsync or close; None when all went well."""
    descriptor = os.open(path, os.O_CREAT | (os.O_WRONLY if mode == "w" else os.O_RDWR), 0o644)
    seen = None
    try:
        for start in range(0, len(data), 128 * 1024):
            os.pwrite(descriptor, data[start : start + 128 * 1024], offset + start)
        os.fsync(descriptor)
    except OSError as error:
        seen = error.errno
    try:
        os.close(descriptor)
    except OSError as error:
        seen = seen or error.errno
    return seen


@pytest.mark.parametrize("kind", STORES)
def test_S15_a_new_file_that_does_not_fit(kind: str, outside: Outside, small_disk: Path, storemount: Storemount) -> None:
    """ENOSPC to the program that writes; what fits goes on working; no part of the file is in the store as if it were whole."""
    with (
        mounted(mount_of(storemount, kind, outside, ("--staging-dir", str(small_disk), "--staging-wait", "2s"))) as mount,
        mount.watched(60),
    ):
        mount.expect(r"WARNING|ERROR")
        assert told(mount.point / "huge", "w", 0, os.urandom(8 * MIB)) == errno.ENOSPC
        (mount.point / "huge").unlink()
        (mount.point / "small").write_bytes(b"fits")
        synced(mount.point / "small")
        assert (mount.point / "large").read_bytes() == BASE
    assert outside.get("small") == b"fits"
    assert "huge" not in outside.keys("huge")


@pytest.mark.parametrize("kind", STORES)
def test_S6_an_edit_that_does_not_fit(kind: str, outside: Outside, small_disk: Path, storemount: Storemount) -> None:
    """A small change of a large object needs its bytes here before it goes up. They do not fit: the old version stays, whole."""
    mount = mount_of(storemount, kind, outside, ("--staging-dir", str(small_disk), "--staging-wait", "2s", "--drain-timeout", "5s"))
    with mounted(mount), mount.watched(60):
        mount.expect(r"WARNING|ERROR")
        number = told(mount.point / "large", "r+", 6 * MIB, b"PATCH")
        stored = outside.get("large")
        assert stored in (BASE, BASE[: 6 * MIB] + b"PATCH" + BASE[6 * MIB + 5 :])
        assert (number is None) == (stored != BASE)
        if number is not None:
            assert number == errno.ENOSPC
            os.truncate(mount.point / "large", 0)
