"""Credentials that change under a running mount: nobody has to mount again (S14, S16)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support.aws import only_with, vault
from tests.support.command import Storemount
from tests.support.mounting import REMOTE, bucket_mount, mounted
from tests.support.proxy import Proxy
from tests.support.servers import BucketClient
from tests.support.waiting import eventually, synced


def test_S14_a_token_in_a_file_that_is_written_anew(bucket: BucketClient, proxy: Proxy, storemount: Storemount, tmp_path: Path) -> None:
    """It expires: `status` says so and how to go on. A new one stands in the file: all goes through by itself. (Both engines: see the tests
    of the stores.)"""
    token = tmp_path / "token"
    bucket.put("there", b"can be read")
    with vault() as role:
        token.write_text(role.token)
        proxy.become(only_with(proxy, role))
        attributes = {"endpoint": proxy.endpoint, "token": f"file:{token}"}
        mount = bucket_mount(storemount, REMOTE[0], bucket, ("--deadline", "4s", "--ttl", "60s"), attributes)
        assert f"file:{token}" in storemount.must("artifact-store", "describe", mount.store)
        mount.expect(r"WARNING storemount\.")
        with mounted(mount):
            assert os.listdir(mount.point) == ["there"]
            role.rotate()
            (mount.point / "new").write_bytes(b"written meanwhile")
            with pytest.raises(PermissionError) as caught:
                (mount.point / "there").read_bytes()
            assert caught.value.errno == errno.EACCES
            with pytest.raises(PermissionError):
                synced(mount.point / "new")
            assert "new: the credentials have expired; renew them where" in storemount.must("status", str(mount.point))
            token.write_text(role.token)
            assert (mount.point / "there").read_bytes() == b"can be read"
            assert eventually(lambda: mount.status()["pending"] == 0, 20)
    assert bucket.get("new") == b"written meanwhile"


def test_S14_keys_of_a_role_are_replaced_while_it_is_mounted(bucket: BucketClient, proxy: Proxy, storemount: Storemount) -> None:
    """As on an instance of a cloud, where nobody gives any keys; nothing is heard of the change."""
    with vault() as role:
        proxy.become(only_with(proxy, role))
        name = storemount.register(f"{bucket.name}-role", "s3", bucket.uri, {"endpoint": proxy.endpoint, "region": "us-east-1"})
        command = Storemount(storemount.home)
        command.environment |= {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": role.endpoint}
        mount = bucket_mount(command, "s3-native", bucket, ("--deadline", "10s"))
        mount.store = name
        with mounted(mount):
            for number in range(3):
                (mount.point / f"file-{number}").write_bytes(b"data")
                synced(mount.point / f"file-{number}")
                role.rotate()
        assert role.given <= 4
    assert len(bucket.list()) == 3
