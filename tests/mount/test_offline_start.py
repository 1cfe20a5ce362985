"""A mount that starts before its store answers (S14, S3): what is here is served, what is unknown is an error, and it comes right."""

from __future__ import annotations

import pytest

from storemount.errors import ExitCode
from tests.support.command import Storemount
from tests.support.mounting import REMOTE, Mount, bucket_mount, mounted
from tests.support.proxy import Proxy
from tests.support.servers import BucketClient
from tests.support.waiting import eventually

OPTIONS = ("--deadline", "2s", "--ttl", "60s", "--drain-timeout", "30s")


@pytest.fixture(params=REMOTE)
def mount(request: pytest.FixtureRequest, bucket: BucketClient, proxy: Proxy, storemount: Storemount) -> Mount:
    """A mount (not started) of a bucket behind the proxy."""
    mount = bucket_mount(storemount, request.param, bucket, OPTIONS, {"endpoint": proxy.endpoint})
    mount.expect(r"WARNING storemount\.(writeback\.worker|running\.arrival)")
    return mount


def test_S7_what_a_killed_mount_had_promised_is_served_and_goes_up_when_the_store_comes(
    mount: Mount, bucket: BucketClient, proxy: Proxy
) -> None:
    bucket.put("old", b"in the store")
    mount.options = (*OPTIONS, "--offline-start")
    with mounted(mount):
        assert [path.name for path in mount.point.iterdir()] == ["old"]
        proxy.refuse()
        (mount.point / "new").write_bytes(b"not there yet")
        mount.kill()
        mount.start()
        assert (mount.point / "new").read_bytes() == b"not there yet"
        for look in (mount.point / "old").read_bytes, lambda: list(mount.point.iterdir()):
            with pytest.raises(OSError, match=r"No route|timed out"):
                look()
        proxy.become(proxy.forward)
        assert eventually(lambda: "new" in bucket.list(), within=60)
        assert (mount.point / "old").read_bytes() == b"in the store"


def test_S14_without_the_option_a_store_that_is_down_ends_the_start(mount: Mount, proxy: Proxy) -> None:
    proxy.refuse()
    done = mount.command.run("mount", mount.store, str(mount.point), *OPTIONS)
    assert done.returncode == ExitCode.STORE_UNREACHABLE
    mount.clear()


def test_a_missing_bucket_ends_a_start_that_might_have_waited(bucket: BucketClient, storemount: Storemount) -> None:
    name = storemount.register("elsewhere", "s3", "s3://no-such-bucket-here", bucket.server.attributes())
    (storemount.home / "mnt").mkdir(exist_ok=True)
    done = storemount.run("mount", name, "mnt", "--offline-start")
    assert done.returncode == ExitCode.STORE_MISSING
