"""Directories, removing, renaming and copying: one meaning everywhere, also where the originals had none."""

from __future__ import annotations

import itertools
import os
import stat
import time
from pathlib import Path

import pytest

from storemount.api.fileapi import FileApi
from tests.fileio.conftest import Where


def test_S11_mkdir_makes_a_directory_that_is_there(where: Where) -> None:
    """An original did nothing, and said nothing."""
    where.api.mkdir(where.path("d"))
    assert where.api.isdir(where.path("d")) and where.api.exists(where.path("d"))
    assert where.api.listdir(where.path("d")) == []
    with pytest.raises(FileExistsError):
        where.api.mkdir(where.path("d"))
    with pytest.raises(FileNotFoundError):
        where.api.mkdir(where.path("no/d"))
    where.write("t")
    with pytest.raises(FileExistsError):
        where.api.mkdir(where.path("t"))
    with pytest.raises(NotADirectoryError):
        where.api.mkdir(where.path("t/d"))


def test_S11_makedirs_makes_what_is_missing(where: Where) -> None:
    for _ in range(2):
        where.api.makedirs(where.path("a/b/c"))
    assert where.tree() == {"a": None, "a/b": None, "a/b/c": None}
    where.api.rmtree(where.path("a/b/c"))
    assert where.tree() == {"a": None, "a/b": None}
    where.write("t")
    with pytest.raises(FileExistsError):
        where.api.makedirs(where.path("t"))
    with pytest.raises(NotADirectoryError):
        where.api.makedirs(where.path("t/d/e"))


def test_a_missing_directory_is_not_made_by_a_write(where: Where) -> None:
    with pytest.raises(FileNotFoundError):
        where.api.open(where.path("no/t"), "w")
    assert where.tree() == {}


def test_S11_the_last_file_leaves_its_directory(where: Where) -> None:
    for name in ("a/one", "b/one", "c/d/one"):
        where.write(name)
    where.api.remove(where.path("a/one"))
    where.api.rename(where.path("b/one"), where.path("moved"))
    where.api.rmtree(where.path("c/d"))
    assert where.tree() == {"a": None, "b": None, "c": None, "moved": ""}


def test_S11_an_implicit_directory_stays_too(s3: Where, request: pytest.FixtureRequest) -> None:
    bucket = request.getfixturevalue("bucket")
    lead = s3.root.removeprefix(bucket.uri + "/")
    bucket.put(f"{lead}/implicit/one", b"1")
    s3.api.remove(s3.path("implicit/one"))
    assert s3.tree() == {"implicit": None}
    assert set(bucket.list(lead)) == {f"{lead}/", f"{lead}/implicit/"}


def test_removing(where: Where) -> None:
    where.write("d/t")
    with pytest.raises(IsADirectoryError):
        where.api.remove(where.path("d"))
    with pytest.raises(FileNotFoundError):
        where.api.remove(where.path("d/no"))
    with pytest.raises(NotADirectoryError):
        where.api.remove(where.path("d/t/x"))
    with pytest.raises(NotADirectoryError):
        where.api.rmtree(where.path("d/t"))
    with pytest.raises(FileNotFoundError):
        where.api.rmtree(where.path("no"))
    where.api.remove(where.path("d/t"))
    assert where.tree() == {"d": None}


def test_rmtree_takes_all_of_it_and_no_more(where: Where) -> None:
    for name in ("d/t", "d/e/f/t", "d-other/t", "dd"):
        where.write(name)
    where.api.makedirs(where.path("d/empty/inner"))
    where.api.rmtree(where.path("d"))
    assert where.tree() == {"d-other": None, "d-other/t": "", "dd": ""}


def test_S2_what_cannot_be_mapped_is_not_harmed(s3: Where, request: pytest.FixtureRequest) -> None:
    bucket = request.getfixturevalue("bucket")
    lead = s3.root.removeprefix(bucket.uri + "/")
    bucket.put(f"{lead}/d//hidden", b"1")
    s3.write("d/shown")
    assert s3.tree() == {"d": None, "d/shown": ""}
    assert not s3.api.exists(s3.path("d/hidden"))
    with pytest.raises(OSError, match="Directory not empty"):
        s3.api.rmtree(s3.path("d"))
    assert bucket.get(f"{lead}/d//hidden") == b"1"
    assert s3.tree() == {"d": None}


def test_S2_impossible_names_are_refused(store: Where) -> None:
    for name, number in (("x" * 256, "File name too long"), (".storemount-1.part", "Invalid or incomplete")):
        for verb in (store.api.mkdir, lambda path: store.api.open(path, "w")):
            with pytest.raises(OSError, match=number):
                verb(store.path(name))
        assert not store.api.exists(store.path(name))


