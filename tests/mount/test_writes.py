"""Writing is what it is on a disk: any offset, append, truncate, read back while open, gaps, large and small (S5)."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mounting import AZURE, CLASS, GCS, KINDS, MEMORY, PROTOCOL, Subject, planted_bytes

SUBJECTS = (*KINDS, PROTOCOL, MEMORY, CLASS, *AZURE, *GCS)
PLANTED = 12
BLOCK = 128 * 1024


def test_S5_read_back_while_open(root: Path) -> None:
    with open(root / "file", "wb+", buffering=0) as file:
        file.write(b"first ")
        file.write(b"second")
        file.seek(0)
        assert file.read() == b"first second"
        assert (root / "file").read_bytes() == b"first second"
        assert (root / "file").stat().st_size == 12


def test_S5_overwrite_in_the_middle(root: Path) -> None:
    path = root / "file"
    path.write_bytes(bytes(range(256)) * 4096)
    expected = bytearray(bytes(range(256)) * 4096)
    with open(path, "r+b") as file:
        for offset in (0, 1, 4095, 4096, 131071, 131072, 500_001, len(expected) - 3):
            file.seek(offset)
            file.write(b"XYZ")
            expected[offset : offset + 3] = b"XYZ"
    assert path.read_bytes() == expected


def test_S5_overwrite_in_the_middle_of_an_object_not_read_yet(root: Path, subject: Subject) -> None:
    key = subject.planted[0]
    expected = bytearray(planted_bytes(key))
    descriptor = os.open(subject.root / key, os.O_WRONLY)
    os.pwrite(descriptor, b"####", 7)
    os.close(descriptor)
    expected[7:11] = b"####"
    assert (subject.root / key).read_bytes() == expected


def test_S5_append(root: Path) -> None:
    path = root / "log"
    for number in range(20):
        with open(path, "ab") as file:
            file.write(b"line %d\n" % number)
    assert path.read_text().splitlines() == [f"line {number}" for number in range(20)]


def test_S5_append_ignores_the_position(root: Path) -> None:
    descriptor = os.open(root / "log", os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, b"one")
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, b"two")
        assert os.pread(descriptor, 10, 0) == b"onetwo"
    finally:
        os.close(descriptor)


def test_S5_append_to_an_object_not_read_yet(root: Path, subject: Subject) -> None:
    key = subject.planted[1]
    with open(subject.root / key, "ab") as file:
        file.write(b"and more")
    assert (subject.root / key).read_bytes() == planted_bytes(key) + b"and more"


def test_S5_two_handles_append_in_turn(root: Path) -> None:
    path = root / "log"
    with open(path, "ab", buffering=0) as one, open(path, "ab", buffering=0) as two:
        for _ in range(10):
            one.write(b"1")
            two.write(b"2")
    assert path.read_bytes() == b"12" * 10


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 100_000, 300_000])
def test_S5_truncate_by_name(root: Path, size: int) -> None:
    path = root / "file"
    path.write_bytes(b"z" * 100_000)
    os.truncate(path, size)
    assert path.stat().st_size == size
    assert path.read_bytes() == (b"z" * 100_000)[:size] + bytes(max(0, size - 100_000))


def test_S5_truncate_an_object_not_read_yet(root: Path, subject: Subject) -> None:
    down, up = subject.planted[2:4]
    os.truncate(subject.root / down, 10)
    os.truncate(subject.root / up, 1000)
    assert (subject.root / down).read_bytes() == planted_bytes(down)[:10]
    assert (subject.root / up).read_bytes() == planted_bytes(up).ljust(1000, b"\0")


def test_S5_ftruncate_while_writing(root: Path) -> None:
    """Down and up again: the part that was cut off comes back as zeros, never as what it was."""
    path = root / "file"
    with open(path, "wb+", buffering=0) as file:
        file.write(b"a" * 10_000)
        file.truncate(100)
        file.truncate(5000)
        assert os.pread(file.fileno(), 10_000, 0) == b"a" * 100 + bytes(4900)
        file.write(b"end")
    assert path.read_bytes() == b"a" * 100 + bytes(9900) + b"end"


def test_S5_truncate_another_handle_is_writing(root: Path) -> None:
    path = root / "file"
    with open(path, "wb", buffering=0) as file:
        file.write(b"x" * 5000)
        os.truncate(path, 3)
        assert path.read_bytes() == b"xxx"
        assert os.fstat(file.fileno()).st_size == 3


def test_S5_truncate_on_open_discards_what_another_handle_sees(root: Path) -> None:
    path = root / "file"
    path.write_bytes(b"old and long")
    with open(path, "rb", buffering=0) as reader, open(path, "wb", buffering=0) as writer:
        writer.write(b"new")
        assert reader.read() == b"new"


def test_S5_sparse(root: Path) -> None:
    """A write far behind the end leaves a gap of zeros."""
    path = root / "sparse"
    with open(path, "wb") as file:
        file.seek(3 * 1024 * 1024 + 7)
        file.write(b"end")
    assert path.stat().st_size == 3 * 1024 * 1024 + 10
    assert path.read_bytes() == bytes(3 * 1024 * 1024 + 7) + b"end"


def test_S5_seek_data_and_hole_cover_the_file(root: Path) -> None:
    """However holes are reported, SEEK_DATA finds all data and the end of the file counts as a hole."""
    path = root / "sparse"
    with open(path, "wb+", buffering=0) as file:
        os.pwrite(file.fileno(), b"data", 1_000_000)
        assert os.lseek(file.fileno(), 0, os.SEEK_DATA) <= 1_000_000
        assert os.lseek(file.fileno(), 1_000_000, os.SEEK_HOLE) == 1_000_004
        with pytest.raises(OSError) as caught:
            os.lseek(file.fileno(), 1_000_004, os.SEEK_DATA)
    assert caught.value.errno == errno.ENXIO


def test_S5_preallocate(root: Path) -> None:
    """posix_fallocate gives the file its size; it falls back to writing zeros where the file system has no fallocate."""
    with open(root / "file", "wb+") as file:
        os.posix_fallocate(file.fileno(), 0, 50_000)
        assert os.fstat(file.fileno()).st_size == 50_000
    assert (root / "file").read_bytes() == bytes(50_000)


def test_S5_random_writes_match_a_model(root: Path) -> None:
    """Seeded writes, truncations and reads on one file, against a bytearray."""
    dice = random.Random(5)
    model = bytearray()
    with open(root / "file", "wb+", buffering=0) as file:
        for step in range(400):
            offset = dice.randrange(600_000)
            match dice.choice(("write", "write", "read", "truncate")):
                case "write":
                    data = dice.randbytes(dice.choice((1, 100, 4096, 70_000)))
                    model.extend(bytes(max(0, offset - len(model))))
                    model[offset : offset + len(data)] = data
                    assert os.pwrite(file.fileno(), data, offset) == len(data)
                case "read":
                    assert os.pread(file.fileno(), 50_000, offset) == model[offset : offset + 50_000], f"step {step}"
                case "truncate":
                    model = model[:offset] + bytes(max(0, offset - len(model)))
                    file.truncate(offset)
    assert (root / "file").read_bytes() == model


def test_S5_large_file(root: Path) -> None:
    """More than one block and more than one upload part."""
    data = random.Random(1).randbytes(20 * 1024 * 1024 + 12345)
    path = root / "large"
    with open(path, "wb") as file:
        for start in range(0, len(data), BLOCK):
            file.write(data[start : start + BLOCK])
        file.flush()
        os.fsync(file.fileno())
    assert path.read_bytes() == data
    with open(path, "rb") as file:
        for offset in (0, 4 * 1024 * 1024 - 1, 20 * 1024 * 1024, 12_345_678):
            file.seek(offset)
            assert file.read(100) == data[offset : offset + 100]


def test_S5_two_processes_write_one_file(root: Path) -> None:
    """Each process sees at once what the other wrote, without closing."""
    path = root / "shared"
    path.write_bytes(bytes(10))
    script = (
        "import sys\nfile = open(sys.argv[1], 'r+b', buffering=0)\n"
        "for _ in sys.stdin:\n"
        "    file.seek(0); seen = file.read(5)\n"
        "    file.seek(5); file.write(seen[::-1])\n"
        "    print(seen.decode(), flush=True)\n"
    )
    with (
        open(path, "r+b", buffering=0) as file,
        subprocess.Popen([sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
    ):
        assert other.stdin and other.stdout
        for word in (b"hello", b"world", b"again"):
            os.pwrite(file.fileno(), word, 0)
            other.stdin.write("look\n")
            other.stdin.flush()
            assert other.stdout.readline().strip() == word.decode()
            assert os.pread(file.fileno(), 5, 5) == word[::-1]
        other.stdin.close()
        assert other.wait(10) == 0


def test_S5_unlink_while_open(root: Path) -> None:
    path = root / "file"
    with open(path, "wb+", buffering=0) as file:
        file.write(b"still here")
        path.unlink()
        assert not path.exists()
        file.write(b", and writable")
        assert os.pread(file.fileno(), 100, 0) == b"still here, and writable"
        assert os.fstat(file.fileno()).st_nlink == 0
    assert os.listdir(root) == []


def test_S5_unlink_while_open_of_an_object_not_read_yet(root: Path, subject: Subject) -> None:
    """A small file opened before it was deleted is still read to its end."""
    key = subject.planted[4]
    with open(subject.root / key, "rb") as file:
        (subject.root / key).unlink()
        assert file.read() == planted_bytes(key)
    assert not (subject.root / key).exists()


def test_S5_unlink_and_create_again_while_open(root: Path) -> None:
    path = root / "file"
    path.write_bytes(b"old")
    with open(path, "rb", buffering=0) as file:
        path.unlink()
        path.write_bytes(b"new one")
        assert file.read() == b"old"
        assert path.read_bytes() == b"new one"


def test_S5_unlinked_directory_of_an_open_file(root: Path) -> None:
    (root / "folder").mkdir()
    with open(root / "folder/file", "wb+", buffering=0) as file:
        file.write(b"orphan")
        (root / "folder/file").unlink()
        (root / "folder").rmdir()
        assert os.pread(file.fileno(), 10, 0) == b"orphan"
    assert os.listdir(root) == []


def test_S5_descriptor_outlives_dup_and_fork(root: Path) -> None:
    """Closing one descriptor of several neither ends nor loses the writing of the others."""
    descriptor = os.open(root / "file", os.O_CREAT | os.O_WRONLY, 0o644)
    twin = os.dup(descriptor)
    os.write(descriptor, b"one ")
    os.close(descriptor)
    subprocess.run([sys.executable, "-c", f"import os; os.write({twin}, b'two ')"], pass_fds=[twin], check=True)
    os.write(twin, b"three")
    os.close(twin)
    assert (root / "file").read_bytes() == b"one two three"


def test_S5_write_to_a_read_only_descriptor_is_refused(root: Path) -> None:
    (root / "file").write_bytes(b"x")
    descriptor = os.open(root / "file", os.O_RDONLY)
    try:
        with pytest.raises(OSError) as caught:
            os.write(descriptor, b"y")
        assert caught.value.errno == errno.EBADF
    finally:
        os.close(descriptor)


def test_S5_copy_file_range_and_sendfile(root: Path) -> None:
    """The kernel's copies between two files of the mount give the same bytes."""
    data = random.Random(2).randbytes(300_000)
    (root / "from").write_bytes(data)
    with open(root / "from", "rb") as source, open(root / "ranged", "wb") as target:
        while os.copy_file_range(source.fileno(), target.fileno(), 1 << 20):
            pass
    with open(root / "from", "rb") as source, open(root / "sent", "wb") as target:
        while os.sendfile(target.fileno(), source.fileno(), None, 1 << 20):
            pass
    assert (root / "ranged").read_bytes() == data
    assert (root / "sent").read_bytes() == data


def test_S5_many_small_files(root: Path, subject: Subject) -> None:
    count = 150 if subject.remote else 1000
    for number in range(count):
        (root / f"{number}").write_bytes(b"content of %d" % number)
    assert len(os.listdir(root)) == count
    assert all((root / f"{number}").read_bytes() == b"content of %d" % number for number in range(count))


@pytest.mark.subjects(*KINDS)
def test_S15_many_files_open_at_once(root: Path) -> None:
    """The daemon serves more of them than a process may have open by default (1024)."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
    try:
        with contextlib.ExitStack() as stack:
            for number in range(600):
                (root / f"{number}").write_bytes(b"%d" % number)
            readers = [stack.enter_context(open(root / f"{number}", "rb")) for number in range(600)]
            writers = [stack.enter_context(open(root / f"new{number}", "wb")) for number in range(600)]
            for number, (reader, writer) in enumerate(zip(readers, writers, strict=True)):
                writer.write(reader.read())
                writer.flush()
                assert (root / f"new{number}").read_bytes() == b"%d" % number
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
