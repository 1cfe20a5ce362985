"""Locks work between the processes of one machine (S13)."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
getattr(fcntl, sys.argv[2])(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
KINDS: dict[str, Callable[..., object]] = {"flock": fcntl.flock, "lockf": fcntl.lockf}


@contextmanager
def held_elsewhere(path: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock inside the block."""
    command = [sys.executable, "-c", HOLDER, str(path), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin and holder.stdout
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.stdin.close()
        assert holder.wait(10) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_S13_a_lock_keeps_the_other_process_out(root: Path, kind: str) -> None:
    path = root / "lock"
    path.touch()
    with open(path, "r+b") as file:
        with held_elsewhere(path, kind), pytest.raises(BlockingIOError):
            KINDS[kind](file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        KINDS[kind](file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("kind", KINDS)
def test_S13_a_killed_holder_lets_go(root: Path, kind: str) -> None:
    path = root / "lock"
    path.touch()
    command = [sys.executable, "-c", HOLDER, str(path), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        holder.kill()
        holder.wait()
        with open(path, "r+b") as file:
            KINDS[kind](file, fcntl.LOCK_EX)


def test_S13_shared_locks_are_shared(root: Path) -> None:
    (root / "lock").touch()
    with open(root / "lock", "rb") as one, open(root / "lock", "rb") as two, open(root / "lock", "r+b") as three:
        fcntl.flock(one, fcntl.LOCK_SH)
        fcntl.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with pytest.raises(BlockingIOError):
            fcntl.flock(three, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_S13_ranges_lock_separately(root: Path) -> None:
    path = root / "database"
    path.write_bytes(bytes(100))
    script = (
        "import fcntl, sys\nfile = open(sys.argv[1], 'r+b')\n"
        "fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 50)\n"
        "try:\n    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)\nexcept BlockingIOError:\n    print('kept out')\n"
    )
    with open(path, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 10, 0)
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "kept out\n"


def test_S13_a_lock_does_not_stop_plain_readers(root: Path) -> None:
    (root / "file").write_bytes(b"readable")
    with held_elsewhere(root / "file", "flock"):
        assert (root / "file").read_bytes() == b"readable"