def test_S10_a_renamed_directory_takes_everything_along(where: Where) -> None:
    """The originals returned, and had moved nothing."""
    for name in ("old/t", "old/a/b/t"):
        where.write(name, name)
    where.api.makedirs(where.path("old/empty"))
    where.api.rename(where.path("old"), where.path("new"))
    moved = {"new": None, "new/t": "old/t", "new/a": None, "new/a/b": None, "new/a/b/t": "old/a/b/t", "new/empty": None}
    assert where.tree() == moved
    assert not where.api.exists(where.path("old"))


def test_S10_renaming_a_file(where: Where) -> None:
    where.write("a", "1")
    where.write("b", "2")
    with pytest.raises(FileExistsError):
        where.api.rename(where.path("a"), where.path("b"))
    where.api.rename(where.path("a"), where.path("a"))
    where.api.rename(where.path("a"), where.path("b"), overwrite=True)
    assert where.tree() == {"b": "1"}


def test_S10_what_cannot_be_renamed(where: Where) -> None:
    where.write("d/t", "t")
    where.write("full/x", "x")
    where.api.mkdir(where.path("empty"))
    before = where.tree()
    cases: list[tuple[str, str, bool, type[OSError], str]] = [
        ("no", "new", False, FileNotFoundError, ""),
        ("d/t", "no/t", False, FileNotFoundError, ""),
        ("d/t", "full/x/y", False, NotADirectoryError, ""),
        ("d", "full", False, FileExistsError, ""),
        ("d", "full", True, OSError, "Directory not empty"),
        ("d", "full/x", True, NotADirectoryError, ""),
        ("d/t", "empty", True, IsADirectoryError, ""),
        ("d", "d/inner", False, OSError, "Invalid argument"),
    ]
    for old, new, overwrite, kind, says in cases:
        with pytest.raises(kind, match=says or None):
            where.api.rename(where.path(old), where.path(new), overwrite)
        assert where.tree() == before, (old, new)
    where.api.rename(where.path("d"), where.path("empty"), overwrite=True)
    assert where.tree() == {"empty": None, "empty/t": "t", "full": None, "full/x": "x"}


def test_copying(where: Where) -> None:
    where.write("d/t", "1")
    where.write("u", "2")
    where.api.copy(where.path("d/t"), where.path("new"))
    with pytest.raises(FileExistsError):
        where.api.copy(where.path("d/t"), where.path("u"))
    with pytest.raises(FileExistsError):
        where.api.copy(where.path("u"), where.path("u"))
    with pytest.raises(IsADirectoryError):
        where.api.copy(where.path("d"), where.path("e"))
    for overwrite in (False, True):
        with pytest.raises(IsADirectoryError):
            where.api.copy(where.path("u"), where.path("d"), overwrite)
    with pytest.raises(FileNotFoundError):
        where.api.copy(where.path("no"), where.path("e"))
    with pytest.raises(FileNotFoundError):
        where.api.copy(where.path("u"), where.path("no/e"))
    where.api.copy(where.path("u"), where.path("u"), overwrite=True)
    assert where.tree() == {"d": None, "d/t": "1", "new": "1", "u": "2"}
    where.api.copyfile(where.path("d/t"), where.path("u"), overwrite=True)
    assert where.read("u") == "1"


def test_copying_between_places(where: Where, tmp_path: Path) -> None:
    """As the page's snippets do: from a temporary file to the store, and back."""
    here, there = tmp_path / "here", where.path("there")
    here.write_bytes(data := os.urandom(5 * 2**20))
    where.api.copy(str(here), there)
    with pytest.raises(FileExistsError):
        where.api.copy(there, str(here))
    here.write_bytes(b"")
    where.api.copy(there, str(here), overwrite=True)
    assert here.read_bytes() == data


def test_renaming_to_another_store_is_refused(store: Where, tmp_path: Path) -> None:
    path = store.write("t")
    with pytest.raises(OSError, match="cross-device"):
        store.api.rename(path, str(tmp_path / "t"))


def test_listing(where: Where) -> None:
    where.write("d/t")
    where.write("d/.hidden")
    where.api.mkdir(where.path("d/e"))
    assert sorted(where.api.listdir(where.path("d"))) == [".hidden", "e", "t"]
    assert sorted(where.api.listdir(where.path("d") + "/", only_file_names=False)) == [
        where.path("d", name) for name in (".hidden", "e", "t")
    ]
    with pytest.raises(NotADirectoryError):
        where.api.listdir(where.path("d/t"))
    with pytest.raises(FileNotFoundError):
        where.api.listdir(where.path("no"))


