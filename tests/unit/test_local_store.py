"""What only the local store promises (S3, S4, S6, S9): whole files by rename, versions by inode, an unmounted disk that is not an empty
one, conditions up to the last moment."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from storemount.errors import AlreadyExists, Changed, Corrupt, MissingStore, NotFound, OtherStore, refused_for_good
from storemount.stores import local
from storemount.stores.base import EMPTY, Artifact, Meta, Source
from storemount.stores.local import LocalStore
from storemount.stores.relocation import Relocation
from tests.support.readme import told


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(str(root))


def source(tmp_path: Path, data: bytes = b"data", *, movable: bool = False, mode: int | None = None) -> Source:
    path = tmp_path / "source"
    path.write_bytes(data)
    return Source(str(path), len(data), movable=movable, meta=Meta(mode=mode, mtime_ns=1_000_000_000))


async def names(store: LocalStore, prefix: str = "") -> list[str]:
    return sorted([child.name async for page in store.list(prefix) for child in page])


async def test_S6_a_movable_source_is_renamed_into_place_and_its_bytes_are_written_once(
    store: LocalStore, root: Path, tmp_path: Path
) -> None:
    staged = source(tmp_path, movable=True, mode=stat.S_IFREG | 0o640)
    inode = os.stat(staged.path).st_ino
    artifact = await store.write("d/f", staged)
    status = os.stat(root / "d" / "f")
    assert (status.st_ino, status.st_mtime_ns, stat.S_IMODE(status.st_mode)) == (inode, 1_000_000_000, 0o640)
    assert os.listdir(tmp_path) == ["root"]
    assert await store.read(artifact, 0, 4) == b"data"


@contextmanager
def mounted(point: Path, *words: str) -> Iterator[None]:
    subprocess.run(["mount", *words, point], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", point], check=True)


only_root = pytest.mark.skipif(os.getuid() != 0, reason="only root mounts")


@only_root
@pytest.mark.parametrize("absent", [False, True])
async def test_S6_a_staged_file_comes_from_another_mount_of_the_same_file_system(
    store: LocalStore, root: Path, tmp_path: Path, absent: bool
) -> None:
    """As from a volume of a container: the device is the same, and rename(2) says EXDEV."""
    staging = tmp_path / "staging"
    (tmp_path / "volume").mkdir()
    staging.mkdir()
    with mounted(staging, "--bind", str(tmp_path / "volume")):
        for name in ("f", "g"):
            staged = source(staging, movable=True)
            assert os.stat(staged.path).st_dev == os.stat(root).st_dev
            artifact = await store.write(name, staged, absent=absent)
            assert (root / name).read_bytes() == b"data"
            assert await store.read(artifact, 0, 4) == b"data"
    assert sorted(os.listdir(root)) == ["f", "g"]


@only_root
async def test_S10_a_file_is_renamed_into_another_file_system_below_the_store(store: LocalStore, root: Path, tmp_path: Path) -> None:
    (root / "sub").mkdir()
    with mounted(root / "sub", "-t", "tmpfs", "none"):
        made = await store.write("f", source(tmp_path, mode=stat.S_IFREG | 0o640))
        moved = await Relocation(store).file(made, "sub/f", doubtful=False)
        assert moved is not None and moved[0] == made
        assert moved[1] == (await store.stat("sub/f")).artifact
        assert not (root / "f").exists()
        status = os.stat(root / "sub/f")
        assert ((root / "sub/f").read_bytes(), stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (b"data", 0o640, 1_000_000_000)


@only_root
async def test_S10_a_directory_is_not_renamed_into_another_file_system_below_the_store(store: LocalStore, root: Path) -> None:
    (root / "sub").mkdir()
    (root / "d").mkdir()
    with mounted(root / "sub", "-t", "tmpfs", "none"):
        with pytest.raises(OtherStore, match="different file systems") as caught:
            await Relocation(store).rename("d/", "sub/d/", doubtful=False)
        assert refused_for_good(caught.value)
        assert told("lie in different file systems of the store's machine; move the files, then retry", str(caught.value))
        assert (root / "d").is_dir() and not (root / "sub/d").exists()
        shutil.move(root / "d", root / "sub/d")
        await Relocation(store).rename("d/", "sub/d/", doubtful=True)
        with pytest.raises(NotFound):
            await Relocation(store).rename("d/", "sub/d/", doubtful=False)


@only_root
async def test_S9_what_was_put_there_while_a_file_was_copied_is_not_removed(
    store: LocalStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "sub").mkdir()
    with mounted(root / "sub", "-t", "tmpfs", "none"):
        made = await store.write("f", source(tmp_path))
        copy = store.copy

        async def overtaken(artifact: Artifact, key: str) -> Artifact:
            copied = await copy(artifact, key)
            if artifact == made:
                (root / "theirs").write_bytes(b"theirs, and newer")
                (root / "theirs").rename(root / "f")
            return copied

        monkeypatch.setattr(store, "copy", overtaken)
        moved = await Relocation(store).file(made, "sub/f", doubtful=False)
        assert moved is not None and moved[0] != made
        assert (root / "sub/f").read_bytes() == b"theirs, and newer"


async def test_a_source_that_may_not_be_moved_stays(store: LocalStore, root: Path, tmp_path: Path) -> None:
    staged = source(tmp_path)
    artifact = await store.write("f", staged)
    assert sorted(os.listdir(tmp_path)) == ["root", "source"]
    assert artifact == (await store.stat("f")).artifact
    assert os.listdir(root) == ["f"]


@pytest.mark.parametrize("movable", [True, False])
async def test_S6_a_source_that_is_too_short_publishes_nothing(store: LocalStore, root: Path, tmp_path: Path, movable: bool) -> None:
    staged = source(tmp_path)
    with pytest.raises(Corrupt):
        await store.write("f", Source(staged.path, 100, movable=movable))
    with pytest.raises(Corrupt):
        await store.write("f", Source(str(tmp_path / "absent"), 0, movable=movable))
    assert os.listdir(root) == []


async def test_unfinished_copies_are_shown_to_nobody(store: LocalStore, root: Path) -> None:
    (root / ".storemount-abc.part").write_bytes(b"half")
    (root / ".storemount-abc").write_bytes(b"a user's own")
    assert await names(store) == [".storemount-abc"]
    with pytest.raises(NotFound):
        await store.stat(".storemount-abc.part")


async def test_S4_a_version_is_gone_when_the_file_is_edited_in_place_or_replaced(store: LocalStore, root: Path, tmp_path: Path) -> None:
    first = await store.write("f", source(tmp_path))
    (root / "f").write_bytes(b"edit")
    with pytest.raises(Changed):
        await store.read(first, 0, 4)
    second = (await store.stat("f")).artifact
    assert second is not None and second.version != first.version
    await store.write("f", source(tmp_path, b"DATA"))
    with pytest.raises(Changed):
        store.open_local(second)
    with pytest.raises(Changed):
        await store.copy(second, "g")
    assert not (root / "g").exists()


async def test_S4_a_rename_keeps_the_version(store: LocalStore, tmp_path: Path) -> None:
    artifact = await store.write("d/f", source(tmp_path))
    await store.rename("d/", "e/")
    moved = (await store.stat("e/f")).artifact
    assert moved == Artifact("e/f", artifact.version, artifact.size, artifact.mtime_ns)


async def test_S3_a_root_that_has_gone_is_a_missing_store_and_not_an_empty_one(store: LocalStore, root: Path, tmp_path: Path) -> None:
    await store.write("d/f", source(tmp_path))
    with pytest.raises(NotFound):
        await store.stat("absent")
    with pytest.raises(NotFound):
        await names(store, "absent/")
    shutil.rmtree(root)
    with pytest.raises(MissingStore):
        await store.stat("d/f")
    for prefix in ("", "d/"):
        with pytest.raises(MissingStore):
            await names(store, prefix)
    with pytest.raises(MissingStore):
        await store.check()


def meddle(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Somebody else writes `path` while ours is made ready, after the first look at the condition."""

    def intrude(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any) -> Any:
            path.write_bytes(b"theirs, in time")
            return change(*args)

        return changed

    for name in ("finish", "partial_file"):
        monkeypatch.setattr(local, name, intrude(getattr(local, name)))


