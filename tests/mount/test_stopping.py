"""However a mount is stopped, what was closed is in the store, and nothing is left behind (S8, S7)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from storemount.errors import ExitCode
from tests.support.command import Storemount
from tests.support.mounting import STORES, Mount, mount_of, mounted
from tests.support.outside import Outside, contents
from tests.support.waiting import eventually

FILES = 40


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def outside(kind: str, fresh_store: Callable[[str], Outside]) -> Outside:
    return fresh_store(kind)


@pytest.fixture
def mount(kind: str, outside: Outside, storemount: Storemount) -> Mount:
    return mount_of(storemount, kind, outside)


def by_sigterm(mount: Mount) -> None:
    os.kill(mount.pid, signal.SIGTERM)


def by_sigint(mount: Mount) -> None:
    os.kill(mount.pid, signal.SIGINT)


def by_fusermount(mount: Mount) -> None:
    subprocess.run(["fusermount3", "-u", mount.point], check=True)


def by_lazy_unmount(mount: Mount) -> None:
    subprocess.run(["fusermount3", "-u", "-z", mount.point], check=True)


@pytest.mark.parametrize("stop", [by_sigterm, by_sigint, by_fusermount, by_lazy_unmount])
def test_S8_every_way_to_stop_drains(mount: Mount, outside: Outside, stop: Callable[[Mount], None]) -> None:
    expected = {f"d/{number}": b"%d" % number * 5000 for number in range(FILES)}
    with mounted(mount):
        (mount.point / "d").mkdir()
        for key, data in expected.items():
            (mount.point / key).write_bytes(data)
        stop(mount)
        mount.gone()
        assert mount.complaints() == []
    assert contents(outside, "") == expected


def test_S8_sigterm_with_files_in_use(mount: Mount, outside: Outside) -> None:
    """A program that still writes does not hold the machine's shutdown up: what it closed is saved, and it is told at its close."""
    with mounted(mount):
        (mount.point / "closed").write_bytes(b"done")
        descriptor = os.open(mount.point / "open", os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"not done")
        by_sigterm(mount)
        mount.gone()
        with pytest.raises(OSError, match="not connected"):
            os.close(descriptor)
    assert outside.get("closed") == b"done"


def test_S7_what_a_killed_daemon_had_staged_is_kept(mount: Mount, outside: Outside, storemount: Storemount) -> None:
    """`kill -9` between close and upload: the bytes are in the store, or on this disk; and the next mount comes up and says so."""
    with mounted(mount):
        (mount.point / "precious").write_bytes(b"must not be lost by a kill")
        mount.kill()
        files = [path for path in (storemount.home / "state").rglob("*") if path.is_file()]
        kept = any(path.read_bytes() == b"must not be lost by a kill" for path in files)
        assert kept or outside.get("precious") == b"must not be lost by a kill"
        mount.expect("an earlier mount here was killed")
        mount.start()
        assert (mount.point / "next").write_bytes(b"works") == 5
    assert outside.get("next") == b"works"


def test_S8_foreground(mount: Mount, outside: Outside, storemount: Storemount) -> None:
    """With -f the command serves until it is unmounted, and its exit code says whether all is in the store."""
    words = [sys.executable, "-m", "storemount", "mount", mount.store, str(mount.point), "-f", *mount.options]
    with subprocess.Popen(
        words, env=storemount.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as daemon:
        assert eventually(lambda: mount.mounted, 10)
        (mount.point / "file").write_bytes(b"in the foreground")
        daemon.terminate()
        said, complained = daemon.communicate(timeout=30)
    assert (daemon.returncode, complained) == (ExitCode.OK, ""), said
    mount.clear()
    assert outside.get("file") == b"in the foreground"


def test_S8_nothing_is_left_on_disk(mount: Mount, storemount: Storemount) -> None:
    """After a drained stop there is no staged file and no socket."""

    def leftovers() -> set[Path]:
        return {
            path for name in ("state", "run") for path in (storemount.home / name).rglob("*") if not path.is_dir() and path.suffix != ".log"
        }

    before = leftovers()
    with mounted(mount):
        (mount.point / "file").write_bytes(b"x" * 100_000)
    assert leftovers() <= before
