"""The options that say how a store is shown: owner, permission bits, read-only; and the words of mount(8)'s -o."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.command import Storemount
from tests.support.mounting import Mount, bucket_mount, mounted
from tests.support.servers import BucketClient


@contextmanager
def shown(storemount: Storemount, bucket: BucketClient, *options: str) -> Iterator[Path]:
    """A bucket with one file in one directory, mounted with these options."""
    bucket.put("d/file", b"content")
    with mounted(bucket_mount(storemount, "s3-native", bucket, options)) as mount:
        yield mount.point


def bits(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def test_what_the_store_does_not_say(storemount: Storemount, bucket: BucketClient) -> None:
    with shown(storemount, bucket) as point:
        assert (bits(point / "d"), bits(point / "d/file")) == ("0o755", "0o644")
        status = (point / "d/file").stat()
        assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())


@pytest.mark.parametrize(
    "options",
    [
        ("--file-mode", "660", "--dir-mode", "770", "--umask", "007"),
        ("-o", "file_mode=660,dir_mode=770,umask=007"),
        ("-o", "file_mode=0666,_netdev,nofail,x-systemd.automount", "-o", "dir_mode=0777,umask=007"),
    ],
)
def test_permission_bits(storemount: Storemount, bucket: BucketClient, options: tuple[str, ...]) -> None:
    with shown(storemount, bucket, *options) as point:
        assert (bits(point / "d"), bits(point / "d/file")) == ("0o770", "0o660")


def test_owner(storemount: Storemount, bucket: BucketClient) -> None:
    with shown(storemount, bucket, "--uid", "1234", "--gid", "4321") as point:
        status = (point / "d/file").stat()
        assert (status.st_uid, status.st_gid) == (1234, 4321)


def test_read_only_by_a_word_of_mount(storemount: Storemount, bucket: BucketClient) -> None:
    with shown(storemount, bucket, "-o", "ro") as point:
        assert (point / "d/file").read_bytes() == b"content"
        with pytest.raises(OSError, match="Read-only"):
            (point / "d/new").touch()


def test_what_df_and_mount_show(storemount: Storemount, bucket: BucketClient) -> None:
    """The type is fuse.storemount and the source names the store."""
    with shown(storemount, bucket) as point:
        line = next(line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {point} " in line)
        source, _, kind, *_ = line.split()
        assert kind == "fuse.storemount"
        assert source.startswith(bucket.name)


def test_status(storemount: Storemount, bucket: BucketClient) -> None:
    bucket.put("file", b"x")
    with mounted(bucket_mount(storemount, "s3-native", bucket)) as mount:
        assert (mount.point / "file").read_bytes() == b"x"
        said = mount.status()
        assert said["mountpoint"] == str(mount.point)
        assert said["uri"] == bucket.uri
        assert said["engine"] == "native"
        assert (said["pending"], said["failed"]) == (0, [])
        assert said["cache_bytes"] >= 1
        assert str(mount.point) in storemount.must("status")


def test_a_memory_store(storemount: Storemount) -> None:
    """For trying things out: nothing but the mount."""
    with mounted(Mount(storemount, "memory://")) as mount:
        (mount.point / "a").mkdir()
        (mount.point / "a/file").write_bytes(b"gone with the mount")
        (mount.point / "a").rename(mount.point / "b")
        assert (mount.point / "b/file").read_bytes() == b"gone with the mount"


def test_the_default_store(storemount: Storemount) -> None:
    """Without any set-up; what was written is in the user's data folder."""
    with mounted(Mount(storemount, "default")) as mount:
        (mount.point / "model").write_bytes(b"weights")
    assert (storemount.home / "data/storemount/default/model").read_bytes() == b"weights"
