"""Mapped files: readers share the cache, writers' pages reach the file (S5)."""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mounting import Subject, planted_bytes
from tests.support.waiting import synced

PLANTED = 4


def test_S5_mapped_reading(root: Path) -> None:
    data = random.Random(3).randbytes(1_000_003)
    (root / "file").write_bytes(data)
    with open(root / "file", "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        assert view[:] == data


def test_S5_mapped_reading_of_an_object_not_read_yet(root: Path, subject: Subject) -> None:
    key = subject.planted[0]
    with open(subject.root / key, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        assert view[:] == planted_bytes(key)


def test_S5_shared_writable_mapping(root: Path) -> None:
    path = root / "file"
    path.write_bytes(bytes(10_000))
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[5000:5005] = b"hello"
        view.flush()
        assert os.pread(file.fileno(), 5, 5000) == b"hello"
        view[0:3] = b"end"
    assert path.read_bytes() == b"end" + bytes(4997) + b"hello" + bytes(4995)


def test_S5_shared_writable_mapping_of_an_object_not_read_yet(root: Path, subject: Subject) -> None:
    key = subject.planted[1]
    with open(subject.root / key, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[0:4] = b"THAT"
    assert (subject.root / key).read_bytes() == b"THAT" + planted_bytes(key)[4:]


def test_S5_mapping_outlives_its_descriptor(root: Path, subject: Subject) -> None:
    """Pages written after close() reach the file, and the store once it is synced."""
    path = root / "file"
    path.write_bytes(bytes(4096))
    with open(path, "r+b") as file:
        view = mmap.mmap(file.fileno(), 0)
    view[0:5] = b"later"
    view.flush()
    view.close()
    assert path.read_bytes()[:5] == b"later"
    if subject.outside is not None:
        synced(path)
        assert subject.outside.get(f"{root.name}/file")[:5] == b"later"


def test_S5_two_processes_share_a_mapping(root: Path) -> None:
    path = root / "file"
    path.write_bytes(bytes(8192))
    script = (
        "import mmap, sys\nfile = open(sys.argv[1], 'r+b')\nview = mmap.mmap(file.fileno(), 0)\n"
        "seen = bytes(view[0:4])\nview[4096:4100] = seen[::-1]\nview.close()\n"
    )
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[0:4] = b"ping"
        subprocess.run([sys.executable, "-c", script, str(path)], check=True)
        assert view[4096:4100] == b"gnip"


def test_S5_private_mapping_changes_nothing(root: Path) -> None:
    (root / "file").write_bytes(b"original")
    with open(root / "file", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as view:
        view[0:3] = b"XXX"
        assert view[:] == b"XXXginal"
    assert (root / "file").read_bytes() == b"original"


def test_S5_programs_run_from_the_mount(root: Path) -> None:
    """The kernel maps a program to run it."""
    for name in ("true", "false"):
        (root / name).write_bytes(Path(f"/bin/{name}").read_bytes())
        (root / name).chmod(0o755)
    assert subprocess.run([root / "true"]).returncode == 0
    assert subprocess.run([root / "false"]).returncode == 1


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 200_001])
def test_S5_mapping_of_odd_sizes(root: Path, size: int) -> None:
    """The last page is zeros behind the end, and writing there does not grow the file."""
    (root / "file").write_bytes(b"q" * size)
    with open(root / "file", "r+b") as file, mmap.mmap(file.fileno(), size) as view:
        view[size - 1 : size] = b"!"
    assert (root / "file").read_bytes() == b"q" * (size - 1) + b"!"
