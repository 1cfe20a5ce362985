"""Credentials that change under a running mount: nobody has to mount again (S14, S16)."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.aws import only_saying, only_with, vault
from tests.support.azurite import ACCOUNT, AzureServer, ContainerView
from tests.support.command import Storemount
from tests.support.faults import Treatment, answer, error
from tests.support.gcs import GcsBucket, GcsServer
from tests.support.identity import service_account
from tests.support.mounting import AZURE, GCS, REMOTE, Mount, bucket_mount, mounted
from tests.support.proxy import Proxy, proxy_to
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


LATE = b"<AuthenticationErrorDetail>Signature not valid in the specified time frame</AuthenticationErrorDetail></Error>"


def goes_on(mount: Mount, proxy: Proxy, expired: Treatment, good: Treatment, renew: Callable[[], object]) -> None:
    """What is written while the credentials have ended waits, is not refused, and goes up by itself once there are new ones."""
    mount.expect(r"WARNING storemount\.")
    with mounted(mount):
        (mount.point / "old").write_bytes(b"with the first ones")
        synced(mount.point / "old")
        assert os.listdir(mount.point) == ["old"]
        proxy.become(expired)
        (mount.point / "new").write_bytes(b"written meanwhile")
        with pytest.raises(PermissionError):
            synced(mount.point / "new")
        assert re.search("new: the (credentials have expired|access token has ended); ", mount.command.must("status", str(mount.point)))
        renew()
        proxy.become(good)
        assert eventually(lambda: mount.status()["pending"] == 0, 20)
        assert not mount.status()["refused"]


def test_S14_an_access_token_of_google_that_is_written_anew(google_server: GcsServer, storemount: Storemount, tmp_path: Path) -> None:
    bucket = GcsBucket(google_server, "token-of-google").create()
    token = tmp_path / "token"
    token.write_text("ya29.one")
    with proxy_to(google_server.endpoint) as proxy:
        name = storemount.register("token-of-google", "gcp", bucket.uri, {"endpoint": proxy.endpoint, "token": str(token)})
        expired = answer("401 Unauthorized")
        good = only_saying(proxy, lambda: "Bearer ya29.two\r\n", expired)
        mount = Mount(storemount, name, ("--deadline", "4s", "--ttl", "60s"))
        goes_on(mount, proxy, expired, good, lambda: token.write_text("ya29.two"))
    assert bucket.get("new") == b"written meanwhile"


def test_S14_a_signature_of_azure_that_is_written_anew(azure_server: AzureServer, storemount: Storemount, tmp_path: Path) -> None:
    with azure_server.client("signed") as container, proxy_to(azure_server.endpoint) as proxy:
        container.create()
        file = tmp_path / "sas"
        file.write_text(container.signature(minutes=10))
        attributes = {"account_name": ACCOUNT, "endpoint": proxy.endpoint, "sas_token": f"file:{file}"}
        name = storemount.register("signed", "azure", container.uri, attributes)
        body = error("AuthenticationFailed").replace(b"</Error>", LATE)
        expired = answer("403 Forbidden", body, lines="x-ms-error-code: AuthenticationFailed\r\n")
        mount = Mount(storemount, name, ("--deadline", "4s", "--ttl", "60s", "--engine", "fsspec"))
        goes_on(mount, proxy, expired, proxy.forward, lambda: file.write_text(container.signature(minutes=20)))
        assert container.get("new") == b"written meanwhile"


def connection(server: AzureServer, container: ContainerView) -> dict[str, str]:
    told = f"BlobEndpoint={server.endpoint};AccountName={ACCOUNT};AccountKey={server.key}"
    return {"AZURE_STORAGE_CONNECTION_STRING": told}


def account_key(server: AzureServer, container: ContainerView) -> dict[str, str]:
    return {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": server.key}


def signature(server: AzureServer, container: ContainerView) -> dict[str, str]:
    return {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_SAS_TOKEN": container.signature(minutes=10)}


@pytest.mark.parametrize("kind", AZURE)
@pytest.mark.parametrize("form", [connection, account_key, signature])
def test_S16_credentials_of_azure_in_the_environment(
    kind: str, form: Callable[[AzureServer, ContainerView], dict[str, str]], azure_server: AzureServer, storemount: Storemount
) -> None:
    """Nothing secret is in the registry, and nothing of it in the log."""
    name = f"environ-{kind}-{form.__name__.replace('_', '-')}"
    with azure_server.client(name) as container:
        container.create()
        attributes = {} if form is connection else {"endpoint": azure_server.endpoint}
        storemount.register(name, "azure", container.uri, attributes)
        command = Storemount(storemount.home)
        command.environment |= form(azure_server, container)
        with mounted(Mount(command, name, ("--engine", kind.removeprefix("azure-")))) as mount:
            (mount.point / "new").write_bytes(b"by whoever the environment says")
            synced(mount.point / "new")
            assert not any(value in mount.log.read_text() for value in command.environment.values() if "sig=" in value or "Key=" in value)
        assert container.get("new") == b"by whoever the environment says"


@pytest.mark.parametrize("kind", GCS)
def test_S14_default_credentials_of_google(kind: str, google_server: GcsServer, storemount: Storemount, tmp_path: Path) -> None:
    """A service account's key is where GOOGLE_APPLICATION_CREDENTIALS says. A token that is not taken any more is replaced; nobody hears of
    it."""
    bucket = GcsBucket(google_server, f"default-{kind}").create()
    with service_account() as account:
        (tmp_path / "key.json").write_text(account.key)
        bucket.let(tokens=["t1"])
        name = storemount.register(f"default-{kind}", "gcp", bucket.uri, {"endpoint": google_server.endpoint})
        command = Storemount(storemount.home)
        command.environment |= {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json")}
        with mounted(Mount(command, name, ("--deadline", "10s", "--engine", kind.removeprefix("gcs-")))) as mount:
            (mount.point / "first").write_bytes(b"with t1")
            synced(mount.point / "first")
            bucket.let(tokens=["t2"])
            (mount.point / "second").write_bytes(b"with t2")
            synced(mount.point / "second")
        assert account.issued == 2
    assert (bucket.get("first"), bucket.get("second")) == (b"with t1", b"with t2")
