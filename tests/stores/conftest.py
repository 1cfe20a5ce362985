"""The stores under test, each with a way to look at it from outside."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import fsspec
import pytest

from storemount.stores.azurenames import is_holdable
from storemount.stores.base import EMPTY, ArtifactStore, Meta, Source
from storemount.stores.flavors import StoreSpec, open_store
from storemount.stores.flavors.user import UserFlavor
from storemount.stores.memory import MemoryStore
from storemount.stores.user.source import ClassSource
from storemount.stores.user.steps import MARKER
from tests.support import servers
from tests.support.azurite import AzureServer, ContainerView, azurite
from tests.support.gcs import GcsBucket, GcsServer, gcs_server
from tests.support.objects import AsyncObjects, View
from tests.support.servers import BucketClient, S3Server, moto_server, versity_server
from tests.support.shelf import Bag

ENGINES = ["native", "fsspec"]
AZURE = ["azure-native", "azure-fsspec"]
GCS = ["gcs-native", "gcs-fsspec"]
VERSITY = ["versity-native", "versity-fsspec"]
"""A second S3 server, which checks signatures and conditions, where it is on PATH."""

FLAT = ["memory", *ENGINES, *AZURE, *GCS, *(VERSITY if shutil.which(servers.VERSITY) else ())]
CLASSES = {"class": "Shelf", "async-class": "AsyncShelf", "flat-class": "Bag"}
"""Classes of `tests.support.shelf`, as users would register them."""

OPENDAL = "custom-opendal"
"""A folder by way of OpenDAL's service `fs`, as any of its services would be."""

PROTOCOLS = ["custom-memory", "custom-async"]
"""File systems of fsspec: one that blocks, in memory, and an asynchronous one."""

SUBJECTS = [*FLAT, "local", "custom", OPENDAL, *PROTOCOLS, *CLASSES]

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
class Objects:
    """What a `Bag` holds, but for what keeps directories in it."""

    root: str

    @property
    def _held(self) -> dict[bytes, tuple[bytes, int]]:
        return Bag.CONTENTS.setdefault(self.root, {})

    def put(self, key: str, data: bytes = b"") -> None:
        bag = Bag()
        bag.path = self.root
        bag.keep(f"{self.root}/{key}".encode(), data)

    def get(self, key: str) -> bytes:
        return self._held[f"{self.root}/{key}".encode()][0]

    def delete(self, *keys: str) -> None:
        for key in keys:
            del self._held[f"{self.root}/{key}".encode()]

    def list(self, prefix: str = "") -> dict[str, int]:
        rows = {path.decode()[len(self.root) + 1 :]: len(data) for path, (data, _) in self._held.items()}
        return {key: size for key, size in rows.items() if key.startswith(prefix) and not key.endswith(MARKER)}


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
    def bucket(self) -> BucketClient | GcsBucket | None:
        return self.outside if isinstance(self.outside, BucketClient | GcsBucket) else None

    @property
    def azure(self) -> bool:
        return self.name in AZURE

    @property
    def tells_how_far(self) -> bool:
        """Whether it sends a large file in pieces that we cut; a file system of fsspec does that by itself."""
        return self.name not in ("memory", "local", "custom", "custom-memory", "custom-async")

    def needs_any_key(self) -> None:
        """Skips a test where the server cannot have every key that S3 has."""
        if self.name in VERSITY:
            pytest.skip("versitygw keeps objects as files of a folder: none beside a directory of its name, no //; AWS has both")

    def holds(self, key: str) -> bool:
        """Whether the service behind this store can have such a key. OpenDAL drops spaces at the end of a path, so that it would be
        another; where no other client stands in, it is refused."""
        return is_holdable(key) if self.azure else self.name != OPENDAL or key == key.rstrip()


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


@pytest.fixture(scope="session")
def second_server() -> Iterator[S3Server]:
    with versity_server() as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[BucketClient]:
    """A fresh, empty bucket, removed afterwards."""
    with s3_server.client(f"bucket-{os.getpid()}-{next(_numbers)}") as client:
        yield client.create()
        client.remove()


@pytest.fixture(scope="session")
def azure_server() -> Iterator[AzureServer]:
    with azurite() as server:
        yield server


@pytest.fixture
def container(azure_server: AzureServer) -> Iterator[ContainerView]:
    """A fresh, empty container, removed afterwards."""
    with azure_server.client(f"container-{os.getpid()}-{next(_numbers)}") as client:
        yield client.create()
        client.remove()


