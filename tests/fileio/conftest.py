"""Where the suite of the file API works: URIs of every kind of store, plain paths, and paths below mounts, with one set of expectations."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from storemount.api.fileapi import FileApi
from storemount.api.session import Session
from storemount.config import Places
from storemount.registry.entry import Entry, Level
from storemount.registry.stores import Registry
from tests.support.command import Storemount
from tests.support.mounting import Mount, bucket_mount, mount_of, mounted, temporary_home
from tests.support.outside import Folder
from tests.support.servers import BucketClient, S3Server, moto_server

ENGINES = ["s3-native", "s3-fsspec"]
STORES = ["memory", "custom", *ENGINES]
MOUNTS = ["mount-local", "mount-s3"]
FRESH = ("--ttl", "0")
"""What is changed by URI is seen by path at once (S3)."""

KINDS = ["disk", *STORES, *MOUNTS]

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Where:
    """A fresh directory, and the functions to use there."""

    kind: str
    api: FileApi
    root: str

    def path(self, *names: str) -> str:
        return "/".join((self.root, *names))

    def write(self, name: str, text: str = "") -> str:
        """A file with its directories; its path."""
        path = self.path(name)
        self.api.makedirs(path.rpartition("/")[0])
        with self.api.open(path, "w") as file:
            file.write(text)
        return path

    def read(self, name: str) -> str:
        with self.api.open(self.path(name)) as file:
            return str(file.read())

    def tree(self) -> dict[str, str | None]:
        """Every path below, files with their text."""
        found: dict[str, str | None] = {}
        for folder, directories, files in self.api.walk(self.root):
            inner = folder[len(self.root) + 1 :]
            lead = f"{inner}/" if inner else ""
            found.update({f"{lead}{name}": None for name in directories})
            found.update({f"{lead}{name}": self.read(f"{lead}{name}") for name in files})
        return found


@pytest.fixture(autouse=True)
def no_instance_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """No client looks for credentials outside this machine."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    with temporary_home() as folder:
        yield folder


@pytest.fixture(scope="session")
def storemount(home: Path) -> Storemount:
    return Storemount(home)


@pytest.fixture(scope="session")
def places(storemount: Storemount) -> Places:
    return Places.of(storemount.environment)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def bucket(s3_server: S3Server) -> Iterator[BucketClient]:
    """The bucket of the session, seen from outside."""
    with s3_server.client("file-api") as client:
        yield client.create()


@pytest.fixture(scope="session")
def registered(bucket: BucketClient, places: Places) -> Registry:
    """`whole` is the bucket; `part`, a folder of it; `folder`, one of this machine."""
    registry = Registry(places, environ={}, reserved=())
    folder = places.data / "folder"
    folder.mkdir(parents=True)
    registry.register(Entry("whole", "s3", bucket.uri, Level.USER, bucket.server.attributes()))
    registry.register(Entry("part", "s3", f"{bucket.uri}/a", Level.USER, bucket.server.attributes()))
    registry.register(Entry("folder", "local", str(folder), Level.USER))
    return registry


@pytest.fixture(scope="session")
def sessions(registered: Registry, places: Places) -> Iterator[dict[str, Session]]:
    """One for each engine."""
    made = {"s3-native": Session(places, {}), "s3-fsspec": Session(places, {}, engine="fsspec")}
    yield made
    for session in made.values():
        session.close()


@pytest.fixture(scope="session")
def session(sessions: dict[str, Session]) -> Session:
    return sessions["s3-native"]


@pytest.fixture(scope="session")
def api(session: Session) -> FileApi:
    return FileApi(session)


@pytest.fixture(scope="session")
def mount_local(storemount: Storemount) -> Iterator[Mount]:
    folder = storemount.home / "mounted"
    folder.mkdir()
    with mounted(mount_of(storemount, "local", Folder(folder), FRESH)) as mount:
        yield mount


@pytest.fixture(scope="session")
def mount_s3(storemount: Storemount, s3_server: S3Server) -> Iterator[Mount]:
    """Its bucket has a name of its own: who asks the mounts themselves also sees those of the other workers."""
    bucket = f"mounted-{os.getpid()}"
    with s3_server.client(bucket) as client, mounted(bucket_mount(storemount, "s3-native", client.create(), FRESH)) as mount:
        yield mount


def place(kind: str, request: pytest.FixtureRequest) -> Where:
    """A fresh directory of this kind."""
    session: Session = request.getfixturevalue("sessions").get(kind) or request.getfixturevalue("session")
    api, name = FileApi(session), f"{next(_numbers):03} ü"
    if kind in ENGINES:
        root = f"{request.getfixturevalue('bucket').uri}/{kind}"
    elif kind in MOUNTS:
        root = str(request.getfixturevalue(kind.replace("-", "_")).point)
    elif kind == "memory":
        root = "memory://tests"
    else:
        folder = str(request.getfixturevalue("tmp_path"))
        root = f"local://{folder}" if kind == "custom" else folder
    where = Where(kind, api, f"{root}/{name}")
    api.makedirs(where.root)
    return where


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest) -> Iterator[Where]:
    """Each kind of place in turn: a fresh directory there. A mount says nothing unexpected meanwhile."""
    yield place(request.param, request)
    if request.param in MOUNTS:
        assert not (said := request.getfixturevalue(request.param.replace("-", "_")).complaints()), f"the daemon complained: {said}"


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Where:
    """Each kind of store in turn, by URI."""
    return place(request.param, request)


@pytest.fixture(params=ENGINES)
def s3(request: pytest.FixtureRequest) -> Where:
    """Each engine of S3."""
    return place(request.param, request)


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where drafts are, for a test that looks what is left of them."""
    import tempfile

    folder = tmp_path / "staging"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(folder))
    return folder
