"""The stores of the crash tests: each test has a home, a store and a mount (not started) of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.crash.cycle import Ordeal, ordeal
from tests.support.command import Storemount
from tests.support.mounting import REMOTE, mount_of, open_outside, temporary_home
from tests.support.servers import S3Server, moto_server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One S3 server for the session; it starts when the first test needs it."""
    with moto_server() as server:
        yield server


@pytest.fixture
def home() -> Iterator[Path]:
    with temporary_home() as folder:
        yield folder


@pytest.fixture
def trial_of(request: pytest.FixtureRequest, home: Path) -> Iterator[Callable[..., Ordeal]]:
    """Makes an ordeal over an empty store of a kind: `trial_of(kind, seed, *mount options, writers=2)`."""
    with ExitStack() as stack:

        def make(kind: str, seed: int, *options: str, writers: int = 2) -> Ordeal:
            server = request.getfixturevalue("s3_server") if kind in REMOTE else None
            outside = open_outside(kind, home, server, f"crash-{next(_numbers)}")
            stack.callback(outside.close)
            mount = mount_of(Storemount(home), kind, outside, options)
            return stack.enter_context(ordeal(mount, outside, home / "logs", seed, writers=writers))

        yield make