def test_S3_what_somebody_else_puts_there_is_seen_at_once(s3: Where, request: pytest.FixtureRequest) -> None:
    """An original's listings were kept for ever."""
    bucket = request.getfixturevalue("bucket")
    lead = s3.root.removeprefix(bucket.uri + "/")
    assert s3.api.listdir(s3.root) == []
    bucket.put(f"{lead}/new", b"1")
    assert s3.api.listdir(s3.root) == ["new"] and s3.api.exists(s3.path("new"))
    bucket.delete(f"{lead}/new")
    assert s3.api.listdir(s3.root) == [] and not s3.api.exists(s3.path("new"))


def test_S2_a_directory_hides_a_file_of_its_name(s3: Where, request: pytest.FixtureRequest) -> None:
    """An original listed the name twice, and could not make up its mind what it was."""
    bucket = request.getfixturevalue("bucket")
    lead = s3.root.removeprefix(bucket.uri + "/")
    bucket.put(f"{lead}/both", b"file")
    bucket.put(f"{lead}/both/t", b"1")
    assert s3.api.isdir(s3.path("both"))
    assert s3.api.listdir(s3.root) == ["both"]
    assert s3.tree() == {"both": None, "both/t": "1"}


def test_stat_and_size(where: Where) -> None:
    path = where.write("d/t", "12345")
    where.write("d/e/u", "678")
    status = where.api.stat(path)
    assert stat.S_ISREG(status.st_mode) and (status.st_size, status.st_uid) == (5, os.getuid())
    assert abs(status.st_mtime - time.time()) < 120 and abs(status.st_mtime_ns / 1e9 - status.st_mtime) < 1
    assert stat.S_ISDIR(where.api.stat(where.path("d")).st_mode)
    assert (where.api.size(path), where.api.size(where.path("d"))) == (5, 8)
    for verb in (where.api.stat, where.api.size):
        with pytest.raises(FileNotFoundError):
            verb(where.path("no"))
        with pytest.raises(NotADirectoryError):
            verb(where.path("d/t/x"))
    assert not where.api.exists(where.path("d/t/x")) and not where.api.isdir(path)
    assert not os.path.samestat(status, where.api.stat(where.path("d/e/u")))


# walk


def test_walk_is_that_of_python(where: Where, tmp_path: Path) -> None:
    names = ["t", "a/t", "a/b/c/t", "d/t", "a/.h/t"]
    for name in names:
        where.write(name)
        (tmp_path / "same" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "same" / name).write_text("")
    for topdown in (True, False):
        ours = [(folder[len(where.root) :], sorted(a), sorted(b)) for folder, a, b in where.api.walk(where.root, topdown)]
        pythons = [(folder[len(str(tmp_path / "same")) :], sorted(a), sorted(b)) for folder, a, b in os.walk(tmp_path / "same", topdown)]
        assert sorted(ours) == sorted(pythons)
        places = {folder: number for number, (folder, _, _) in enumerate(ours)}
        assert all(
            (places[above] < places[below]) == topdown
            for above, below in itertools.product(places, places)
            if below.startswith(above + "/")
        )


def test_walk_can_be_pruned(where: Where) -> None:
    """An original ignored `topdown`."""
    for name in ("keep/t", "drop/t"):
        where.write(name)
    seen = []
    for folder, directories, _ in where.api.walk(where.root):
        seen.append(folder)
        if "drop" in directories:
            directories.remove("drop")
    assert seen == [where.root, where.path("keep")]


def test_walk_tells_of_errors(where: Where) -> None:
    """An original ignored `onerror`; Python's own says nothing without one."""
    with pytest.raises(FileNotFoundError):
        list(where.api.walk(where.path("no")))
    told: list[OSError] = []
    assert list(where.api.walk(where.path("no"), onerror=told.append)) == []
    assert [type(error) for error in told] == [FileNotFoundError]
    walk = where.api.walk(where.root)
    where.write("a/t")
    where.write("b/t")
    _, directories, _ = next(walk)
    where.api.rmtree(where.path("b"))
    assert [folder for folder, _, _ in walk] == [where.path("a")] and sorted(directories) == ["a", "b"]


def test_symbolic_links_of_this_machine(tmp_path: Path, api: FileApi) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/t").write_text("1")
    (tmp_path / "link").symlink_to("d")
    (tmp_path / "dead").symlink_to("nowhere")
    assert api.isdir(tmp_path / "link") and not api.exists(tmp_path / "dead")
    assert sorted(api.listdir(tmp_path)) == ["d", "dead", "link"]
    assert sorted(folder for folder, _, _ in api.walk(tmp_path)) == [str(tmp_path), str(tmp_path / "d")]
    assert sorted(api.find(tmp_path, lambda name: True)) == [str(tmp_path / "d/t"), str(tmp_path / "dead")]
    api.remove(tmp_path / "link")
    assert (tmp_path / "d/t").exists()
