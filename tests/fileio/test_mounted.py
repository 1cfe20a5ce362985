"""Paths below a mount and URIs in its store: one and the same thing, told in two ways."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storemount.api.fileapi import FileApi
from storemount.api.mounted import path_of, uri_of
from storemount.api.session import Session
from storemount.config import Places
from storemount.errors import ExitCode, Refusal
from tests.fileio.conftest import Where, place
from tests.support.command import Storemount
from tests.support.mounting import Mount
from tests.support.servers import S3Server

NAMES = ["t", "d/e/u", "d e/ü+%41#?.txt", "[x]", "a~b &=;", "100%"]


@pytest.fixture(params=["mount-local", "mount-s3"])
def both(request: pytest.FixtureRequest, places: Places) -> tuple[Where, str]:
    """A fresh directory in a mount, and its URI."""
    where = place(request.param, request)
    return where, uri_of(where.root, places)


@pytest.fixture(scope="module")
def by_uri(sessions: dict[str, Session], registered: object, s3_server: S3Server, places: Places) -> FileApi:
    """The functions, with a store registered for what is mounted (`mount_s3` has registered it)."""
    return FileApi(sessions["s3-native"])


def test_paths_and_uris_name_the_same(both: tuple[Where, str], by_uri: FileApi, places: Places, storemount: Storemount) -> None:
    where, uri = both
    for name in NAMES:
        path = where.write(name, name)
        there = uri_of(path, places)
        assert there.startswith(uri + "/")
        assert path_of(there, places) == path
        assert storemount.must("uri", path) == f"{there}\n"
        assert storemount.must("uri", "--local", there) == f"{path}\n"
        assert os.getxattr(path, "user.storemount.uri").decode() == there
    storemount.must("flush", where.root)
    assert sorted(by_uri.listdir(uri)) == sorted(where.api.listdir(where.root))
    for folder, directories, files in where.api.walk(where.root):
        _, inside, names = next(iter(by_uri.walk(uri_of(folder, places))))
        assert (sorted(inside), sorted(names)) == (sorted(directories), sorted(files))
    for name in NAMES:
        path = where.path(name)
        with by_uri.open(uri_of(path, places)) as file:
            assert file.read() == name
        there, here = by_uri.stat(uri_of(path, places)), where.api.stat(path)
        assert (there.st_size, there.st_mode >> 12, int(there.st_mtime)) == (here.st_size, here.st_mode >> 12, int(there.st_mtime))
    assert by_uri.size(uri) == where.api.size(where.root)


def test_names_that_are_no_text_have_uris_of_their_own(mount_local: Mount, places: Places) -> None:
    """A folder holds any bytes; its URI is ASCII."""
    for name in (b"\xff\xfe", b"new\nline", "\udc80".encode(errors="surrogateescape")):
        path = os.path.join(os.fsencode(mount_local.point), name)
        with open(path, "wb"):
            pass
        there = os.getxattr(path, "user.storemount.uri").decode("ascii")
        assert uri_of(os.fsdecode(path), places) == there
        assert os.fsencode(path_of(there, places)) == path
        os.unlink(path)
    assert os.getxattr(mount_local.point, "user.storemount.uri").decode() == uri_of(str(mount_local.point), places)


def test_what_is_written_by_uri_is_read_by_path(both: tuple[Where, str], by_uri: FileApi, places: Places, storemount: Storemount) -> None:
    where, uri = both
    storemount.must("flush", where.root)
    by_uri.makedirs(f"{uri}/d/e")
    with by_uri.open(f"{uri}/d/t", "w") as file:
        file.write("1")
    by_uri.rename(f"{uri}/d", f"{uri}/new")
    assert where.tree() == {"new": None, "new/e": None, "new/t": "1"}
    assert path_of(f"{uri}/x/../new//t/", places) == where.path("new/t")


def test_the_root_and_what_is_outside(mount_s3: Mount, places: Places, storemount: Storemount, tmp_path: Path) -> None:
    uri = uri_of(str(mount_s3.point), places)
    assert uri == f"s3://mounted-{os.getpid()}" and path_of(uri, places) == path_of(uri + "/", places) == str(mount_s3.point)
    with pytest.raises(Refusal, match="is not in a mounted store") as caught:
        uri_of(str(tmp_path), places)
    assert caught.value.code is ExitCode.NOT_MOUNTED
    for wrong, code in ((f"{uri}-not/x", ExitCode.NOT_MOUNTED), (f"{uri}/../x", ExitCode.USAGE), ("/plain", ExitCode.USAGE)):
        with pytest.raises(Refusal) as caught:
            path_of(wrong, places)
        assert caught.value.code is code
        done = storemount.run("uri", "--local", wrong)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert storemount.run("uri", str(tmp_path)).returncode == ExitCode.NOT_MOUNTED


def test_another_user_is_told_by_the_mount_itself(mount_s3: Mount, tmp_path: Path) -> None:
    """Who has no part in the daemon's socket reads the attribute that every file has."""
    elsewhere = Places.of({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "none")})
    uri = uri_of(f"{mount_s3.point}/x", elsewhere)
    assert uri == f"s3://mounted-{os.getpid()}/x"
    assert path_of(uri, elsewhere) == f"{mount_s3.point}/x"


def test_a_dead_mount_has_no_uri(storemount: Storemount, places: Places) -> None:
    mount = Mount(storemount, "memory://", ())
    try:
        mount.start()
        mount.kill()
        with pytest.raises(Refusal, match="its daemon is gone") as caught:
            uri_of(f"{mount.point}/x", places)
        assert caught.value.code is ExitCode.NOT_MOUNTED
        with pytest.raises(Refusal, match="no mount has"):
            path_of("memory://x", places)
    finally:
        mount.clear()
