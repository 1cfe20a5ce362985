"""The artifact-store page's snippets with plain paths: what each does through the API, a program does below the mount.

| the page | with plain paths, here |
| --- | --- |
| `artifact-store register NAME -f s3 --path s3://...`, `flavor list` | `test_a_registered_store_is_mounted_by_its_name` |
| the store's `root_path`, `fileio.makedirs`, `fileio.open(uri, "w")` | `test_creating_folders_and_writing` |
| `io_utils.write_file_contents_as_string`, `read_...` | `test_writing_and_reading_text` |
| a temporary file that a library saves to, `fileio.copy` of it to the store | `test_saving_by_a_temporary_file` |
| `fileio.copy` from the store to a temporary file that a library loads | `test_loading_by_a_temporary_file` |
| "URIs that are relative to the root path" | `test_nothing_leads_out_of_the_root` |
| "open, copy, rename, remove, mkdir" and the abstraction's other functions | `test_each_function_that_asks`, `..._changes` |
| `io_utils`: "find and transfer objects between the store and the local filesystem" | `test_moving_to_and_from_another_file_system` |

Through the API: `tests/fileio/test_io_utils.py` has the snippets, on every kind of place; `test_bounds.py`, `test_files.py` and
`test_directories.py` beside it have the functions. What is written here is then looked for in the store by another client, and what
another client put there is read here.
"""

from __future__ import annotations

import errno
import fnmatch
import glob
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import Storemount
from tests.support.mounting import PLAIN, REMOTE, STORES, Mount, Subject, mounted
from tests.support.outside import contents
from tests.support.servers import BucketClient
from tests.support.waiting import synced

SUBJECTS = (PLAIN, STORES[0], REMOTE[0])
MOUNT_OPTIONS = ("--ttl", "0")
"""What another client puts into a directory that was made here is seen at once (S3)."""

CONTENT = "example artifact"


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def stored(subject: Subject, root: Path) -> dict[str, bytes]:
    """Every file of the test in the store, by its path below `root`, as another client sees it."""
    synced(root)
    if subject.outside is None:
        return files(root)
    return {key.removeprefix(f"{root.name}/"): data for key, data in contents(subject.outside, f"{root.name}/").items()}


def put(subject: Subject, root: Path, name: str, data: bytes) -> None:
    """A file that another client puts into the store."""
    if subject.outside is None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    else:
        synced(root)  # Until the store has a directory that was made here, it is not asked what is in it.
        subject.outside.put(f"{root.name}/{name}", data)


class Model:
    """What a library has: an object that goes to a file by the file's name, seeking while it is written."""

    weights = b"\x00\x01" * 50_000

    def save_to_file(self, name: str) -> None:
        with zipfile.ZipFile(name, "w") as archive:
            for part in ("weights", "more weights"):
                archive.writestr(part, self.weights)

    @staticmethod
    def load_from_file(name: str) -> bytes:
        with zipfile.ZipFile(name) as archive:
            assert archive.testzip() is None
            return archive.read("weights") + archive.read("more weights")


@pytest.mark.subjects(REMOTE[0])
def test_a_registered_store_is_mounted_by_its_name(bucket: BucketClient, storemount: Storemount) -> None:
    """Word for word as the page registers it; where the server is and who we are is said by the environment, as with other tools."""
    server = bucket.server
    command = Storemount(storemount.home)
    command.environment |= {"AWS_ACCESS_KEY_ID": server.key, "AWS_SECRET_ACCESS_KEY": server.secret}
    command.environment |= {"AWS_ENDPOINT_URL": server.endpoint, "AWS_REGION": "us-east-1"}
    command.must("artifact-store", "register", "s3_store", "-f", "s3", "--path", bucket.uri)
    flavors = command.must("artifact-store", "flavor", "list")
    assert all(word in flavors for word in ("local", "s3", "gcp", "azure", "custom", "s3://", "gs://", "abfs://", "az://"))
    with mounted(Mount(command, "s3_store")) as mount:
        (mount.point / "artifacts/examples").mkdir(parents=True)
        (mount.point / "artifacts/examples/test.txt").write_text(CONTENT)
    assert bucket.get("artifacts/examples/test.txt") == CONTENT.encode()
    command.must("artifact-store", "delete", "s3_store")


