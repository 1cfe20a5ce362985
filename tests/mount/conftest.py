"""The subjects of the mount suite, and the checks around each test.

A test takes `root`: a fresh directory of its own, once in a plain directory and once on each kind of mount. If the plain directory
fails, the test is wrong. A module can narrow this down: `SUBJECTS` (which kinds), `MOUNT_OPTIONS` (for the mount command), `PLANTED`
(how many small files are in the store before it is mounted). A single test is narrowed down by `@pytest.mark.subjects(...)`.
A test that mounts for itself takes `kind` instead: one of the module's `SUBJECTS`.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.azurite import AzureServer, azurite
from tests.support.command import Storemount
from tests.support.gcs import GcsServer, gcs_server
from tests.support.mounting import (
    AZURE,
    CLASS,
    CUSTOM,
    GCS,
    KINDS,
    MEMORY,
    PLAIN,
    PROTOCOL,
    REMOTE,
    STORES,
    Mount,
    Subject,
    mount_of,
    mounted,
    open_outside,
    plant,
    plant_within,
    temporary_home,
)
from tests.support.outside import Folder, Outside
from tests.support.proxy import Proxy, proxy_to
from tests.support.servers import BucketClient, S3Server, moto_server

HUNG = 60.0
"""Seconds after which a test's mount counts as hung."""

_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "subjects(*kinds): on which kinds of subject the test makes sense")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("subjects")
        kinds = marker.args if marker else getattr(metafunc.module, "SUBJECTS", KINDS)
        metafunc.parametrize("subject", _chosen(kinds, metafunc.config), indirect=True, scope="module")
    elif "kind" in metafunc.fixturenames and not any("kind" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")):
        metafunc.parametrize("kind", _chosen(metafunc.module.SUBJECTS, metafunc.config))


def _chosen(kinds: Sequence[str], config: pytest.Config) -> Sequence[object]:
    """Those of `kinds` that are asked for. With --every-store, what runs on S3 and on a folder or Azure runs on every engine and server,
    and what runs on a file system of fsspec runs on a registered one, on a class and in memory; what is only for S3 or for a folder stays
    there."""
    if config.getoption("--every-store"):
        remote = REMOTE + AZURE + GCS if {STORES[0], REMOTE[0]} <= set(kinds) or {REMOTE[0], AZURE[0]} <= set(kinds) else ()
        more = (*remote, *((PROTOCOL, CLASS, MEMORY) if CUSTOM in kinds else ()))
        kinds = [*kinds, *(kind for kind in more if kind not in kinds)]
    asked = config.getoption("--subjects").split(",")
    found = [kind for kind in kinds if asked == [""] or kind in asked]
    return found or [pytest.param("none", marks=pytest.mark.skip(reason=f"--subjects asks for none of {', '.join(kinds)}"))]


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    with temporary_home() as folder:
        yield folder


@pytest.fixture(scope="session")
def storemount(home: Path) -> Storemount:
    """The command of the user whom the suite runs as."""
    return Storemount(home)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One S3 server for the session, which starts when the first test needs it; or the one that STOREMOUNT_TEST_S3 names, an empty one."""
    if named := os.environ.get("STOREMOUNT_TEST_S3"):
        yield S3Server(*named.split())
        return
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def azure_server() -> Iterator[AzureServer]:
    with azurite() as server:
        yield server


@pytest.fixture(scope="session")
def google_server() -> Iterator[GcsServer]:
    with gcs_server() as server:
        yield server


def server_for(kind: str, request: pytest.FixtureRequest) -> S3Server | AzureServer | GcsServer | None:
    """The server that a mount of this kind needs; None for a local one."""
    if kind in REMOTE:
        server: S3Server = request.getfixturevalue("s3_server")
        return server
    if kind in AZURE:
        emulator: AzureServer = request.getfixturevalue("azure_server")
        return emulator
    if kind in GCS:
        google: GcsServer = request.getfixturevalue("google_server")
        return google
    return None


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[BucketClient]:
    """A fresh bucket, seen from outside."""
    with s3_server.client(f"fresh-{next(_numbers)}") as client:
        yield client.create()


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[Proxy]:
    """The same S3 server at an address that can fail."""
    with proxy_to(s3_server.endpoint) as relay:
        yield relay


@pytest.fixture
def fresh_store(request: pytest.FixtureRequest, storemount: Storemount) -> Iterator[Callable[[str], Outside]]:
    """Makes an empty store of a kind, for a test that mounts for itself."""
    made: list[Outside] = []

    def make(kind: str) -> Outside:
        server = server_for(kind, request)
        made.append(open_outside(kind, storemount.home, server, f"fresh-{next(_numbers)}"))
        return made[-1]

    yield make
    for view in made:
        view.close()


@pytest.fixture
def outside(kind: str, fresh_store: Callable[[str], Outside]) -> Outside:
    """An empty store of this kind, seen from outside."""
    return fresh_store(kind)


@pytest.fixture
def relay(kind: str, request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """The server of this kind of store at an address that can fail."""
    server = server_for(kind, request)
    assert server is not None
    with proxy_to(server.endpoint) as made:
        yield made


@pytest.fixture(scope="module")
def subject(request: pytest.FixtureRequest, home: Path, storemount: Storemount) -> Iterator[Subject]:
    """A plain directory or a fresh store of one kind, mounted once for the module."""
    kind: str = request.param
    # Numbered: a worker that takes over what another one has left may come back to a module.
    name = f"{Path(request.path).stem.removeprefix('test_').replace('_', '-')}-{kind}-{next(_numbers)}"
    planted = getattr(request.module, "PLANTED", 0)
    if kind == PLAIN:
        folder = Folder(home / name)
        folder.root.mkdir()
        yield Subject(kind, folder.root, planted=plant(folder, planted))
        return
    if kind == MEMORY:
        with mounted(Mount(storemount, "memory://", getattr(request.module, "MOUNT_OPTIONS", ()))) as mount:
            yield Subject(kind, mount.point, mount=mount, planted=plant_within(mount, planted))
        return
    server = server_for(kind, request)
    outside = open_outside(kind, home, server, name)
    keys = plant(outside, planted)
    try:
        with mounted(mount_of(storemount, kind, outside, getattr(request.module, "MOUNT_OPTIONS", ()))) as mount:
            yield Subject(kind, mount.point, outside, mount, keys)
    finally:
        outside.close()


@pytest.fixture
def root(subject: Subject, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A fresh directory in the subject. The mount's daemon says nothing unexpected while the test runs, and does not hang."""
    name = re.sub(r"\W+", "-", request.node.originalname)[:60]
    if subject.mount is None:
        yield _made(subject.root / f"{next(_numbers):04}-{name}")
        return
    with subject.mount.watched(HUNG):
        yield _made(subject.root / f"{next(_numbers):04}-{name}")
    assert not (said := subject.mount.complaints()), f"the daemon complained: {said}"


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
