"""Modes, times, owners, links and attributes hold for the life of the mount; what is not offered is refused at once (S12, S13)."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.command import Storemount
from tests.support.gcs import GcsBucket, GcsServer
from tests.support.mounting import AZURE, CLASS, GCS, KINDS, PROTOCOL, REMOTE, STORES, Mount, Subject, mounted, planted_bytes
from tests.support.waiting import synced

SUBJECTS = (*KINDS, PROTOCOL, CLASS, *AZURE, *GCS)
PLANTED = 4


@pytest.mark.parametrize("mode", [0o600, 0o755, 0o444, 0o640, 0o4755, 0o1777])
def test_S12_chmod_is_kept(root: Path, mode: int) -> None:
    (root / "file").write_bytes(b"x")
    (root / "folder").mkdir()
    for name in ("file", "folder"):
        (root / name).chmod(mode)
        assert stat.S_IMODE((root / name).stat().st_mode) == mode
    synced(root)
    assert [stat.S_IMODE((root / name).stat().st_mode) for name in ("file", "folder")] == [mode, mode]


def test_S12_chmod_of_an_object_not_read_yet(root: Path, subject: Subject) -> None:
    key = subject.planted[0]
    (subject.root / key).chmod(0o600)
    synced(subject.root / key)
    assert stat.S_IMODE((subject.root / key).stat().st_mode) == 0o600
    assert (subject.root / key).read_bytes() == planted_bytes(key)


def test_S12_times_are_kept(root: Path) -> None:
    for path in (root / "file", root / "folder"):
        path.write_bytes(b"x") if path.name == "file" else path.mkdir()
        os.utime(path, ns=(1_000_000_001, 1_234_567_890_123_456_789))
        assert path.stat().st_mtime_ns == 1_234_567_890_123_456_789
    synced(root)
    assert (root / "file").stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert (root / "folder").stat().st_mtime_ns == 1_234_567_890_123_456_789


def test_S12_times_set_on_an_open_file_survive_its_close(root: Path) -> None:
    """As tar and cp do it: write, set the times on the descriptor, close."""
    with open(root / "file", "wb", buffering=0) as file:
        file.write(b"content")
        os.utime(file.fileno(), ns=(10**18, 10**18))
    assert (root / "file").stat().st_mtime_ns == 10**18
    synced(root / "file")
    assert (root / "file").stat().st_mtime_ns == 10**18


def test_S12_writing_moves_the_modification_time(root: Path) -> None:
    before = time.time_ns()
    (root / "file").write_bytes(b"x")
    os.utime(root / "file", ns=(0, 0))
    with open(root / "file", "ab") as file:
        file.write(b"y")
    slack = 10**9
    assert before - slack <= (root / "file").stat().st_mtime_ns <= time.time_ns() + slack


def test_S12_modification_time_is_stable_through_the_upload(root: Path) -> None:
    """Tools that compare times (make, rsync, git) see one value before and after the file has reached the store."""
    (root / "file").write_bytes(b"x")
    before = (root / "file").stat()
    synced(root / "file")
    after = (root / "file").stat()
    assert (after.st_mtime_ns, after.st_ino, after.st_size) == (before.st_mtime_ns, before.st_ino, before.st_size)


def test_S12_owner_is_the_writer_and_chown_to_self_works(root: Path) -> None:
    (root / "file").write_bytes(b"x")
    status = (root / "file").stat()
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
    os.chown(root / "file", os.getuid(), os.getgid())
    os.chown(root / "file", -1, -1)
    assert (root / "file").stat().st_uid == os.getuid()


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_S12_chown_is_kept(root: Path) -> None:
    (root / "file").write_bytes(b"x")
    os.chown(root / "file", 12345, 54321)
    synced(root / "file")
    status = (root / "file").stat()
    assert (status.st_uid, status.st_gid) == (12345, 54321)


@pytest.mark.parametrize("target", ["file", "../up", "/absolute/nowhere", "ünï/cødé", "t" * 1000])
def test_S12_symbolic_links(root: Path, target: str) -> None:
    (root / "link").symlink_to(target)
    assert os.readlink(root / "link") == target
    assert stat.S_ISLNK((root / "link").lstat().st_mode)
    assert (root / "link").lstat().st_size == len(os.fsencode(target))
    synced(root)
    assert os.readlink(root / "link") == target
    (root / "link").rename(root / "moved")
    assert os.readlink(root / "moved") == target
    (root / "moved").unlink()
    assert os.listdir(root) == []


def test_S12_links_are_followed(root: Path) -> None:
    (root / "folder").mkdir()
    (root / "folder/file").write_bytes(b"through two links")
    (root / "one").symlink_to("folder")
    (root / "two").symlink_to("one/file")
    assert (root / "two").read_bytes() == b"through two links"
    (root / "two").write_bytes(b"written through")
    assert (root / "folder/file").read_bytes() == b"written through"
    (root / "loop").symlink_to("loop")
    with pytest.raises(OSError) as caught:
        (root / "loop").read_bytes()
    assert caught.value.errno == errno.ELOOP


@pytest.mark.subjects(*STORES)
def test_S13_hard_links_are_refused_by_one_errno(root: Path) -> None:
    """Not offered; programs fall back to a copy when they see it."""
    (root / "file").write_bytes(b"x")
    with pytest.raises(OSError) as caught:
        os.link(root / "file", root / "second")
    assert caught.value.errno == errno.EPERM
    assert os.listdir(root) == ["file"]


@pytest.mark.subjects(*STORES)
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_S13_special_files_are_refused(root: Path, kind: str) -> None:
    def make() -> None:
        if kind == "pipe":
            os.mkfifo(root / "it")
            return
        folder = os.open(root, os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(f"/proc/self/fd/{folder}/it")  # A socket's whole path may have 107 bytes only.
        finally:
            os.close(folder)

    with pytest.raises(OSError) as caught:
        make()
    assert caught.value.errno == errno.EPERM
    assert os.listdir(root) == []


def test_S12_extended_attributes(root: Path) -> None:
    (root / "file").write_bytes(b"x")
    (root / "folder").mkdir()
    for path in (root / "file", root / "folder"):
        os.setxattr(path, "user.colour", "grün".encode())
        os.setxattr(path, "user.empty", b"")
        assert os.getxattr(path, "user.colour") == "grün".encode()
        assert os.getxattr(path, "user.empty") == b""
        assert {"user.colour", "user.empty"} <= set(os.listxattr(path))
        os.setxattr(path, "user.colour", b"red", os.XATTR_REPLACE)
        assert os.getxattr(path, "user.colour") == b"red"
        os.removexattr(path, "user.colour")
        assert "user.colour" not in os.listxattr(path)


def test_S12_extended_attributes_survive_the_upload(root: Path) -> None:
    (root / "file").write_bytes(b"x")
    os.setxattr(root / "file", "user.kept", b"yes")
    synced(root / "file")
    assert os.getxattr(root / "file", "user.kept") == b"yes"


@pytest.mark.parametrize(
    ("name", "flags", "expected"),
    [("user.there", os.XATTR_CREATE, "EEXIST"), ("user.absent", os.XATTR_REPLACE, "ENODATA")],
)
def test_S12_extended_attribute_flags(root: Path, name: str, flags: int, expected: str) -> None:
    (root / "file").touch()
    os.setxattr(root / "file", "user.there", b"1")
    with pytest.raises(OSError) as caught:
        os.setxattr(root / "file", name, b"2", flags)
    assert errno.errorcode[caught.value.errno or 0] == expected


def test_S12_absent_extended_attributes(root: Path) -> None:
    (root / "file").touch()
    for act in (lambda: os.getxattr(root / "file", "user.absent"), lambda: os.removexattr(root / "file", "user.absent")):
        with pytest.raises(OSError) as caught:
            act()
        assert caught.value.errno == errno.ENODATA


@pytest.mark.subjects(*STORES)
def test_S12_what_the_store_knows_is_an_attribute(root: Path, subject: Subject) -> None:
    """`user.storemount.uri` names the object for any other tool."""
    (root / "file").write_bytes(b"x")
    synced(root / "file")
    uri = os.getxattr(root / "file", "user.storemount.uri").decode()
    assert uri.endswith(f"/{root.name}/file")
    scheme = "s3" if subject.kind in REMOTE else "abfs" if subject.kind in AZURE else "gs" if subject.kind in GCS else "file"
    assert uri.startswith(f"{scheme}://")


def test_statvfs(root: Path) -> None:
    """`df` and installers look at it: room, and names of 255 bytes."""
    room = os.statvfs(root)
    assert room.f_namemax == 255
    assert room.f_frsize > 0
    assert 0 < room.f_bavail <= room.f_blocks


def test_blocks_match_the_size(root: Path) -> None:
    """`du` counts them."""
    (root / "file").write_bytes(b"x" * 100_000)
    synced(root / "file")
    assert 90_000 <= (root / "file").stat().st_blocks * 512 <= 200_000


def test_access_follows_the_mode(root: Path) -> None:
    (root / "file").write_bytes(b"#!/bin/sh\n")
    (root / "file").chmod(0o600)
    assert not os.access(root / "file", os.X_OK)
    (root / "file").chmod(0o700)
    assert os.access(root / "file", os.X_OK)
    (root / "file").chmod(0o000)
    assert os.access(root / "file", os.R_OK) == (os.getuid() == 0)


def test_inode_numbers_identify_files(root: Path) -> None:
    """Two names, two numbers; one name, one number, by stat, by listing and by descriptor."""
    for name in ("a", "b"):
        (root / name).write_bytes(name.encode())
    numbers = {entry.name: entry.inode() for entry in os.scandir(root)}
    assert numbers["a"] != numbers["b"]
    with open(root / "a", "rb") as file:
        assert os.fstat(file.fileno()).st_ino == (root / "a").stat().st_ino == numbers["a"]


@pytest.mark.parametrize("options", [(), ("--metadata", "full")], ids=["listing", "full"])
def test_S12_a_link_of_an_older_gcsfuse(google_server: GcsServer, storemount: Storemount, options: tuple[str, ...]) -> None:
    """An empty object, whose metadata says whereto; renamed, it is one still. A listing alone does not tell it (see `--metadata`)."""
    with fresh_bucket(google_server) as bucket:
        bucket.put("data", b"content")
        bucket.put("link")
        bucket.annotate("link", {"gcsfuse_symlink_target": "data"})
        name = storemount.register(bucket.name, "gcp", bucket.uri, google_server.attributes())
        mount = Mount(storemount, name, options)
        with mounted(mount):
            if options:
                assert sorted(os.listdir(mount.point)) == ["data", "link"]
            assert os.readlink(mount.point / "link") == "data"
            assert os.lstat(mount.point / "link").st_size == 4
            assert (mount.point / "link").read_bytes() == b"content"
            os.rename(mount.point / "link", mount.point / "moved")
            assert os.readlink(mount.point / "moved") == "data"
        with mounted(Mount(storemount, name, options)) as mount:
            assert os.readlink(mount.point / "moved") == "data"
        assert bucket.list() == {"data": 7, "moved": 0}
        assert bucket.metadata("moved")["gcsfuse_symlink_target"] == "data"


_buckets = itertools.count(1)


@contextmanager
def fresh_bucket(server: GcsServer) -> Iterator[GcsBucket]:
    bucket = GcsBucket(server, f"gcsfuse-{next(_buckets)}").create()
    yield bucket
    bucket.remove()
