"""Many writers and little room to stage in (S15): each gets its turn or is told, none hangs, and nothing that was closed is lost."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.command import Storemount
from tests.support.mounting import Mount, mount_of, mounted
from tests.support.outside import Outside
from tests.support.waiting import synced

MIB = 1024 * 1024
WRITERS = 10
SUBJECTS = ("local", "s3-native")


@pytest.fixture
def outside(kind: str, fresh_store: Callable[[str], Outside]) -> Outside:
    return fresh_store(kind)


@pytest.fixture
def options() -> tuple[str, ...]:
    return ("--staging-size", "8M", "--staging-wait", "60s")


@pytest.fixture
def mount(kind: str, outside: Outside, storemount: Storemount, options: tuple[str, ...]) -> Iterator[Mount]:
    with mounted(mount_of(storemount, kind, outside, options)) as running, running.watched(100):
        yield running


def test_S15_ten_writers_of_more_than_the_cap_all_get_through(mount: Mount, outside: Outside) -> None:
    """Each writes five files of 2 MiB and closes them: 100 MiB through 8. Every one arrives, whole."""
    wanted: dict[str, bytes] = {}

    def write(writer: int) -> None:
        for number in range(5):
            name, data = f"{writer}-{number}", os.urandom(2 * MIB)
            with open(mount.point / name, "wb", buffering=0) as file:
                for start in range(0, len(data), 256 * 1024):
                    assert file.write(data[start : start + 256 * 1024]) == 256 * 1024
            wanted[name] = hashlib.sha256(data).digest()

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    synced(mount.point)
    assert len(wanted) == WRITERS * 5
    assert {name: hashlib.sha256(outside.get(name)).digest() for name in outside.keys("")} == wanted


@pytest.mark.parametrize("options", [("--staging-size", "8M", "--staging-wait", "2s")])
def test_S15_ten_files_each_larger_than_the_cap_end_in_ENOSPC_and_not_in_a_deadlock(mount: Mount, outside: Outside) -> None:
    """Nothing that is still open can go up to make room, so nobody's wait can end well: each is told within its time."""
    mount.expect(r"WARNING|ERROR")
    (mount.point / "before").write_bytes(b"closed" * 1000)
    ready = threading.Barrier(WRITERS)

    def write(writer: int) -> None:
        name, data = f"open-{writer}", os.urandom(9 * MIB)
        descriptor = os.open(mount.point / name, os.O_CREAT | os.O_WRONLY)
        ready.wait()
        with pytest.raises(OSError, match="No space left"):
            try:
                for start in range(0, len(data), 256 * 1024):
                    os.pwrite(descriptor, data[start : start + 256 * 1024], start)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    for writer in range(WRITERS):
        (mount.point / f"open-{writer}").unlink()
    (mount.point / "after").write_bytes(b"there is room again")
    synced(mount.point)
    assert {name: outside.get(name) for name in outside.keys("")} == {"before": b"closed" * 1000, "after": b"there is room again"}
