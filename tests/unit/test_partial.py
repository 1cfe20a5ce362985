"""Partial files (S6): locked while they are written, swept when their writer is dead; and renaming without replacing (S9)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storemount.errors import Corrupt
from storemount.stores import partial
from storemount.stores.base import Meta, Source, is_partial
from storemount.stores.partial import ABANDONED, partial_file, partial_link, rename_new, sweep_partials

WRITER = """
import sys
from storemount.stores.base import Source
from storemount.stores.partial import partial_file

with partial_file(sys.argv[1], Source("/dev/null", 0)) as path:
    print(path, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


def source(tmp_path: Path, data: bytes = b"data") -> Source:
    path = tmp_path / "source"
    path.write_bytes(data)
    return Source(str(path), len(data), meta=Meta(mode=stat.S_IFREG | 0o440, mtime_ns=1_000_000_000))


def test_S6_it_is_there_for_the_block_and_gone_afterwards(folder: Path, tmp_path: Path) -> None:
    with partial_file(str(folder), source(tmp_path)) as path:
        assert os.listdir(folder) == [os.path.basename(path)]
        assert is_partial(os.path.basename(path))
        status = os.stat(path)
        assert (status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode)) == (4, 1_000_000_000, 0o440)
    assert os.listdir(folder) == []


def test_S6_a_source_that_is_too_short_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Corrupt), partial_file(str(folder), Source(source(tmp_path).path, 100)):
        pass
    assert os.listdir(folder) == []


def test_S6_what_is_being_written_is_not_swept_and_what_got_its_name_is_not_touched(folder: Path, tmp_path: Path) -> None:
    with partial_file(str(folder), source(tmp_path)) as path:
        sweep_partials(str(folder))
        assert os.path.exists(path)
        os.rename(path, folder / "f")
        sweep_partials(str(folder))
        # Whoever opened it under its old name, and gets the lock only now, finds nothing there to remove.
    sweep_partials(str(folder))
    assert (folder / "f").read_bytes() == b"data"


def test_S6_another_process_keeps_its_partial_file_until_it_dies(folder: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        path = writer.stdout.readline().rstrip("\n")
        sweep_partials(str(folder))
        assert os.path.exists(path)
        writer.kill()
        writer.wait()
        assert os.path.exists(path)
    sweep_partials(str(folder))
    assert os.listdir(folder) == []


def test_S6_one_that_is_swept_before_it_is_locked_is_made_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[str] = []
    lock = fcntl.flock

    def late(fd: int, how: int) -> None:
        if how == fcntl.LOCK_EX and not swept:
            swept.extend(os.listdir(folder))
            sweep_partials(str(folder))
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with partial_file(str(folder), source(tmp_path)) as path:
        assert len(swept) == 1
        assert os.listdir(folder) == [os.path.basename(path)] != swept
        assert Path(path).read_bytes() == b"data"


def test_S6_only_files_that_are_ours_by_name_are_swept(folder: Path) -> None:
    os.mkfifo(folder / ".storemount-pipe.part")
    (folder / ".storemount-folder.part").mkdir()
    (folder / ".storemount-dead.part").write_bytes(b"half")
    (folder / "theirs.part").write_bytes(b"half")
    sweep_partials(str(folder))
    assert sorted(os.listdir(folder)) == [".storemount-folder.part", ".storemount-pipe.part", "theirs.part"]


def test_S6_a_link_is_swept_when_it_is_old(folder: Path) -> None:
    with partial_link(str(folder), "target") as path:
        sweep_partials(str(folder))
        assert os.readlink(path) == "target"
        old = time.time() - ABANDONED - 60
        os.utime(path, (old, old), follow_symlinks=False)
        sweep_partials(str(folder))
        assert os.listdir(folder) == []


def test_S6_where_no_file_can_be_locked_writing_works_and_nothing_is_swept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with partial_file(str(folder), source(tmp_path)) as path:
        sweep_partials(str(folder))
        assert os.path.exists(path)


def test_sweeping_a_folder_that_is_not_there(folder: Path) -> None:
    (folder / "file").touch()
    sweep_partials(str(folder / "absent"))
    sweep_partials(str(folder / "file"))


def _no_replace_flag(*_: object) -> int:
    ctypes.set_errno(errno.EINVAL)
    return -1


@pytest.mark.parametrize("how", ["kernel", "link", "no-libc", "look"])
def test_S9_renaming_replaces_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links")

    if how != "kernel":
        monkeypatch.setattr(partial, "_renameat2", None if how == "no-libc" else _no_replace_flag)
    if how == "look":
        monkeypatch.setattr(os, "link", refuse)
    (folder / "ours").write_bytes(b"ours")
    (folder / "theirs").write_bytes(b"theirs")
    (folder / "link").symlink_to("nowhere")
    (folder / "folder").mkdir()
    for taken in ("theirs", "link", "folder"):
        with pytest.raises(FileExistsError):
            rename_new(str(folder / "ours"), str(folder / taken))
    assert (folder / "theirs").read_bytes() == b"theirs"
    rename_new(str(folder / "ours"), str(folder / "new"))
    assert sorted(os.listdir(folder)) == ["folder", "link", "new", "theirs"]
    with pytest.raises(FileNotFoundError):
        rename_new(str(folder / "ours"), str(folder / "newer"))
