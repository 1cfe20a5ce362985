"""The suite as an ordinary user: the daemon, the mount and the programs on it have no rights that root has.

A mount belongs to whoever made it, so the whole test run changes its user: a second pytest, on a chosen part of the suite.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ordinary import as_user, home_of_nobody, readable_copy, readable_python

CHOSEN = {
    "local": ("directories", "open_flags", "rename", "metadata", "locks", "mmap", "databases", "store_view"),
    "s3-native": ("writes", "rename", "metadata", "programs"),
}
"""Whatever an ordinary user could be refused, and once each kind of store."""

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="the run is an ordinary user's already")


@pytest.fixture
def user_home() -> Iterator[Path]:
    with home_of_nobody() as home:
        yield home


@pytest.mark.timeout(450)
@pytest.mark.parametrize("kind", CHOSEN)
def test_the_suite_as_an_ordinary_user(kind: str, user_home: Path) -> None:
    checkout = readable_copy(user_home)
    python, packages = readable_python(user_home)
    chosen = [str(checkout / f"tests/mount/test_{name}.py") for name in CHOSEN[kind]]
    # What only takes long is not what a user could be refused.
    words = (
        "-m",
        "pytest",
        "-q",
        "-k",
        "not ten_thousand and not very_deep",
        "-p",
        "no:cacheprovider",
        "--subjects",
        kind,
        "--rootdir",
        str(checkout),
        *chosen,
    )
    done = as_user(python, *words, home=user_home, path=f"{checkout}:{packages}")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) > 60, done.stdout[-500:]
