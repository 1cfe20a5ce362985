"""The two ends of the freshness knob: --ttl 0 asks each time, --immutable never again (S3)."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.support.command import Storemount
from tests.support.mounting import REMOTE, STORES, bucket_mount, mount_of, mounted
from tests.support.outside import Outside
from tests.support.proxy import Proxy
from tests.support.servers import BucketClient


@pytest.mark.parametrize("kind", STORES)
def test_S3_ttl_0_shows_changes_at_once(kind: str, fresh_store: Callable[[str], Outside], storemount: Storemount) -> None:
    outside = fresh_store(kind)
    with mounted(mount_of(storemount, kind, outside, ("--ttl", "0"))) as mount, mount.watched(60):
        assert os.listdir(mount.point) == []
        for version in (b"one", b"second", b"3"):
            outside.put("file", version)
            assert (mount.point / "file").read_bytes() == version
            assert (mount.point / "file").stat().st_size == len(version)
            assert os.listdir(mount.point) == ["file"]
        outside.delete("file")
        assert not (mount.point / "file").exists()
        assert os.listdir(mount.point) == []


@pytest.mark.parametrize("kind", REMOTE)
def test_S3_immutable_never_asks_again(kind: str, bucket: BucketClient, proxy: Proxy, storemount: Storemount) -> None:
    """Once looked at, listings, attributes, absent names and small contents cost no request."""
    for key in ("file", "d/inside"):
        bucket.put(key, key.encode())
    with mounted(bucket_mount(storemount, kind, bucket, ("--immutable",), {"endpoint": proxy.endpoint})) as mount, mount.watched(60):

        def look() -> tuple[object, ...]:
            root = mount.point
            return sorted(os.listdir(root)), (root / "file").read_bytes(), (root / "d/inside").stat().st_size, (root / "absent").exists()

        first = look()
        assert first == (["d", "file"], b"file", 8, False)
        bucket.put("file", b"changed")
        before = proxy.connections
        assert [look() for _ in range(20)] == [first] * 20
        assert proxy.connections == before
