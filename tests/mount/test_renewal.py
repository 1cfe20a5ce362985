"""Credentials that a service connector of ZenML gives end; the mount gets others, and nobody notices (S14)."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storemount.api.fileapi import FileApi, Store
from storemount.api.session import Session
from storemount.config import Places
from storemount.stores.reopened import AHEAD
from tests.support.command import Storemount
from tests.support.mounting import Mount, mounted, temporary_home
from tests.support.servers import BucketClient, S3Server, guarded_moto_server, revoke, second_key
from tests.support.waiting import eventually
from tests.support.zenml_trees import configure, zenml_tree

ANSWERS = """#!{python}
import pathlib, sys
waiting = sorted(pathlib.Path({folder!r}).glob("*.json"))
sys.stdin.read()
print(waiting[0].read_text())
waiting[0].unlink()
"""
"""Stands for a Python whose ZenML has a connector to a cloud: its answers are files, in their order."""


def answer(server: S3Server, bucket: str, lifetime: float) -> str:
    store = {
        "name": "s3_connected",
        "flavor": "s3",
        "configuration": {"path": bucket, "client_kwargs": {"endpoint_url": server.endpoint}},
        "connected": True,
    }
    given = {"key": server.key, "secret": server.secret, "token": None, "region": "us-east-1"}
    expires = (datetime.now(UTC) + timedelta(seconds=lifetime)).isoformat()
    return json.dumps({"stores": [store], "secrets": {}, "connector": given, "expires": expires})


@contextmanager
def connected() -> Iterator[tuple[Storemount, BucketClient, S3Server]]:
    """A user of ZenML whose store has keys that end soon, and gets others then; the bucket as the first keys see it, and the second."""
    with temporary_home() as home, guarded_moto_server() as first, first.client("models") as bucket:
        second = second_key(first)
        bucket.create().put("there", b"content")
        storemount = Storemount(home)
        zenml_tree("new", home / "config/zenml")
        answers = home / "answers"
        answers.mkdir()
        (answers / "1.json").write_text(answer(first, bucket.uri, AHEAD - 60))
        (answers / "2.json").write_text(answer(second, bucket.uri, 3600))
        python = home / "python"
        python.write_text(ANSWERS.format(python=sys.executable, folder=str(answers)))
        python.chmod(0o755)
        storemount.environment["STOREMOUNT_ZENML_PYTHON"] = str(python)
        yield storemount, bucket, second


def test_S14_a_mount_outlives_the_credentials_that_it_began_with() -> None:
    """With fsspec: moto computes another signature for the slash in OpenDAL's listings (AWS and Ceph do not)."""
    with connected() as (storemount, bucket, second):
        with mounted(Mount(storemount, "s3_connected", ("--engine", "fsspec", "--ttl", "0"))) as mount:
            assert eventually(lambda: "new credentials for s3://models" in Path(mount.log).read_text())
            revoke(bucket.server)
            assert (mount.point / "there").read_bytes() == b"content"
            (mount.point / "written").write_bytes(b"with the new ones")
        with second.client("models") as bucket_now:
            assert bucket_now.get("written") == b"with the new ones"
        logged = Path(mount.log).read_text()
        assert not [secret for secret in (bucket.server.secret, second.secret) if secret in logged]


def test_S14_a_store_that_is_named_by_its_uri_outlives_them_too(caplog: pytest.LogCaptureFixture) -> None:
    """Not registered here: that ZenML has it is enough."""
    with connected() as (storemount, bucket, second), caplog.at_level(logging.INFO):
        environ = storemount.environment
        configure(storemount.home / "config/zenml", "s3_connected", {"path": bucket.uri})
        session = Session(Places.of(environ), environ, engine="fsspec")
        api = FileApi(session)
        assert api.listdir(bucket.uri) == ["there"]
        assert eventually(lambda: "new credentials for s3://models" in caplog.text)
        revoke(bucket.server)
        with api.open(f"{bucket.uri}/written", "w") as file:
            file.write("with the new ones")
        session.close()
        with second.client("models") as bucket_now:
            assert bucket_now.get("written") == b"with the new ones"


def test_S14_an_open_store_outlives_them_too(caplog: pytest.LogCaptureFixture) -> None:
    with connected() as (storemount, bucket, second), caplog.at_level(logging.INFO):
        environ = storemount.environment
        session = Session(Places.of(environ), environ, engine="fsspec")
        with Store(session.open("s3_connected")) as store:
            assert store.listdir("") == ["there"]
            assert eventually(lambda: "new credentials for s3://models" in caplog.text)
            revoke(bucket.server)
            with store.open("written", "w") as file:
                file.write("with the new ones")
        session.close()
        with second.client("models") as bucket_now:
            assert bucket_now.get("written") == b"with the new ones"
