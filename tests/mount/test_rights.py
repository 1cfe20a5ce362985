"""Credentials that are wrong or allow too little, on each cloud: one line at the start, or a write that is kept (S16).

Each server looks at whom it lets in: moto at keys and policies, Azurite at keys and at a container's policy, the emulator of Google's at
tokens.
"""

from __future__ import annotations

import base64
import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from storemount.errors import ExitCode
from tests.mount.conftest import server_for
from tests.support.azurite import ACCOUNT, AzureServer
from tests.support.command import Storemount
from tests.support.gcs import GcsBucket, GcsServer
from tests.support.mounting import AZURE, GCS, REMOTE, Mount, mounted, temporary_home
from tests.support.outside import Bucket, Container, Outside
from tests.support.readme import told
from tests.support.servers import S3Server, guarded_moto_server, permit
from tests.support.waiting import synced

DATA = os.urandom(300_000)
FLAVORS = {"s3": "s3", "azure": "azure", "gcs": "gcp"}
WRONG = base64.b64encode(b"of somebody else, who has nothing to do with it").decode()


@dataclass
class Reader:
    """A store whose credentials may only read, until `allow` is called."""

    kind: str
    uri: str
    attributes: Mapping[str, str]
    outside: Outside
    allow: Callable[[], object]


@contextmanager
def s3_reader(kind: str) -> Iterator[Reader]:
    with guarded_moto_server() as server, server.client("read-only") as bucket:
        view = Bucket(bucket.create())
        view.put("there", b"can be read")
        permit(server, "s3:Get*", "s3:List*")
        yield Reader(kind, bucket.uri, server.attributes(), view, lambda: permit(server, "s3:*"))


@contextmanager
def azure_reader(kind: str, server: AzureServer) -> Iterator[Reader]:
    with server.client(f"read-only-{kind}") as container:
        view = Container(container.create())
        view.put("there", b"can be read")
        attributes = {"account_name": ACCOUNT, "endpoint": server.endpoint, "sas_token": container.policy(allowed="rl")}
        yield Reader(kind, container.uri, attributes, view, container.policy)


@contextmanager
def google_reader(kind: str, server: GcsServer) -> Iterator[Reader]:
    view = GcsBucket(server, f"read-only-{kind}").create()
    view.put("there", b"can be read")
    view.let(methods=["GET"])
    attributes = {"endpoint": server.endpoint, "token": "ya29.reader"}
    yield Reader(kind, view.uri, attributes, view, view.let)


@pytest.fixture
def storemount() -> Iterator[Storemount]:
    """With a registry of the test's own."""
    with temporary_home() as home:
        yield Storemount(home)


@pytest.fixture(params=[REMOTE[1], *AZURE, *GCS])
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    """On S3 by one engine: moto computes another signature than OpenDAL for a listing."""
    server = server_for(request.param, request)
    if isinstance(server, AzureServer):
        opened = azure_reader(request.param, server)
    elif isinstance(server, GcsServer):
        opened = google_reader(request.param, server)
    else:
        opened = s3_reader(request.param)
    with opened as made:
        yield made


def test_S16_credentials_that_may_only_read(reader: Reader, storemount: Storemount) -> None:
    """A write is refused at its fsync, its bytes are kept, and a retry takes them up when more is allowed."""
    service, _, engine = reader.kind.partition("-")
    name = storemount.register(f"read-only-{reader.kind}", FLAVORS[service], reader.uri, reader.attributes)
    mount = Mount(storemount, name, ("--deadline", "4s", "--ttl", "60s", "--engine", engine))
    mount.expect(r"WARNING storemount\.kernel\.verbs")
    mount.expect("put of 'new' was refused")
    with mounted(mount):
        assert (mount.point / "there").read_bytes() == b"can be read"
        (mount.point / "new").write_bytes(DATA)
        with pytest.raises(PermissionError) as caught:
            synced(mount.point / "new")
        assert caught.value.errno == errno.EACCES
        assert told("it is kept, see: storemount status", mount.log.read_text())
        assert mount.status()["refused"] == 1
        assert (mount.point / "new").read_bytes() == DATA
        reader.allow()
        storemount.must("retry", "--all")
        storemount.must("flush", str(mount.point))
    assert reader.outside.get("new") == DATA


def refused(storemount: Storemount, kind: str, uri: str, attributes: Mapping[str, str], code: ExitCode, says: str) -> None:
    """Mounting ends with this code and one line; nothing is mounted, no secret is told."""
    service, _, engine = kind.partition("-")
    name = storemount.register(f"refused-{service}", FLAVORS[service], uri, attributes)
    point = storemount.home / "refused"
    point.mkdir(exist_ok=True)
    done = storemount.run(name, str(point), "--deadline", "4s", "--engine", engine)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert re.fullmatch(rf"storemount: [^\n]*{says}[^\n]*\n", done.stderr), done.stderr
    assert not any(value in done.stderr for key, value in attributes.items() if key in ("secret", "account_key", "sas_token", "token"))
    assert not point.is_mount()


@pytest.fixture(scope="module")
def guarded_server() -> Iterator[S3Server]:
    with guarded_moto_server() as server:
        yield server


@pytest.mark.parametrize("kind", REMOTE)
@pytest.mark.parametrize(("wrong", "says"), [("key", "InvalidAccessKeyId"), ("secret", "SignatureDoesNotMatch")])
def test_S16_wrong_keys_of_s3(storemount: Storemount, guarded_server: S3Server, kind: str, wrong: str, says: str) -> None:
    attributes = {**guarded_server.attributes(), wrong: "a-wrong-one"}
    says = rf"{says}\); check the credentials and what they allow"
    refused(storemount, kind, "s3://some", attributes, ExitCode.STORE_REFUSED, says)


@pytest.mark.parametrize("kind", AZURE)
@pytest.mark.parametrize("wrong", ["account_key", "sas_token"])
def test_S16_wrong_keys_of_azure(storemount: Storemount, azure_server: AzureServer, kind: str, wrong: str) -> None:
    with azure_server.client("some") as container:
        signature = re.sub("sig=[^&]*", "sig=c29tZWJvZHk%3D", container.signature(minutes=10))
    attributes = {"account_name": ACCOUNT, "endpoint": azure_server.endpoint, wrong: {"account_key": WRONG, "sas_token": signature}[wrong]}
    refused(storemount, kind, "abfs://some", attributes, ExitCode.STORE_REFUSED, "check the credentials and what they allow")


@pytest.mark.parametrize("kind", GCS)
def test_S16_a_token_that_google_does_not_take(storemount: Storemount, google_server: GcsServer, kind: str) -> None:
    bucket = GcsBucket(google_server, f"guarded-{kind}").create()
    bucket.let(tokens=["ya29.right"])
    attributes = {"endpoint": google_server.endpoint, "token": "ya29.wrong"}
    refused(storemount, kind, bucket.uri, attributes, ExitCode.STORE_REFUSED, "the access token has ended; ")


@pytest.mark.parametrize("kind", [*AZURE, *GCS])
def test_S16_a_container_or_bucket_that_is_not_there(storemount: Storemount, kind: str, request: pytest.FixtureRequest) -> None:
    server = server_for(kind, request)
    assert server is not None
    uri = f"{'gs' if kind in GCS else 'abfs'}://absent"
    refused(storemount, kind, uri, server.attributes(), ExitCode.STORE_MISSING, "absent")
