"""Patterns and large directories."""

from __future__ import annotations

import glob
import os
import tracemalloc
from collections.abc import AsyncGenerator, Sequence
from itertools import islice
from pathlib import Path

import pytest

from storemount.api.fileapi import FileApi
from storemount.api.portal import Portal
from storemount.api.session import Target
from storemount.api.storevolume import StoreVolume
from storemount.stores.base import Artifact, Child
from storemount.stores.memory import MemoryStore
from tests.fileio.conftest import Where, place

NAMES = ["t.txt", "a/t.txt", "a/b/c/t.txt", "a/b/u.bin", ".hidden/t.txt", "a/.t.txt", "[x]/t.txt", "ab/t.txt"]
PATTERNS = ["*", "*.txt", "*/*.txt", "**/*.txt", "**", "a/**", "a/**/", "a*/t.txt", "**/b/*", "a/b/", "?/t.txt", "[ab]/t.txt", "[[]x]/*"]
PATTERNS += [".*", ".*/*", "a/.*", "no/*", "t.txt/*", "t.txt", "a/", "t.txt/", "no", "**/**/t.txt", "a/*/", "**/c/**", "*/b/c/t.*"]


@pytest.fixture
def same(where: Where, tmp_path: Path) -> Path:
    """The same names there and on the disk."""
    for name in NAMES:
        where.write(name)
        (tmp_path / "same" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "same" / name).write_text("")
    return tmp_path / "same"


def test_patterns_mean_what_they_mean_in_python(where: Where, same: Path) -> None:
    for pattern in PATTERNS:
        ours = [path[len(where.root) + 1 :] for path in where.api.glob(where.path(pattern))]
        pythons = [path[len(str(same)) + 1 :] for path in glob.glob(f"{same}/{pattern}", recursive=True)]
        assert sorted(ours) == sorted(set(pythons)), pattern


def test_a_pattern_on_this_machine_can_be_relative(tmp_path: Path, api: FileApi, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b/t").write_text("")
    monkeypatch.chdir(tmp_path)
    assert api.glob("*") == ["a b"] and api.glob("a*/*") == ["a b/t"] and api.glob(b"*") == [b"a b"]
    assert api.glob(f"file://{tmp_path}/a%20b/*") == [f"file://{tmp_path}/a%20b/t"]
    assert [folder for folder, _, _ in api.walk(f"file://{tmp_path}")] == [f"file://{tmp_path}", f"file://{tmp_path}/a%20b"]
    with pytest.raises(ValueError, match="absolute path of this machine"):
        api.exists("file://host/x")


class Endless(MemoryStore):
    """A directory without an end."""

    given = 0

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        while True:
            names = [f"f{number:09}" for number in range(self.given, self.given + 1000)]
            self.given += 1000
            yield [Child(name, Artifact(prefix + name, "v", 1, 0)) for name in names]


class Endlessly:
    """Leads everywhere into such a store."""

    def __init__(self) -> None:
        self.store = Endless()
        self.portal = Portal("endless")
        self.volume = StoreVolume("memory://", lambda forked: self.store, self.portal)

    def locate(self, path: str) -> Target:
        return Target(self.volume, "")


def test_a_listing_is_never_whole_in_memory() -> None:
    """What goes on and on can be begun and left; any number of names takes no more room than a page of them."""
    place = Endlessly()
    api = FileApi(place)
    for verb in (api.iglob("memory://*"), api.find("memory://", lambda name: True)):
        assert len(list(islice(verb, 10))) == 10
        verb.close()  # type: ignore[attr-defined]
    before = place.store.given
    found = api.find("memory://", lambda name: True)
    tracemalloc.start()
    try:
        for _ in islice(found, 50_000):
            pass
        assert tracemalloc.get_traced_memory()[1] < 2 * 2**20
    finally:
        tracemalloc.stop()
    found.close()  # type: ignore[attr-defined]
    assert place.store.given - before >= 50_000
    place.portal.close()


def test_a_directory_of_many_pages(request: pytest.FixtureRequest) -> None:
    where = place("memory", request)
    names = [f"{number:04}" for number in range(1100)]
    where.api.mkdir(where.path("many"))
    for name in names:
        with where.api.open(where.path("many", name), "x"):
            pass
    assert where.api.listdir(where.path("many")) == names
    assert [os.path.basename(path) for path in where.api.iglob(where.path("many/*"))] == names
    where.api.rename(where.path("many"), where.path("moved"))
    assert where.api.listdir(where.path("moved")) == names
    where.api.rmtree(where.path("moved"))
    assert where.tree() == {}