def test_creating_folders_and_writing(root: Path, subject: Subject) -> None:
    root_path = str(root)
    artifact_path = os.path.join(root_path, "artifacts", "examples")
    artifact_uri = os.path.join(artifact_path, "test.txt")
    os.makedirs(artifact_path)
    assert os.listdir(artifact_path) == []
    with open(artifact_uri, "w") as f:
        f.write(CONTENT)
    assert stored(subject, root) == {"artifacts/examples/test.txt": CONTENT.encode()}


def test_writing_and_reading_text(root: Path, subject: Subject) -> None:
    path = root / "artifacts/examples/test.txt"
    with pytest.raises(FileNotFoundError):
        path.read_text()
    path.parent.mkdir(parents=True)
    path.write_text(CONTENT)
    assert path.read_text() == CONTENT
    path.write_text("shorter")
    assert path.read_text() == "shorter"
    assert stored(subject, root) == {"artifacts/examples/test.txt": b"shorter"}
    put(subject, root, "theirs/test.txt", CONTENT.encode())
    assert (root / "theirs/test.txt").read_text() == CONTENT


@pytest.mark.parametrize("copy", [shutil.copy, shutil.copy2, shutil.copyfile, shutil.move])
def test_saving_by_a_temporary_file(root: Path, subject: Subject, copy: Callable[[str, Path], object]) -> None:
    artifact_uri = root / "artifacts/examples/test.json"
    artifact_uri.parent.mkdir(parents=True)
    with tempfile.NamedTemporaryFile(mode="w", suffix=".json", delete=copy is not shutil.move) as f:
        Model().save_to_file(f.name)
        copy(f.name, artifact_uri)
    assert os.listdir(artifact_uri.parent) == ["test.json"]
    (kept,) = stored(subject, root).values()
    (root / "straight").mkdir()
    Model().save_to_file(str(root / "straight/test.json"))
    assert len(kept) == (root / "straight/test.json").stat().st_size
    for name in ("artifacts/examples", "straight"):
        assert Model.load_from_file(str(root / name / "test.json")) == Model.weights * 2


def test_loading_by_a_temporary_file(root: Path, subject: Subject, tmp_path: Path) -> None:
    """A copy's time and mode are the artifact's, as `copy2` promises; or the library loads straight from the mount."""
    Model().save_to_file(str(tmp_path / "test.json"))
    put(subject, root, "artifacts/examples/test.json", (tmp_path / "test.json").read_bytes())
    artifact_uri = root / "artifacts/examples/test.json"
    with tempfile.NamedTemporaryFile(mode="w", suffix=".json", delete=True) as f:
        shutil.copy2(artifact_uri, f.name)
        assert Model.load_from_file(f.name) == Model.weights * 2
        assert int(os.stat(f.name).st_mtime) == int(artifact_uri.stat().st_mtime)
    assert Model.load_from_file(str(artifact_uri)) == Model.weights * 2


def test_nothing_leads_out_of_the_root(root: Path, subject: Subject) -> None:
    """Two dots at the root are the mount point's own parent, and never a key of the store."""
    (root / "a").mkdir()
    (root / "a/../b").write_bytes(b"b")
    outside = subject.root.parent / f"{root.name}-outside"
    (subject.root / ".." / outside.name).write_bytes(b"not in the store")
    assert outside.read_bytes() == b"not in the store"
    outside.unlink()
    assert stored(subject, root) == {"b": b"b"}
    for name in ("/", ".", ".."):
        with pytest.raises(OSError):
            os.mkdir(f"{root}/{name}")


FULL = {"t": b"t", "a/t": b"a/t", "a/b/u": b"a/b/u", "a/[x]": b"a/[x]"}


def fill(root: Path) -> None:
    for name, data in FULL.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "empty").mkdir()


