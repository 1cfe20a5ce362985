"""Keys that no path can name are hidden, not harmed, and in nobody's way (S2)."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.command import Storemount
from tests.support.mounting import REMOTE, Mount, bucket_mount, mounted
from tests.support.servers import BucketClient
from tests.support.waiting import synced

HOSTILE = ("a//b", "/leading", "d/../x", "d/./y", "d/.", "d/..", "..", "x/.", "long/" + "n" * 256, "//", "d//")
GOOD = ("a/good", "d/good", "x/good", "long/good", "top")


@pytest.fixture(params=REMOTE)
def mount(request: pytest.FixtureRequest, bucket: BucketClient, storemount: Storemount) -> Iterator[Mount]:
    """A bucket in which every directory has a strange neighbour."""
    for key in (*HOSTILE, *GOOD, "both", "both/inside"):
        bucket.put(key, key.encode())
    with mounted(bucket_mount(storemount, request.param, bucket)) as running, running.watched(60):
        yield running
    there = bucket.list()
    where = {key: key if key in there else "moved" + key.removeprefix("d") for key in HOSTILE}
    assert {key: bucket.get(now) if now in there else b"gone" for key, now in where.items()} == {key: key.encode() for key in HOSTILE}


def test_S2_only_what_can_be_named_is_listed(mount: Mount) -> None:
    assert sorted(os.listdir(mount.point)) == ["a", "both", "d", "long", "top", "x"]
    for folder in ("a", "d", "x", "long"):
        assert os.listdir(mount.point / folder) == ["good"]


def test_S2_neighbours_work(mount: Mount, bucket: BucketClient) -> None:
    """Reading, replacing, renaming and deleting beside them; the fixture proves that they are still there."""
    for key in GOOD:
        path = mount.point / key
        assert path.read_bytes() == key.encode()
        path.write_bytes(b"replaced")
        path.rename(path.with_name("renamed"))
        (path.parent / "renamed").unlink()
    synced(mount.point)
    assert not any(key in bucket.list() for key in GOOD)


def test_S2_a_directory_with_hidden_entries_is_not_empty(mount: Mount) -> None:
    for folder in ("a", "d", "x", "long"):
        (mount.point / folder / "good").unlink()
        with pytest.raises(OSError) as caught:
            (mount.point / folder).rmdir()
        assert caught.value.errno == errno.ENOTEMPTY


def test_S2_removing_a_tree_leaves_hidden_entries(mount: Mount) -> None:
    with pytest.raises(OSError) as caught:
        shutil.rmtree(mount.point / "d")
    assert caught.value.errno == errno.ENOTEMPTY


def test_S2_a_renamed_directory_takes_hidden_entries_along(mount: Mount, bucket: BucketClient) -> None:
    """Nothing stays under the old name, so that a new directory of that name is empty; nothing is lost (the fixture looks)."""
    (mount.point / "d").rename(mount.point / "moved")
    synced(mount.point)
    assert (mount.point / "moved/good").read_bytes() == b"d/good"
    assert bucket.list("d/") == {}


def test_S2_a_directory_hides_the_file_of_its_name(mount: Mount, bucket: BucketClient) -> None:
    """The directory is shown; the file is kept, even when the directory goes."""
    assert (mount.point / "both").is_dir()
    assert (mount.point / "both/inside").read_bytes() == b"both/inside"
    (mount.point / "both/more").write_bytes(b"more")
    synced(mount.point)
    assert bucket.get("both") == b"both"
    assert bucket.get("both/more") == b"more"


def test_S2_dots_mean_what_they_mean_in_paths(mount: Mount) -> None:
    """`..` walks up; it never reaches an object with such a segment."""
    assert (mount.point / "d/../top").read_bytes() == b"top"
    assert not Path(f"{mount.point}/d/../../{mount.point.name}/missing").exists()
    assert not (mount.point / "d/y").exists()


@pytest.mark.parametrize("kind", REMOTE)
def test_S2_a_file_and_a_directory_of_one_name_far_apart(kind: str, bucket: BucketClient, storemount: Storemount) -> None:
    """`a`, then a thousand names that sort between, then `a/`: on different pages of the listing, and still one directory, listed once."""
    bucket.put("a", b"hidden")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: bucket.put(f"a-{number:04}"), range(1050)))
    bucket.put("a/inside", b"shown")
    with mounted(bucket_mount(storemount, kind, bucket, ("--ttl", "0"))) as mount, mount.watched(60):
        for _ in range(2):
            names = os.listdir(mount.point)
            assert (len(names), names.count("a")) == (1051, 1)
            assert (mount.point / "a/inside").read_bytes() == b"shown"
        assert bucket.get("a") == b"hidden"