@pytest.mark.parametrize("movable", [True, False])
@pytest.mark.parametrize("absent", [True, False])
async def test_S9_what_another_wrote_at_the_last_moment_stays(
    store: LocalStore, root: Path, tmp_path: Path, movable: bool, absent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = None if absent else await store.write("f", source(tmp_path))
    meddle(monkeypatch, root / "f")
    with pytest.raises(AlreadyExists if absent else Changed):
        await store.write("f", source(tmp_path, b"ours", movable=movable), over=base, absent=absent)
    assert (root / "f").read_bytes() == b"theirs, in time"
    assert os.listdir(root) == ["f"]
    assert (tmp_path / "source").read_bytes() == b"ours"


async def test_S9_a_movable_source_is_moved_on_a_condition_too(store: LocalStore, root: Path, tmp_path: Path) -> None:
    for condition in ({"absent": True}, {"over": None}):
        staged = source(tmp_path, movable=True)
        inode = os.stat(staged.path).st_ino
        if "over" in condition:
            condition = {"over": (await store.stat("f")).artifact}
        await store.write("f", staged, **condition)
        assert os.stat(root / "f").st_ino == inode
        assert os.listdir(tmp_path) == ["root"]


async def test_S9_a_root_that_has_gone_is_no_conflict(store: LocalStore, root: Path, tmp_path: Path) -> None:
    base = await store.write("f", source(tmp_path))
    shutil.rmtree(root)
    for condition in ({"over": base}, {"absent": True}):
        with pytest.raises(MissingStore):
            await store.write("f", source(tmp_path), **condition)
    assert os.listdir(tmp_path) == ["source"]


async def test_S9_symbolic_links_go_up_on_a_condition(store: LocalStore, root: Path, tmp_path: Path) -> None:
    mode = stat.S_IFLNK | 0o777
    made = await store.write("link", source(tmp_path, b"one", mode=mode), absent=True)
    with pytest.raises(AlreadyExists):
        await store.write("link", source(tmp_path, b"two", mode=mode), absent=True)
    await store.write("link", source(tmp_path, b"three", mode=mode), over=made)
    with pytest.raises(Changed):
        await store.write("link", source(tmp_path, b"four", mode=mode), over=made)
    assert os.readlink(root / "link") == "three"
    assert os.listdir(root) == ["link"]


async def test_S6_a_sweep_is_of_the_folder_of_the_key(store: LocalStore, root: Path, tmp_path: Path) -> None:
    await store.write("d/f", source(tmp_path))
    for place in (root, root / "d"):
        (place / ".storemount-dead.part").write_bytes(b"half")
    await store.sweep("d/f")
    assert sorted(os.listdir(root)) == [".storemount-dead.part", "d"]
    assert os.listdir(root / "d") == ["f"]
    await store.sweep("d/")
    assert os.listdir(root) == ["d"]


async def test_S12_each_part_of_the_metadata_by_itself(store: LocalStore, root: Path, tmp_path: Path) -> None:
    made = await store.write("f", source(tmp_path, mode=stat.S_IFREG | 0o640))
    same = await store.annotate(made, Meta())
    assert (same, same.mode) == (made, made.mode)
    unreadable = await store.annotate(made, Meta(mode=0))
    assert (unreadable, unreadable.mode) == (made, stat.S_IFREG)
    later = await store.annotate(unreadable, Meta(mtime_ns=5_000_000_123))
    assert (later.mtime_ns, later.mode, later.size) == (5_000_000_123, stat.S_IFREG, 4)
    assert os.stat(root / "f").st_mtime_ns == 5_000_000_123
    assert later.version != made.version


async def test_S12_another_version_gets_no_metadata(store: LocalStore, root: Path, tmp_path: Path) -> None:
    made = await store.write("f", source(tmp_path))
    await store.write("f", source(tmp_path, b"theirs", mode=stat.S_IFREG | 0o640))
    before = os.stat(root / "f")
    with pytest.raises(Changed):
        await store.annotate(made, Meta(mode=0o600, mtime_ns=7))
    after = os.stat(root / "f")
    assert (after.st_mode, after.st_mtime_ns, after.st_ctime_ns) == (before.st_mode, before.st_mtime_ns, before.st_ctime_ns)
    for gone in (Artifact("absent", made.version, 4, 0), Artifact("f/below", made.version, 4, 0)):
        with pytest.raises(Changed):
            await store.annotate(gone, Meta(mode=0o600, mtime_ns=7))


async def test_S12_a_link_has_a_time_and_no_mode_of_its_own(store: LocalStore, root: Path, tmp_path: Path) -> None:
    (root / "target").write_bytes(b"not this")
    before = os.stat(root / "target")
    link = await store.write("link", source(tmp_path, b"target", mode=stat.S_IFLNK | 0o777))
    given = await store.annotate(link, Meta(mode=stat.S_IFLNK | 0o600, mtime_ns=7_000_000_000))
    assert given.is_symlink and given.mode == link.mode
    assert os.lstat(root / "link").st_mtime_ns == 7_000_000_000
    after = os.stat(root / "target")
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


async def test_S13_what_is_neither_file_directory_nor_link_is_hidden(store: LocalStore, root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "f").touch()
    assert await names(store) == ["f"]
    with pytest.raises(NotFound):
        await store.stat("pipe")


async def test_S12_a_symbolic_link_is_an_artifact_whose_bytes_are_its_target(store: LocalStore, root: Path, tmp_path: Path) -> None:
    (root / "target").write_bytes(b"not this")
    link = await store.write("link", source(tmp_path, b"target", mode=stat.S_IFLNK | 0o777))
    assert os.readlink(root / "link") == "target"
    assert link.is_symlink
    assert await store.read(link, 0, link.size) == b"target"
    await store.copy(link, "other")
    assert os.readlink(root / "other") == "target"
    await store.delete(["link"])
    assert (root / "target").read_bytes() == b"not this"


async def test_deleting_what_is_gone_is_no_error_and_a_directory_goes_when_empty(store: LocalStore, root: Path, tmp_path: Path) -> None:
    await store.write("d/", EMPTY)
    await store.write("f", source(tmp_path))
    await store.delete(["absent", "absent/", "no/such/folder", "d/"])
    assert os.listdir(root) == ["f"]


async def test_a_listing_comes_in_pages_and_shows_each_name_once(store: LocalStore, root: Path) -> None:
    for number in range(2500):
        (root / str(number)).touch()
    pages = [len(page) async for page in store.list("")]
    assert pages == [1000, 1000, 500]
    assert len(await names(store)) == 2500


async def test_a_recursive_listing_has_directories_as_markers(store: LocalStore, tmp_path: Path) -> None:
    await store.write("d/e/f", source(tmp_path))
    await store.write("d/empty/", EMPTY)
    rows = [child.name async for page in store.list("", recursive=True) for child in page]
    assert sorted(rows) == ["d/", "d/e/", "d/e/f", "d/empty/"]


async def test_names_that_are_not_utf8_are_kept(store: LocalStore, root: Path, tmp_path: Path) -> None:
    key = os.fsdecode(b"caf\xe9")
    await store.write(key, source(tmp_path))
    assert os.listdir(os.fsencode(root)) == [b"caf\xe9"]
    assert await names(store) == [key]


async def test_the_uri_is_one_that_other_tools_read() -> None:
    assert LocalStore("/a b/é").uri == "file:///a%20b/%C3%A9"