def azure_store(server: AzureServer, path: str, engine: str, *, deadline: float = 10.0) -> ArtifactStore:
    return open_store(StoreSpec("test", "azure", path, server.attributes()), engine=engine, deadline=deadline)


@pytest.fixture(scope="session")
def google_server() -> Iterator[GcsServer]:
    """The server of `tests.support.gcs_server`, or the one whose URL is in STOREMOUNT_TEST_GCS (such as a fake-gcs-server)."""
    if named := os.environ.get("STOREMOUNT_TEST_GCS"):
        yield GcsServer(named)
        return
    with gcs_server() as server:
        yield server


@pytest.fixture
def google_bucket(google_server: GcsServer) -> Iterator[GcsBucket]:
    """A fresh, empty bucket, removed afterwards."""
    bucket = GcsBucket(google_server, f"bucket-{os.getpid()}-{next(_numbers)}").create()
    yield bucket
    bucket.remove()


def gcs_store(server: GcsServer, path: str, engine: str, *, deadline: float = 10.0) -> ArtifactStore:
    return open_store(StoreSpec("test", "gcp", path, server.attributes()), engine=engine, deadline=deadline)


def s3_store(server: S3Server, path: str, engine: str, *, deadline: float = 10.0) -> ArtifactStore:
    return open_store(StoreSpec("test", "s3", path, server.attributes()), engine=engine, deadline=deadline)


def class_store(name: str, path: str, **attributes: str) -> ArtifactStore:
    """The store that the class `name` of `tests.support.shelf` makes."""
    flavor = UserFlavor.of(ClassSource(f"tests.support.shelf.{name}")).flavor()
    return open_store(StoreSpec("test", flavor.name, path, attributes, flavor), deadline=10.0)


def protocol_subject(name: str, root: str) -> Subject:
    """An empty store in a file system of fsspec that is not the local one."""
    AsyncObjects.register()
    protocol = "memory" if name == "custom-memory" else "asyncobjects"
    view = View(fsspec.filesystem(protocol), root)
    if protocol == "memory":
        view.files.makedirs(root)
    else:
        view.files.OBJECTS[root.partition("/")[0] + "/beside"] = (b"", "a bucket exists by what is in it")
    return Subject(name, open_store(StoreSpec("test", "custom", f"{protocol}://{root}")), view)


def make_subject(name: str, request: pytest.FixtureRequest) -> Subject:
    if name == "memory":
        store = MemoryStore()
        return Subject(name, store, Dictionary(store))
    if name in ENGINES:
        bucket: BucketClient = request.getfixturevalue("bucket")
        return Subject(name, s3_store(bucket.server, bucket.uri, name), bucket)
    if name in VERSITY:
        second: S3Server = request.getfixturevalue("second_server")
        client = second.client(f"bucket-{os.getpid()}-{next(_numbers)}").create()
        return Subject(name, s3_store(second, client.uri, name.removeprefix("versity-")), client)
    if name in GCS:
        google: GcsBucket = request.getfixturevalue("google_bucket")
        return Subject(name, gcs_store(google.server, google.uri, name.removeprefix("gcs-")), google)
    if name in AZURE:
        container: ContainerView = request.getfixturevalue("container")
        return Subject(name, azure_store(container.server, container.uri, name.removeprefix("azure-")), container)
    root: Path = request.getfixturevalue("tmp_path") / "root"
    root.mkdir()
    if name == "flat-class":
        return Subject(name, class_store("Bag", f"bag://{root}"), Objects(f"bag://{root}"))
    if name in CLASSES:
        return Subject(name, class_store(CLASSES[name], "shelf://test", base=str(root)), Folder(root))
    if name == OPENDAL:
        options = json.dumps({"root": str(root.parent)})
        return Subject(name, open_store(StoreSpec("test", "custom", "opendal+fs://root", {"options": options})), Folder(root))
    if name in PROTOCOLS:
        return protocol_subject(name, f"bucket-{next(_numbers)}/store")
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


@pytest.fixture(params=AZURE)
async def azure(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Each Azure engine, on an empty container."""
    made = make_subject(request.param, request)
    yield made
    await made.store.aclose()


@pytest.fixture(params=GCS)
async def gcs(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Each GCS engine, on an empty bucket."""
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
