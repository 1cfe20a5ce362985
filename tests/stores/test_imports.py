"""Opening a store loads the client of its engine, and no other (the start of a local mount depends on it)."""

from __future__ import annotations

import subprocess
import sys

import pytest

CLIENTS = {"asyncio", "fsspec", "opendal", "s3fs", "aiobotocore", "botocore", "aiohttp", "gcsfs", "google", "azure"}
ATTRIBUTES = {
    "s3": {"key": "k", "secret": "s", "endpoint": "http://127.0.0.1:1"},
    "azure": {"account_name": "account", "account_key": "a2V5"},
}
PROGRAM = """
import sys, trio
from storemount.stores.flavors import StoreSpec, open_store, spec_of_uri

async def main():
    store = open_store(StoreSpec("x", {flavor!r}, {path!r}, {attributes!r}), engine={engine!r})
    await store.aclose()

trio.run(main)
print(" ".join(sys.modules))
"""


@pytest.mark.parametrize(
    ("flavor", "path", "engine", "allowed"),
    [
        ("local", "/tmp", "auto", set()),
        ("memory", "memory://", "auto", set()),
        ("s3", "s3://bucket", "native", {"asyncio", "opendal"}),
        ("s3", "s3://bucket", "fsspec", {"asyncio"}),
        ("gcp", "gs://bucket", "native", {"asyncio", "opendal"}),
        ("gcp", "gs://bucket", "fsspec", {"asyncio"}),
        ("azure", "abfs://container", "native", {"asyncio", "opendal"}),
        ("azure", "abfs://container", "fsspec", {"asyncio"}),
        ("custom", "file:///tmp", "auto", {"asyncio", "fsspec"}),
    ],
)
def test_only_the_needed_client_is_imported(flavor: str, path: str, engine: str, allowed: set[str]) -> None:
    attributes = ATTRIBUTES.get(flavor, {})
    program = PROGRAM.format(flavor=flavor, path=path, attributes=attributes, engine=engine)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) & CLIENTS <= allowed


def test_flavors_alone_load_no_event_loop() -> None:
    program = "import sys, storemount.stores.flavors; print(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(run.stdout.split()) & (CLIENTS | {"trio"})
