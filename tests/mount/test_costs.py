"""What the everyday things cost in requests to the store, counted on the wire."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.support.command import Storemount
from tests.support.mounting import REMOTE, Mount, bucket_mount, mounted
from tests.support.proxy import Proxy
from tests.support.servers import BucketClient
from tests.support.waiting import eventually, synced

MIB = 1024 * 1024


def fill(bucket: BucketClient, count: int, data: bytes = b"small") -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: bucket.put(f"d/{number}", data), range(count)))


@pytest.fixture(params=REMOTE)
def mount(request: pytest.FixtureRequest, bucket: BucketClient, proxy: Proxy, storemount: Storemount) -> Mount:
    """Not started: each test fills the bucket first."""
    return bucket_mount(storemount, request.param, bucket, (), {"endpoint": proxy.endpoint})


@contextmanager
def started(mount: Mount) -> Iterator[None]:
    with mounted(mount), mount.watched(60):
        yield


def test_listing_costs_one_request_per_thousand_keys(mount: Mount, bucket: BucketClient, proxy: Proxy) -> None:
    """`ls -l` of a large directory asks for its pages, and never for an entry."""
    fill(bucket, 1100)
    with started(mount):
        (mount.point / "d").stat()
        before = proxy.connections
        with os.scandir(mount.point / "d") as entries:
            assert sum(entry.stat().st_size == 5 for entry in entries) == 1100
        assert proxy.connections - before <= 3


def test_small_file_costs_one_get(mount: Mount, bucket: BucketClient, proxy: Proxy) -> None:
    """Reading a listed file: one request, and none the second time."""
    fill(bucket, 20)
    with started(mount):
        names = os.listdir(mount.point / "d")
        before = proxy.connections
        for _ in range(2):
            assert all((mount.point / "d" / name).read_bytes() == b"small" for name in names)
        assert proxy.connections - before <= len(names)


def test_small_patch_of_a_large_object_fetches_little(mount: Mount, bucket: BucketClient, proxy: Proxy) -> None:
    """Opening it for writing and writing 4 KiB downloads nothing of it but the block around (the rest when it goes up)."""
    bucket.put("large", b"L" * 64 * MIB)
    with started(mount):
        (mount.point / "large").stat()
        before = proxy.fetched
        with open(mount.point / "large", "r+b", buffering=0) as file:
            file.seek(30 * MIB)
            file.write(b"P" * 4096)
            file.seek(30 * MIB)
            assert file.read(4096) == b"P" * 4096
            assert proxy.fetched - before < 10 * MIB
        synced(mount.point / "large")
    assert bucket.get("large") == b"L" * 30 * MIB + b"P" * 4096 + b"L" * (34 * MIB - 4096)


def test_a_part_of_a_large_object_fetches_little(mount: Mount, bucket: BucketClient, proxy: Proxy) -> None:
    """A header and a footer, as every reader of parquet or zip does it."""
    bucket.put("large", b"H" + b"L" * (64 * MIB - 2) + b"F")
    with started(mount), open(mount.point / "large", "rb", buffering=0) as file:
        assert file.read(1) == b"H"
        file.seek(-1, os.SEEK_END)
        assert file.read(1) == b"F"
        assert proxy.fetched < 20 * MIB


def test_S10_saving_by_temporary_file_and_rename_costs_one_upload(mount: Mount, bucket: BucketClient, proxy: Proxy) -> None:
    """What is renamed before it went up goes up once, under its last name; no copy, no delete."""
    with started(mount):
        assert os.listdir(mount.point) == []
        before = proxy.connections
        for number in range(10):
            (mount.point / "model.tmp").write_bytes(b"%d" % number)
            (mount.point / "model.tmp").replace(mount.point / "model")
        synced(mount.point)
        assert proxy.connections - before <= 5
    assert bucket.list() == {"model": 1}


def test_temporary_files_that_go_again_cost_nothing(mount: Mount, proxy: Proxy) -> None:
    with started(mount):
        assert os.listdir(mount.point) == []
        before = proxy.connections
        for number in range(20):
            (mount.point / f"{number}.tmp").write_bytes(b"x")
        for number in range(20):
            (mount.point / f"{number}.tmp").unlink()
        synced(mount.point)
        assert proxy.connections == before


def test_removing_a_tree_costs_at_most_a_request_per_file(mount: Mount, bucket: BucketClient, proxy: Proxy) -> None:
    fill(bucket, 300)
    with started(mount):
        before = proxy.connections
        shutil.rmtree(mount.point / "d")
        synced(mount.point)
        assert proxy.connections - before <= 320
    assert bucket.list() == {}


def test_an_idle_mount_asks_nothing(mount: Mount, proxy: Proxy) -> None:
    with started(mount):
        before = proxy.connections
        assert not eventually(lambda: proxy.connections != before, 1.5)
