"""A service of OpenDAL that storemount knows nothing of: WebDAV, served by rclone where that is on PATH."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from storemount.errors import Changed, Denied, MissingStore, TooLarge
from storemount.stores.base import EMPTY, Artifact, ArtifactStore, Source
from storemount.stores.flavors import StoreSpec, open_store
from storemount.stores.user import service
from tests.stores.conftest import SourceMaker
from tests.support.waiting import eventually

PASSWORD = "not-to-be-seen"
LARGE = hashlib.shake_256(b"seed").digest(9_000_000)

pytestmark = pytest.mark.skipif(shutil.which("rclone") is None, reason="no WebDAV server: rclone is not on PATH")


def listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    """A WebDAV server over the folder `served`, in which there is `root`."""
    (tmp_path / "served/root").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = ["rclone", "serve", "webdav", str(tmp_path / "served"), "--addr", address, "--dir-cache-time", "0s"]
    words += ["--user", "me", "--pass", PASSWORD]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(tmp_path)}) as server:
        try:
            assert eventually(lambda: listens(address))
            yield f"http://{address}"
        finally:
            server.terminate()


def dav(endpoint: str, folder: str = "root", password: str = PASSWORD) -> ArtifactStore:
    options = json.dumps({"endpoint": endpoint, "username": "me", "password": password})
    return open_store(StoreSpec("dav", "custom", f"opendal+webdav://{folder}", {"options": options}), deadline=10.0)


@pytest.fixture
async def store(endpoint: str) -> AsyncIterator[ArtifactStore]:
    made = dav(endpoint)
    await made.check()
    yield made
    await made.aclose()


async def keys(store: ArtifactStore) -> list[str]:
    async with aclosing(store.list("", recursive=True)) as pages:
        return sorted([row.name async for page in pages for row in page])


async def test_S1_S11_a_service_has_all_that_its_server_has(store: ArtifactStore, source: SourceMaker, tmp_path: Path) -> None:
    assert (store.traits.engine, store.traits.rename, store.traits.real_directories, store.traits.limits) == ("native", True, True, ())
    made = await store.write("a/b/large", source(LARGE))
    await store.write("a/empty/", EMPTY)
    assert (tmp_path / "served/root/a/b/large").read_bytes() == LARGE
    assert bytes(await store.read(made, 8_000_000, 8_000_100)) == LARGE[8_000_000:8_000_100]
    await store.rename("a/", "z/")
    assert await keys(store) == ["z/", "z/b/", "z/b/large", "z/empty/"]
    moved = (await store.stat("z/b/large")).artifact
    assert moved is not None
    await store.copy(moved, "copy")
    with pytest.raises(Changed):
        await store.write("copy", source(b"ours"), over=Artifact("copy", "another", 1, 0))
    await store.delete(["z/b/large", "z/empty/", "z/b/", "z/"])
    assert await keys(store) == ["copy"]
    assert (tmp_path / "served/root/copy").read_bytes() == LARGE


async def test_S15_a_file_in_one_piece_has_a_limit(store: ArtifactStore, source: SourceMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LARGEST", 1000)
    await store.write("small", source(b"x" * 1000))
    with pytest.raises(TooLarge, match="in one piece only"):
        await store.write("large", source(b"x" * 1001))
    with pytest.raises(TooLarge):
        await store.write("small", source(b"x" * 1001))
    assert await keys(store) == ["small"]


async def test_S3_what_is_wrong_at_the_server_has_its_name(endpoint: str, tmp_path: Path) -> None:
    for wrong, kind in ((dav(endpoint, password="wrong"), Denied), (dav(endpoint, "nowhere"), MissingStore)):
        with pytest.raises(kind) as caught:
            await wrong.check()
        assert PASSWORD not in str(caught.value)
        await wrong.aclose()
    assert os.listdir(tmp_path / "served") == ["root"]


async def test_S6_a_source_that_ends_early_publishes_nothing(store: ArtifactStore, source: SourceMaker) -> None:
    with pytest.raises(Exception, match="shorter"):
        await store.write("f", Source(source(b"short").path, 100))
    assert await keys(store) == []
