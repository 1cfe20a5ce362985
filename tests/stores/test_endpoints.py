"""S3 servers that are not AWS: with certificates of their own, and with bucket names in the host or in the path.

Each client is a process of its own, as OpenDAL looks at certificates and at the environment once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stores.conftest import ENGINES
from tests.support.faults import faulty_server, response, scripted
from tests.support.readme import told
from tests.support.servers import BucketClient, S3Server
from tests.support.tls import make_certificates, tls_to

EMPTY = b'<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><Prefix></Prefix><IsTruncated>false</IsTruncated></ListBucketResult>'


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def authority(certificates: tuple[Path, Path]) -> Path:
    return certificates[0]


@pytest.fixture(scope="module")
def encrypted(s3_server: S3Server, certificates: tuple[Path, Path]) -> Iterator[str]:
    with tls_to(s3_server.endpoint, certificates[1]) as address:
        yield address


SCRIPT = """
import json, sys, trio
from storemount.errors import StoreMountError
from storemount.stores.flavors import StoreSpec, open_store

async def ask(path, engine, attributes):
    store = open_store(StoreSpec("test", "s3", path, attributes), engine=engine, deadline=10.0)
    try:
        await store.check()
        print(store.traits.engine)
    except StoreMountError as error:
        print(type(error).__name__, error)
    await store.aclose()

trio.run(ask, *json.loads(sys.stdin.read()))
"""


def listed(path: str, engine: str, attributes: dict[str, str], **environ: str) -> str:
    """Which engine could list the store at `path`, or the failure."""
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower() and "CERT" not in name and "AWS" not in name}
    words = json.dumps([path, engine, attributes])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=words, env={**kept, **environ}, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def test_an_authority_of_ones_own(encrypted: str, bucket: BucketClient, authority: Path) -> None:
    given = {**bucket.server.attributes(), "endpoint": encrypted}
    assert listed(bucket.uri, "auto", {**given, "client_kwargs": json.dumps({"verify": str(authority)})}) == "fsspec"
    assert listed(bucket.uri, "auto", {**given, "client_kwargs": '{"verify": false}'}) == "fsspec"
    assert listed(bucket.uri, "auto", given, AWS_CA_BUNDLE=str(authority)) == "fsspec"


@pytest.mark.parametrize("engine", ENGINES)
def test_an_authority_of_the_whole_machine(engine: str, encrypted: str, bucket: BucketClient, authority: Path) -> None:
    given = {**bucket.server.attributes(), "endpoint": encrypted}
    assert listed(bucket.uri, engine, given, SSL_CERT_FILE=str(authority)) == engine
    said = listed(bucket.uri, engine, given)
    assert said.startswith(("Unreachable", "Unavailable"))
    assert told("invalid peer certificate", said) if engine == "native" else told("certificate verify failed", said)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("style", "asked"), [("path", "http://s3.test/bucket?"), ("virtual", "http://bucket.s3.test/?")])
def test_where_the_name_of_the_bucket_stands(engine: str, style: str, asked: str) -> None:
    """Seen by an HTTP proxy, as names below that of a server need not be known here."""
    seen: list[str] = []

    def tell(head: str) -> bytes:
        seen.append(head)
        return response("200 OK", EMPTY)

    given = {"key": "k", "secret": "s", "region": "us-east-1", "endpoint": "http://s3.test"}
    given["config_kwargs"] = json.dumps({"s3": {"addressing_style": style}})
    with faulty_server(scripted(tell)) as proxy:
        assert listed("s3://bucket", engine, given, http_proxy=proxy) == engine
    assert asked in seen[0].replace("/bucket/?", "/bucket?").splitlines()[0]
