"""`io_utils` and the module-level functions, which use the session of the process; the page's snippets, word for word but for the root."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import storemount
from storemount import fileio, io_utils
from storemount.errors import Refusal
from tests.fileio.conftest import place
from tests.support.mounting import Mount
from tests.support.servers import BucketClient, S3Server
from tests.support.waiting import synced

FAST = ["disk", "memory", "s3-native", "mount-local", "mount-s3"]


@pytest.fixture(params=FAST)
def root(request: pytest.FixtureRequest, bucket: BucketClient, monkeypatch: pytest.MonkeyPatch) -> str:
    """A directory for the functions of the process, whose session knows no registered store."""
    server = bucket.server
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    where = place(request.param, request)
    fileio.makedirs(where.root)
    return where.root


@pytest.fixture(scope="module", autouse=True)
def end_of_session() -> Iterator[None]:
    yield
    fileio._session.close()


def test_the_snippets_of_the_page(root: str) -> None:
    """With plain paths below a mount: `tests/mount/test_page.py`."""
    artifact_path = os.path.join(root, "artifacts", "examples")
    artifact_uri = os.path.join(artifact_path, "test.txt")
    fileio.makedirs(artifact_path)
    with fileio.open(artifact_uri, "w") as f:
        f.write("example artifact")
    assert io_utils.read_file_contents_as_string(artifact_uri) == "example artifact"
    io_utils.write_file_contents_as_string(artifact_uri, "another\r\nartifact")
    assert io_utils.read_file_contents_as_string(artifact_uri) == "another\r\nartifact"


def test_the_snippets_with_a_temporary_file(root: str) -> None:
    artifact_uri = os.path.join(root, "test.json")
    with tempfile.NamedTemporaryFile(mode="w", suffix=".json", delete=True) as f:
        Path(f.name).write_text("{}")
        fileio.copy(f.name, artifact_uri)
    with tempfile.NamedTemporaryFile(mode="w", suffix=".json", delete=True) as f:
        fileio.copy(artifact_uri, f.name, overwrite=True)
        assert Path(f.name).read_text() == "{}"


def test_what_the_snippets_write_on_a_mount_is_in_the_bucket(mount_s3: Mount, s3_server: S3Server) -> None:
    artifact_path = os.path.join(mount_s3.point, "artifacts", "examples")
    artifact_uri = os.path.join(artifact_path, "test.txt")
    fileio.makedirs(artifact_path)
    io_utils.write_file_contents_as_string(artifact_uri, "example artifact")
    synced(mount_s3.point / "artifacts")
    with s3_server.client(f"mounted-{os.getpid()}") as client:
        assert client.get("artifacts/examples/test.txt") == b"example artifact"
        client.put("artifacts/examples/theirs.txt", b"another artifact")
    assert io_utils.read_file_contents_as_string(os.path.join(artifact_path, "theirs.txt")) == "another artifact"
    fileio.rmtree(str(mount_s3.point / "artifacts"))


def test_what_is_made_if_it_is_missing(root: str) -> None:
    for _ in range(2):
        io_utils.create_file_if_not_exists(f"{root}/a/b/f.json")
        io_utils.create_dir_if_not_exists(f"{root}/d")
        io_utils.create_dir_recursive_if_not_exists(f"{root}/e/f")
    io_utils.create_file_if_not_exists(f"{root}/a/b/f.json", "not written")
    assert io_utils.read_file_contents_as_string(f"{root}/a/b/f.json") == "{}"
    assert sorted(fileio.listdir(root)) == ["a", "d", "e"]
    with pytest.raises(FileExistsError):
        io_utils.create_dir_if_not_exists(f"{root}/a/b/f.json")
    with pytest.raises(FileNotFoundError):
        io_utils.create_dir_if_not_exists(f"{root}/no/d")
    with pytest.raises(FileNotFoundError):
        io_utils.read_file_contents_as_string(f"{root}/no")
    with pytest.raises(TypeError):
        io_utils.write_file_contents_as_string(f"{root}/bytes", b"x")  # type: ignore[arg-type]


def fill(root: str) -> None:
    for name in ("t", "a/t", "a/b/u"):
        fileio.makedirs(f"{root}/{name}".rpartition("/")[0])
        io_utils.write_file_contents_as_string(f"{root}/{name}", name)
    fileio.makedirs(f"{root}/empty")


def tree(root: str) -> list[str]:
    return sorted(f"{folder[len(root) :]}/{name}" for folder, directories, files in fileio.walk(root) for name in directories + files)


FULL = ["/a", "/a/b", "/a/b/u", "/a/t", "/empty", "/t"]


def test_finding_files(root: str) -> None:
    fill(root)
    assert sorted(io_utils.find_files(root, "[tu]")) == [f"{root}/{name}" for name in ("a/b/u", "a/t", "t")]
    assert list(io_utils.find_files(f"{root}/a", "u*")) == [f"{root}/a/b/u"]
    with pytest.raises(FileNotFoundError):
        list(io_utils.find_files(f"{root}/no", "*"))


def test_copying_a_directory(root: str, tmp_path: Path) -> None:
    fill(f"{root}/old")
    for there in (f"{root}/new", str(tmp_path / "here")):
        io_utils.copy_dir(f"{root}/old", there)
        assert tree(there) == FULL
        with pytest.raises(FileExistsError):
            io_utils.copy_dir(f"{root}/old", there)
        io_utils.copy_dir(f"{root}/old", there, overwrite=True)
    for inside in (f"{root}/old", f"{root}/old/a/new", f"{root}/x/../old/new"):
        with pytest.raises(OSError, match="into itself"):
            io_utils.copy_dir(f"{root}/old", inside)
    assert tree(f"{root}/old") == FULL


def test_moving(root: str, tmp_path: Path) -> None:
    """To another store, too, where an original gave up."""
    fill(f"{root}/old")
    io_utils.move(f"{root}/old", f"{root}/new")
    io_utils.move(f"{root}/new", str(tmp_path / "here"))
    io_utils.move(str(tmp_path / "here/t"), f"{root}/file")
    assert tree(root) == ["/file"]
    assert tree(str(tmp_path / "here")) == FULL[:-1]
    fill(f"{root}/full")
    with pytest.raises(FileExistsError):
        io_utils.move(str(tmp_path / "here"), f"{root}/full")
    with pytest.raises(OSError, match="Directory not empty"):
        io_utils.move(str(tmp_path / "here"), f"{root}/full", overwrite=True)
    with pytest.raises(NotADirectoryError):
        io_utils.move(str(tmp_path / "here"), f"{root}/file", overwrite=True)
    assert tree(str(tmp_path / "here")) == FULL[:-1]


def test_questions_about_paths(tmp_path: Path) -> None:
    assert [io_utils.is_remote(path) for path in ("s3://b/x", b"gs://b", "file:///x", "/x", "x")] == [True, True, False, False, False]
    assert io_utils.sanitize_remote_path("s3://b\\x\\y") == "s3://b/x/y" and io_utils.sanitize_remote_path("x\\y") == "x\\y"
    assert [io_utils.is_root(path) for path in ("/", "s3://b", "s3://b/", "s3://b/x", "/x", "x")] == [True, True, True, False, False, False]
    for path, parent, grandparent in (("/a.1/b/c", "b", "a.1"), ("s3://bucket/x/y/", "x", "bucket"), ("s3://bucket/x", "bucket", "bucket")):
        assert (io_utils.get_parent(path), io_utils.get_grandparent(path)) == (parent, grandparent)
    (tmp_path / "link").symlink_to("d")
    assert io_utils.resolve_relative_path(tmp_path / "link/./x") == str(tmp_path.resolve() / "d/x")
    assert io_utils.resolve_relative_path("s3://b/../x") == "s3://b/../x"
    inside = [("s3://b/a/x", "s3://b/a"), ("x", "s3://b/a"), ("s3://b/a", "s3://b/a/"), ("/a/b", "/a"), ("b", "/a"), ("/x", "/")]
    outside = [
        ("s3://b/ab", "s3://b/a"),
        ("../b", "s3://b/a"),
        ("s3://b/a/../c", "s3://b/a"),
        ("/ab", "/a"),
        ("../b", "/a"),
        ("/a", "s3://a"),
    ]
    assert all(io_utils.is_path_within_directory(*pair) for pair in inside)
    assert not any(io_utils.is_path_within_directory(*pair) for pair in outside)
    assert io_utils.get_global_config_directory().endswith("/storemount")
    assert io_utils.convert_to_str(b"x") == fileio.convert_to_str("x") == "x"


def test_an_open_store_of_the_process() -> None:
    with storemount.open_store("memory://") as store:
        store.makedirs("a/b")
        with store.open("a/b/t", "w") as file:
            file.write("1")
        assert list(store.walk("memory://")) == [("memory://", ["a"], []), ("memory://a", ["b"], []), ("memory://a/b", [], ["t"])]
    assert not fileio.exists("memory://a")
    with pytest.raises(Refusal, match="no store is named"):
        storemount.open_store("nope")


def test_every_function_of_the_abstraction_is_there() -> None:
    words = "open copy exists glob isdir listdir makedirs mkdir remove rename rmtree stat size walk"
    assert all(callable(getattr(fileio, word)) for word in words.split())