def test_each_function_that_asks(root: Path, subject: Subject) -> None:
    """exists, isdir, listdir, walk, glob, stat, size, find_files: by os, by glob and by pathlib, which agree."""
    fill(root)
    assert [os.path.exists(root / name) for name in ("a", "a/t", "empty", "no", "t/x")] == [True, True, True, False, False]
    assert [os.path.isdir(root / name) for name in ("a", "a/t", "empty", "no")] == [True, False, True, False]
    assert sorted(os.listdir(root)) == ["a", "empty", "t"]
    assert {entry.name: entry.is_dir() for entry in os.scandir(root / "a")} == {"[x]": False, "b": True, "t": False}
    walked = {os.path.relpath(base, root): (sorted(folders), sorted(names)) for base, folders, names in os.walk(root)}
    assert walked == {".": (["a", "empty"], ["t"]), "a": (["b"], ["[x]", "t"]), "a/b": ([], ["u"]), "empty": ([], [])}
    assert sorted(glob.glob("**/[tu]", root_dir=root, recursive=True)) == ["a/b/u", "a/t", "t"]
    assert glob.glob("a/[[]x]", root_dir=root) == ["a/[x]"]
    assert sorted(str(path.relative_to(root)) for path in root.rglob("[tu]")) == ["a/b/u", "a/t", "t"]
    assert [name for _, _, names in os.walk(root) for name in fnmatch.filter(names, "u*")] == ["u"]
    status = os.stat(root / "a/b/u")
    assert (status.st_size, os.path.getsize(root / "a/b/u"), status.st_nlink) == (5, 5, 1)
    assert os.path.isdir(root / "a") and os.path.samefile(root / "a", root / "a/b/..")
    with pytest.raises(NotADirectoryError):
        os.listdir(root / "t")
    with pytest.raises(FileNotFoundError):
        os.listdir(root / "no")
    assert stored(subject, root) == FULL


def test_each_function_that_changes(root: Path, subject: Subject) -> None:
    """mkdir, makedirs, copy, rename, remove, rmtree, each with what it refuses; then the store has what the mount shows."""
    fill(root)
    for make, wrong in ((os.mkdir, FileExistsError), (os.makedirs, FileExistsError)):
        with pytest.raises(wrong):
            make(root / "a")
    with pytest.raises(FileNotFoundError):
        os.mkdir(root / "no/d")
    os.makedirs(root / "a/b", exist_ok=True)
    shutil.copy(root / "t", root / "copied")
    os.rename(root / "copied", root / "a/t")
    os.rename(root / "a/t", root / "renamed")
    os.remove(root / "t")
    with pytest.raises(OSError) as caught:
        os.rmdir(root / "a")
    assert caught.value.errno == errno.ENOTEMPTY
    with pytest.raises(IsADirectoryError):
        os.remove(root / "a")
    shutil.copytree(root / "a", root / "copy")
    os.rename(root / "a", root / "moved")
    assert stored(subject, root) == {
        "renamed": b"t",
        **{f"{folder}/{name}": f"a/{name}".encode() for folder in ("copy", "moved") for name in ("b/u", "[x]")},
    }
    shutil.rmtree(root / "copy")
    (root / "moved/b/u").unlink()
    (root / "moved/b").rmdir()
    with pytest.raises(FileNotFoundError):
        os.remove(root / "moved/b/u")
    assert stored(subject, root) == {"renamed": b"t", "moved/[x]": b"a/[x]"}
    assert sorted(os.listdir(root)) == ["empty", "moved", "renamed"]


def test_moving_to_and_from_another_file_system(root: Path, subject: Subject, tmp_path: Path) -> None:
    """`io_utils.move` and `copy_dir` between the store and a folder of this machine: shutil copies where rename cannot reach."""
    fill(root / "old")
    shutil.move(root / "old", tmp_path / "here")
    assert files(tmp_path / "here") == FULL
    assert os.listdir(root) == [] and stored(subject, root) == {}
    shutil.copytree(tmp_path / "here", root / "new")
    (root / "new/note").write_text(json.dumps({"a": 1}))
    shutil.copytree(tmp_path / "here", root / "new", dirs_exist_ok=True)
    assert os.path.isdir(root / "new/empty")
    assert stored(subject, root) == {"new/note": b'{"a": 1}', **{f"new/{name}": data for name, data in FULL.items()}}
