"""Names in a store that keeps symbolic links, and what a listing, a size or a removal leaves out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storemount.api.keys import key_below
from storemount.api.keyspace import Keyspace
from storemount.api.volume import Entry
from storemount.errors import AlreadyExists, Changed, Forbidden, NotADirectory, NotFound, TooManyLinks
from storemount.stores.base import Artifact, Source
from storemount.stores.local import LocalStore
from storemount.stores.memory import MemoryStore


@pytest.mark.parametrize(
    ("path", "key"), [("", ""), ("a", "a"), ("/a//b/", "a/b"), ("./a/.", "a"), ("a/../b", "b"), ("a/b/../..", ""), ("a/..b", "a/..b")]
)
def test_a_path_is_a_key(path: str, key: str) -> None:
    assert key_below(path) == key


@pytest.mark.parametrize("path", ["..", "../a", "a/../..", "a/../../a", "/.."])
def test_a_path_that_leads_out_is_none(path: str) -> None:
    with pytest.raises(Forbidden, match="leads out"):
        key_below(path)


@pytest.fixture
def linked(tmp_path: Path) -> Keyspace:
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/t").write_text("1")
    for name, target in {
        "file": "d/e/t",
        "dir": "d/e",
        "d/up": "../d/./e",
        "twice": "file",
        "loop": "loop",
        "out": "/etc",
        "dead": "no",
    }.items():
        (tmp_path / name).symlink_to(target)
    (tmp_path / "beyond").symlink_to("../..")
    return Keyspace(LocalStore(os.fspath(tmp_path)))


async def test_links_are_followed_within_the_store(linked: Keyspace) -> None:
    assert {key: (await linked.file(key)).key for key in ("file", "twice", "dir/t", "d/up/t")} == {
        "file": "d/e/t",
        "twice": "d/e/t",
        "dir/t": "dir/t",  # this store's own disk follows those on the way
        "d/up/t": "d/up/t",
    }
    assert (await linked.found("dir"))[1].artifact is None
    for key, kind in {"loop": TooManyLinks, "out": Forbidden, "beyond": Forbidden, "dead": NotFound, "file/x": NotADirectory}.items():
        with pytest.raises(kind):
            await linked.found(key)


async def test_a_listing_says_what_links_lead_to(linked: Keyspace) -> None:
    entries = {entry.name: entry async for page in linked.pages("") for entry in page}
    assert entries["dir"] == Entry("dir", True, is_link=True)
    assert {name for name, entry in entries.items() if entry.is_dir} == {"d", "dir"}
    assert {name for name, entry in entries.items() if entry.is_link} == {"beyond", "dead", "dir", "file", "loop", "out", "twice"}


async def test_a_link_itself_is_removed_and_renamed(linked: Keyspace, tmp_path: Path) -> None:
    await linked.remove("file")
    await linked.rename("dir", "other", replace=False)
    with pytest.raises(NotADirectory):
        await linked.remove_tree("other")
    assert (tmp_path / "d/e/t").exists() and os.readlink(tmp_path / "other") == "d/e"


async def test_what_cannot_be_mapped_has_no_size() -> None:
    store = MemoryStore()
    for key in ("d/t", "d//hidden", "d/../up", "d/e/u", "d/.storemount-1.part"):
        store._put(key, b"12345")
    space = Keyspace(store)
    assert await space.size("d") == 10
    assert [entry async for page in space.pages("d") for entry in page] == [Entry("e", True), Entry("t", False)]
    assert await space.look("d//hidden") is None
    with pytest.raises(NotFound):
        await space.remove("d/../up")


class LosesAnswers(MemoryStore):
    """Each write is tried again by the client library, as its first answer was lost."""

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        await super().write(key, source, over=over, absent=absent)
        return await super().write(key, source, over=over, absent=absent)


async def test_S9_a_lost_answer_is_not_a_conflict(tmp_path: Path) -> None:
    store = LosesAnswers()
    old = store._put("t", b"old")
    source = Source(os.fspath(tmp_path / "new"), 3)
    (tmp_path / "new").write_bytes(b"new")
    space = Keyspace(store)
    await space.publish("t", source, over=old)
    assert store._objects["t"][1] == b"new"
    with pytest.raises(AlreadyExists):
        await space.publish("u", source, absent=True)
    store._put("t", b"abc")
    with pytest.raises(Changed):
        await space.publish("t", source, over=old)
