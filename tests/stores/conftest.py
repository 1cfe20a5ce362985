"""The stores under test, each with a way to look at it from outside."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from storemount.stores.base import EMPTY, ArtifactStore, Meta, Source
from storemount.stores.flavors import StoreSpec, open_store
from storemount.stores.memory import MemoryStore
from tests.support.servers import BucketClient, S3Server, moto_server

ENGINES = ["native", "fsspec"]
FLAT = ["memory", *ENGINES]
SUBJECTS = [*FLAT, "local", "custom"]

_numbers = itertools.count(1)


class Outside(Protocol):
    """The store as another program sees it."""

    def put(self, key: str, data: bytes = b"") -> object: ...

    def get(self, key: str) -> bytes: ...

    def delete(self, *keys: str) -> None: ...

    def list(self, prefix: str = "") -> dict[str, int]: ...


@dataclass
class Folder:
    """A folder, seen through the operating system. Directories count as keys with a slash at their end."""

    root: Path

    def put(self, key: str, data: bytes = b"") -> None:
        path = self.root / key
        if key.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.root.parent / "incoming"
        partial.write_bytes(data)
        partial.rename(path)

    def get(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def delete(self, *keys: str) -> None:
        for key in keys:
            (self.root / key).unlink()

    def list(self, prefix: str = "") -> dict[str, int]:
        files = [path for path in self.root.rglob("*") if path.is_file()]
        keys = {str(path.relative_to(self.root)): path.stat().st_size for path in files}
        return {key: size for key, size in keys.items() if key.startswith(prefix)}


@dataclass
class Dictionary:
    """The memory store's own dictionary."""

    store: MemoryStore

    def put(self, key: str, data: bytes = b"") -> object:
        return self.store._put(key, data)

    def get(self, key: str) -> bytes:
        return self.store._objects[key][1]

    def delete(self, *keys: str) -> None:
        for key in keys:
            del self.store._objects[key]

    def list(self, prefix: str = "") -> dict[str, int]:
        return {key: artifact.size for key, (artifact, _) in self.store._objects.items() if key.startswith(prefix)}


@dataclass
class Subject:
    """A store, and the same store from outside."""

    name: str
    store: ArtifactStore
    outside: Outside

    @property
    def flat(self) -> bool:
        return self.name in FLAT

    @property
    def bucket(self) -> BucketClient | None:
        return self.outside if isinstance(self.outside, BucketClient) else None


@pytest.fixture(autouse=True)
def no_instance_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """No client looks for credentials outside this machine."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """moto, or the server that STOREMOUNT_TEST_S3 names: "URL KEY SECRET"."""
    if named := os.environ.get("STOREMOUNT_TEST_S3"):
        yield S3Server(*named.split())
        return
    with moto_server() as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[BucketClient]:
    """A fresh, empty bucket, removed afterwards."""
    with s3_server.client(f"bucket-{os.getpid()}-{next(_numbers)}") as client:
        yield client.create()
        client.remove()


def s3_store(server: S3Server, path: str, engine: str, *, deadline: float = 10.0) -> ArtifactStore:
    return open_store(StoreSpec("test", "s3", path, server.attributes()), engine=engine, deadline=deadline)


def make_subject(name: str, request: pytest.FixtureRequest) -> Subject:
    if name == "memory":
        store = MemoryStore()
        return Subject(name, store, Dictionary(store))
    if name in ENGINES:
        bucket: BucketClient = request.getfixturevalue("bucket")
        return Subject(name, s3_store(bucket.server, bucket.uri, name), bucket)
    root: Path = request.getfixturevalue("tmp_path") / "root"
    root.mkdir()
    flavor, path = ("local", str(root)) if name == "local" else ("custom", f"file://{root}")
    return Subject(name, open_store(StoreSpec("test", flavor, path)), Folder(root))


@pytest.fixture(params=SUBJECTS)
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Each store in turn, empty."""
    made = make_subject(request.param, request)
    yield made
    await made.store.aclose()


@pytest.fixture(params=FLAT)
async def flat(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Each store without real directories, empty."""
    made = make_subject(request.param, request)
    yield made
    await made.store.aclose()


@pytest.fixture(params=ENGINES)
async def s3(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Each S3 engine, on an empty bucket."""
    made = make_subject(request.param, request)
    yield made
    await made.store.aclose()


SourceMaker = Callable[..., Source]


@pytest.fixture
def source(tmp_path: Path) -> SourceMaker:
    """source(data, meta): a local file with these bytes, as a `Source`."""

    def make(data: bytes, meta: Meta = EMPTY.meta) -> Source:
        path = tmp_path / f"source-{next(_numbers)}"
        path.write_bytes(data)
        return Source(os.fspath(path), len(data), meta=meta)

    return make
