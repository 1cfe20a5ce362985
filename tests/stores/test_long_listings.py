"""A directory of very many keys is listed page by page: what it takes does not grow with it.

The server makes up its pages by arithmetic. The store lists in a process of its own, whose memory is measured between an early page and the
end: rows that were kept would take several times what is allowed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial

import pytest

from tests.stores.conftest import ENGINES
from tests.support.azurite import ACCOUNT
from tests.support.faults import faulty_server, response, whole

PAGE = 1000
KEYS = {"native": 100_000, "fsspec": 25_000}
"""By the engine: fsspec's clients take longer for each."""

ALLOWED = 100
"""Bytes for each key. A row that is kept, with its key, name and artifact, takes four times as much."""

WHEN = "Mon, 23 Nov 2026 10:00:00 GMT"
ISO = "2026-11-23T10:00:00.000Z"

PROGRAM = """
import json, sys
import trio
from storemount.stores.flavors import StoreSpec, open_store

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:")) * 1024

async def main(flavor, path, attributes, engine, *keeps):
    store = open_store(StoreSpec("many", flavor, path, json.loads(attributes)), engine=engine)
    seen = early = 0
    kept = []
    async for page in store.list("d/"):
        assert page[0].name == f"{seen:07}", page[0]
        seen += len(page)
        if keeps:
            kept += page
        if seen <= 10_000:
            early = peak()
    print(json.dumps({"seen": seen, "grown": peak() - early}))
    await store.aclose()

trio.run(main, *sys.argv[1:])
"""


def numbers(head: str, parameter: str, keys: int) -> tuple[range, str]:
    """What is on the page that is asked for, and what to ask the next one with ("" after the last)."""
    found = re.search(rf"[?&]{parameter}=(\d+)", head.partition("\r\n")[0])
    start = int(found[1]) if found else 0
    stop = min(start + PAGE, keys)
    return range(start, stop), str(stop) if stop < keys else ""


def s3(head: str, keys: int) -> bytes:
    page, further = numbers(head, "continuation-token", keys)
    rest = f"<ETag>&quot;e&quot;</ETag><Size>7</Size><LastModified>{ISO}</LastModified><StorageClass>STANDARD</StorageClass></Contents>"
    rows = "".join(f"<Contents><Key>d/{number:07}</Key>{rest}" for number in page)
    token = f"<NextContinuationToken>{further}</NextContinuationToken>" if further else ""
    told = f"<Name>many</Name><Prefix>d/</Prefix><KeyCount>{len(page)}</KeyCount><IsTruncated>{str(bool(further)).lower()}</IsTruncated>"
    return response("200 OK", f'<?xml version="1.0"?><ListBucketResult>{told}{token}{rows}</ListBucketResult>'.encode())


def azure(head: str, keys: int) -> bytes:
    page, further = numbers(head, "marker", keys)
    told = f"<Last-Modified>{WHEN}</Last-Modified><Etag>0x8DE2A</Etag><Content-Length>7</Content-Length><BlobType>BlockBlob</BlobType>"
    rows = "".join(f"<Blob><Name>d/{number:07}</Name><Properties>{told}</Properties></Blob>" for number in page)
    blobs = f"<Prefix>d/</Prefix><Delimiter>/</Delimiter><Blobs>{rows}</Blobs><NextMarker>{further}</NextMarker>"
    return response("200 OK", f'<?xml version="1.0"?><EnumerationResults>{blobs}</EnumerationResults>'.encode())


def google(head: str, keys: int) -> bytes:
    page, further = numbers(head, "pageToken", keys)
    rest = {"size": "7", "generation": "1", "etag": "e", "updated": ISO, "timeCreated": ISO, "metageneration": "1"}
    told = {"items": [{"name": f"d/{number:07}", **rest} for number in page], **({"nextPageToken": further} if further else {})}
    return response("200 OK", json.dumps(told).encode(), lines="X-Was: json\r\n").replace(b"application/xml", b"application/json")


CLOUDS: Mapping[str, tuple[Callable[[str, int], bytes], str, Mapping[str, str]]] = {
    "s3": (s3, "s3://many", {"key": "k", "secret": "s", "region": "us-east-1"}),
    "azure": (azure, "abfs://many", {"account_name": ACCOUNT, "account_key": "a2V5"}),
    "gcp": (google, "gs://many", {"token": "anon"}),
}


def listed(flavor: str, engine: str, *words: str) -> dict[str, int]:
    reply, path, attributes = CLOUDS[flavor]
    with faulty_server(whole(partial(reply, keys=KEYS[engine]))) as endpoint:
        asked = json.dumps({**attributes, "endpoint": f"{endpoint}/{ACCOUNT}" if flavor == "azure" else endpoint})
        done = subprocess.run([sys.executable, "-c", PROGRAM, flavor, path, asked, engine, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told: dict[str, int] = json.loads(done.stdout)
    assert told["seen"] == KEYS[engine]
    return told


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("flavor", CLOUDS)
def test_a_listing_of_very_many_keys_takes_no_more_memory(flavor: str, engine: str) -> None:
    assert listed(flavor, engine)["grown"] < ALLOWED * KEYS[engine]


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_that_are_kept_would_be_seen(engine: str) -> None:
    assert listed("s3", engine, "keeps")["grown"] > 2 * ALLOWED * KEYS[engine]
