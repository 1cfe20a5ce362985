"""Every combination of open(2)'s flags does on a mount what it does on the local disk (S5).

The expectation is not written down: each combination is done in a plain directory too, and everything that can be seen is compared.
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.mounting import Subject, planted_bytes

PLANTED = 3 * 32
ACCESS = {"O_RDONLY": os.O_RDONLY, "O_WRONLY": os.O_WRONLY, "O_RDWR": os.O_RDWR}
EXTRA = {"O_CREAT": os.O_CREAT, "O_EXCL": os.O_EXCL, "O_TRUNC": os.O_TRUNC, "O_APPEND": os.O_APPEND, "O_NOFOLLOW": os.O_NOFOLLOW}
COMBINATIONS = [chosen for count in range(len(EXTRA) + 1) for chosen in itertools.combinations(EXTRA, count)]
STATES = ("missing", "empty", "written", "directory", "link", "dangling", "below-a-file")


@dataclass(frozen=True)
class Outcome:
    """All that a program can see of one open, one write and one read back. Errors by their name."""

    opened: str
    written: str = ""
    offset: int = -1
    read: bytes | str = b""
    after: bytes | str = b""


def attempt(path: Path, flags: int) -> Outcome:
    try:
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        return Outcome(errno.errorcode[error.errno or 0], after=content(path))
    try:
        written = named(lambda: os.write(descriptor, b"NEW"))
        offset = os.lseek(descriptor, 0, os.SEEK_CUR)
        read = named(lambda: os.pread(descriptor, 100, 0))
    finally:
        os.close(descriptor)
    return Outcome("opened", str(written), offset, read if isinstance(read, bytes) else str(read), content(path))


def named(act: Callable[[], object]) -> object:
    try:
        return act()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def content(path: Path) -> bytes | str:
    if path.is_dir():
        return "directory"
    return path.read_bytes() if path.exists() else "missing"


def prepared(folder: Path, state: str) -> Path:
    """A path in that state, in an empty folder."""
    folder.mkdir()
    path = folder / "it"
    if state == "empty":
        path.touch()
    elif state == "written":
        path.write_bytes(b"old content")
    elif state == "directory":
        path.mkdir()
    elif state == "below-a-file":
        path.write_bytes(b"a file")
        return path / "below"
    elif state in ("link", "dangling"):
        path.symlink_to("target")
        if state == "link":
            (folder / "target").write_bytes(b"old content")
    return path


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("access", ACCESS)
def test_S5_every_flag_combination(root: Path, tmp_path: Path, access: str, state: str) -> None:
    def outcomes(base: Path) -> dict[str, Outcome]:
        done = {}
        for number, chosen in enumerate(COMBINATIONS):
            flags = ACCESS[access] | sum(EXTRA[name] for name in chosen)
            done["|".join((access, *chosen))] = attempt(prepared(base / f"{number}", state), flags)
        return done

    assert outcomes(root) == outcomes(tmp_path)


@pytest.mark.parametrize("access", ACCESS)
def test_S5_every_flag_combination_on_an_object_not_read_yet(root: Path, subject: Subject, tmp_path: Path, access: str) -> None:
    """The same when the file is in the store only: nothing of it has passed the mount."""
    start = 32 * list(ACCESS).index(access)
    for chosen, key in zip(COMBINATIONS, subject.planted[start:], strict=False):
        flags = ACCESS[access] | sum(EXTRA[name] for name in chosen)
        twin = tmp_path / Path(key).name
        twin.write_bytes(planted_bytes(key))
        assert attempt(subject.root / key, flags) == attempt(twin, flags), f"{access} {chosen}"


def test_open_a_directory(root: Path) -> None:
    """A directory opens for reading only; O_DIRECTORY refuses a file."""
    (root / "folder").mkdir()
    (root / "file").touch()
    os.close(os.open(root / "folder", os.O_RDONLY | os.O_DIRECTORY))
    with pytest.raises(NotADirectoryError):
        os.open(root / "file", os.O_RDONLY | os.O_DIRECTORY)
    with pytest.raises(IsADirectoryError):
        os.open(root / "folder", os.O_RDWR)


def test_open_without_a_name_is_refused_or_works(root: Path) -> None:
    """O_TMPFILE: a file without a name, or EOPNOTSUPP, on which programs fall back; never something else."""
    try:
        descriptor = os.open(root, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP
        return
    with os.fdopen(descriptor, "wb+") as file:
        file.write(b"nameless")
        assert os.listdir(root) == []


def test_direct_io(root: Path) -> None:
    """O_DIRECT with aligned buffers reads and writes the same bytes as anybody else."""
    path = root / "direct"
    with mmap.mmap(-1, 8192) as page:
        page.write(b"D" * 8192)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT)
        try:
            assert os.writev(descriptor, [page]) == 8192
            page[:] = bytes(8192)
            assert os.preadv(descriptor, [page], 0) == 8192
            assert page[:] == b"D" * 8192
        finally:
            os.close(descriptor)
    assert path.read_bytes() == b"D" * 8192


def test_mode_of_a_new_file_follows_the_umask(root: Path) -> None:
    """S12: the mode given to open and mkdir, less the umask, is what stat shows."""
    before = os.umask(0o027)
    try:
        os.close(os.open(root / "file", os.O_CREAT | os.O_WRONLY, 0o666))
        os.close(os.open(root / "program", os.O_CREAT | os.O_WRONLY, 0o777))
        os.mkdir(root / "folder", 0o777)
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o7777) for path in root.iterdir()}
    assert modes == {"file": "0o640", "program": "0o750", "folder": "0o750"}


def test_open_read_only_file_for_writing_by_its_creator(root: Path) -> None:
    """O_CREAT with mode 0 gives a descriptor that can be written, whatever the mode says from then on."""
    descriptor = os.open(root / "secret", os.O_CREAT | os.O_RDWR, 0o000)
    try:
        os.write(descriptor, b"kept")
        assert os.pread(descriptor, 10, 0) == b"kept"
    finally:
        os.close(descriptor)
    assert (root / "secret").stat().st_size == 4
