"""File objects: one version when read, whole or not at all when written (S4, S6, S9)."""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import random
import zipfile
from pathlib import Path

import numpy
import pytest

from storemount.errors import NotFound
from tests.fileio.conftest import Where

STALE = "Stale file handle"
TEXT = "grüße\n"


def test_text_and_bytes(where: Where) -> None:
    path = where.write("t.txt", TEXT)
    with where.api.open(path) as text, where.api.open(path, "rb") as data:
        assert list(text) == [TEXT]
        assert data.read() == TEXT.encode()
        assert (data.readable(), data.writable(), data.seekable()) == (True, False, True)


def test_a_path_can_be_bytes(where: Where) -> None:
    path = os.fsencode(where.path("b.bin"))
    with where.api.open(path, "wb") as file:
        file.write(b"x")
    assert where.api.exists(path) and where.api.size(path) == 1
    assert where.api.listdir(os.fsencode(where.root)) == [b"b.bin"]
    assert where.api.glob(os.fsencode(where.root) + b"/*") == [path]


@pytest.mark.parametrize("size", [0, 1, 3 * 2**20 + 5])
def test_what_was_written_is_read_from_any_position(where: Where, size: int) -> None:
    data = random.Random(size).randbytes(size)
    path = where.path("data")
    with where.api.open(path, "wb") as file:
        for start in range(0, size, 1_000_000):
            file.write(data[start : start + 1_000_000])
    with where.api.open(path, "rb") as file:
        assert file.read() == data
        assert file.seek(-min(size, 10), io.SEEK_END) == max(size - 10, 0)
        assert file.read() == data[-10:]
        for start in (0, size // 3, size // 2, size):
            file.seek(start)
            assert file.read(1000) == data[start : start + 1000]
        file.seek(size + 10)
        assert file.read() == b""


def test_reading_in_order_asks_for_more_and_more_at_once(store: Where) -> None:
    data = random.Random(1).randbytes(10 * 2**20)
    with store.api.open(store.path("data"), "wb") as file:
        file.write(data)
    with store.api.open(store.path("data"), "rb") as file:
        assert b"".join(iter(lambda: file.read(100_000), b"")) == data


def test_S4_an_open_file_is_one_version(store: Where) -> None:
    path = store.write("t", "old" * 1_000_000)
    with store.api.open(path) as file:
        assert file.read(3) == "old"
        store.write("t", "new")
        with pytest.raises(OSError, match=STALE):
            file.read()


def test_S6_nothing_is_there_before_the_close(where: Where, staging: Path) -> None:
    path = where.path("t")
    with where.api.open(path, "w") as file:
        file.write("x" * 1_000_000)
        file.flush()
        assert not where.api.exists(path)
        assert list(staging.iterdir()) == []
    assert where.read("t") == "x" * 1_000_000
    assert where.api.listdir(where.root) == ["t"]


@pytest.mark.parametrize("mode", ["w", "wb", "a", "x+", "r+b"])
def test_S6_nothing_is_published_when_the_block_raises(where: Where, mode: str) -> None:
    if mode != "x+":
        where.write("t", "old")
    before = where.tree()
    with pytest.raises(ZeroDivisionError), where.api.open(where.path("t"), mode) as file:
        file.write(b"half" if "b" in mode else "half")
        raise ZeroDivisionError
    assert file.closed
    assert where.tree() == before


@pytest.mark.parametrize("mode", ["w", "wb", "w+b"])
def test_S6_nothing_is_published_when_it_is_never_closed(where: Where, mode: str) -> None:
    file = where.api.open(where.path("t"), mode)
    file.write(b"half" if "b" in mode else "half")
    with pytest.warns(ResourceWarning, match="was not closed, and so not written"):
        del file
    assert where.tree() == {}


def test_a_failed_write_is_not_published(store: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the staged files is full."""
    file = store.api.open(store.path("t"), "wb")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, file.fileno())
    os.close(full)
    file.write(b"x")
    with pytest.raises(OSError, match="No space left on device"):
        file.close()
    assert file.closed and store.tree() == {}


def test_write_modes_replace(where: Where) -> None:
    path = where.write("t", "long and old")
    with where.api.open(path, "w+") as file:
        file.write("new")
        file.seek(0)
        assert file.read() == "new"
    assert where.read("t") == "new"


def test_appending(where: Where) -> None:
    path = where.path("log")
    for line in ("one\n", "two\n"):
        with where.api.open(path, "a") as file:
            file.write(line)
    with where.api.open(path, "a+b") as file:
        assert file.tell() == 8
        file.seek(0)
        assert file.read(4) == b"one\n"
        file.seek(0)
        file.write(b"three\n")
    assert where.read("log") == "one\ntwo\nthree\n"


def test_editing_in_place(where: Where) -> None:
    path = where.write("t", "0123456789")
    with where.api.open(path, "r+b") as file:
        file.seek(3)
        file.write(b"xx")
        file.truncate(8)
    assert where.read("t") == "012xx567"


@pytest.mark.parametrize("mode", ["r+", "a"])
def test_S9_an_edit_over_a_version_that_has_gone_is_refused(where: Where, mode: str) -> None:
    path = where.write("t", "old")
    file = where.api.open(path, mode)
    file.write("ours")
    where.write("t", "theirs")
    with pytest.raises(OSError, match=STALE):
        file.close()
    assert where.tree() == {"t": "theirs"}


def test_S9_appending_to_what_somebody_else_makes_meanwhile_is_refused(store: Where) -> None:
    file = store.api.open(store.path("t"), "a")
    file.write("ours")
    store.write("t", "theirs")
    with pytest.raises(OSError, match=STALE):
        file.close()
    assert store.tree() == {"t": "theirs"}


def test_S9_exclusive_creation_has_one_winner(where: Where) -> None:
    path = where.path("t")
    files = [where.api.open(path, "x") for _ in range(2)]
    for number, file in enumerate(files):
        file.write(str(number))
    files[1].close()
    with pytest.raises(FileExistsError):
        files[0].close()
    with pytest.raises(FileExistsError):
        where.api.open(path, "x")
    assert where.tree() == {"t": "1"}


def test_what_cannot_be_opened(where: Where) -> None:
    where.write("d/t")
    for mode in ("r", "w", "x", "a", "r+"):
        with pytest.raises(IsADirectoryError):
            where.api.open(where.path("d"), mode)
        with pytest.raises(FileNotFoundError) as absent:
            where.api.open(where.path("no/t"), mode)
        assert absent.value.filename == where.path("no/t") or where.kind not in ("disk", "s3-native")
        with pytest.raises(NotADirectoryError):
            where.api.open(where.path("d/t/x"), mode)
    for mode in ("r", "r+"):
        with pytest.raises(FileNotFoundError):
            where.api.open(where.path("d/no"), mode)
    for mode in ("", "rw", "rr", "q", "rbt", "+"):
        with pytest.raises(ValueError, match="invalid mode"):
            where.api.open(where.path("d/t"), mode)
    assert where.tree() == {"d": None, "d/t": ""}


def test_modes_that_only_read_or_write_say_so(where: Where) -> None:
    path = where.write("t", "x")
    with where.api.open(path, "rb") as file, pytest.raises(io.UnsupportedOperation):
        file.write(b"")
    with contextlib.suppress(ZeroDivisionError), where.api.open(path, "wb") as file:
        with pytest.raises(io.UnsupportedOperation):
            file.read()
        raise ZeroDivisionError


def test_libraries_write_and_read(where: Where) -> None:
    """numpy wants a descriptor or seeks, a zip file patches what it has written."""
    array = numpy.arange(1000.0)
    with where.api.open(where.path("a.npy"), "wb") as file:
        numpy.save(file, array)
    with where.api.open(where.path("a.npy"), "rb") as file:
        assert (numpy.load(file) == array).all()
    with where.api.open(where.path("a.zip"), "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x", "y" * 1000)
    with where.api.open(where.path("a.zip"), "rb") as file, zipfile.ZipFile(file) as archive:
        assert archive.read("x") == b"y" * 1000


def test_a_staged_file_can_be_mapped(where: Where) -> None:
    with where.api.open(where.path("t"), "w+b") as file:
        file.truncate(10)
        with mmap.mmap(file.fileno(), 10) as view:
            view[3:5] = b"ab"
    assert where.read("t") == "\0\0\0ab\0\0\0\0\0"


def test_a_replaced_file_of_this_machine_keeps_its_mode(tmp_path: Path, api: Where) -> None:
    path = tmp_path / "tool"
    path.write_text("old")
    path.chmod(0o751)
    link = tmp_path / "link"
    link.symlink_to("tool")
    with api.open(link, "w") as file:
        file.write("new")
    assert (path.read_text(), path.stat().st_mode & 0o777, link.is_symlink()) == ("new", 0o751, True)


def test_devices_are_written_directly(api: Where) -> None:
    with api.open("/dev/null", "w") as file:
        file.write("x")
    with api.open("/dev/full", "wb") as file:
        file.write(b"x")
        with pytest.raises(OSError, match="No space left"):
            file.flush()
        file.raw.close()


def test_errors_are_pythons_own_and_name_the_uri(s3: Where) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        s3.api.open(s3.path("no"))
    assert caught.value.filename == s3.path("no")
    assert caught.value.strerror == "No such file or directory"
    assert isinstance(caught.value.__cause__, NotFound)
