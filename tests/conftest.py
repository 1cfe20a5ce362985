"""Options of the whole suite, and what has to hold after it: nothing that was mounted here stays mounted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--subjects", default="", help="run the mount suite only on these, separated by commas (plain,local,s3-native,s3-fsspec)"
    )
    parser.addoption("--load-seconds", type=float, default=20.0, help="how long the load test works on a local store")


def _storemounts() -> set[str]:
    return {line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "fuse.storemount" in line}


@pytest.fixture(scope="session", autouse=True)
def nothing_stays_mounted() -> Iterator[None]:
    """No storemount is left that was not there before."""
    before = _storemounts()
    yield
    assert _storemounts() <= before
