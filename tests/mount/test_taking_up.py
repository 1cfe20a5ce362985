"""What a daemon had promised when it ended is taken up by the next mount of the store, wherever that is (S7, S8)."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from storemount.errors import ExitCode
from tests.support.command import Storemount
from tests.support.holding import held
from tests.support.mounting import REMOTE, STORES, Mount, bucket_mount, mount_of, mounted
from tests.support.outside import Outside, contents
from tests.support.proxy import Proxy
from tests.support.readme import told
from tests.support.servers import BucketClient
from tests.support.waiting import synced

SUBJECTS = STORES
DATA = b"closed, so it must not be lost" * 1000


@pytest.fixture
def outside(kind: str, fresh_store: Callable[[str], Outside]) -> Outside:
    return fresh_store(kind)


@contextmanager
def killed(mount: Mount, path: str = "d/precious") -> Iterator[Mount]:
    """The mount, dead: its daemon was killed when `path` had been closed, with DATA, and had not gone up."""
    with mounted(mount):
        (mount.point / path).parent.mkdir(parents=True, exist_ok=True)
        with held(mount.point / path, DATA):
            mount.kill()
        yield mount


@contextmanager
def restarted(mount: Mount) -> Iterator[Mount]:
    """Whoever made the mount stops it."""
    mount.start()
    yield mount


@pytest.mark.parametrize("same", [True, False], ids=["same place", "another place"])
def test_S7_what_a_killed_daemon_had_promised_is_taken_up(kind: str, outside: Outside, storemount: Storemount, same: bool) -> None:
    """It is there as soon as the mount is, and goes up by itself; what was written after the close is not part of it."""
    with killed(mount_of(storemount, kind, outside)) as dead:
        assert "d/precious" not in contents(outside, "")
        with restarted(dead) if same else mounted(Mount(storemount, dead.store, dead.options)) as mount:
            assert (mount.point / "d/precious").read_bytes() == DATA
            assert mount.status()["taken_up"] > 0
            assert (mount.point / "next").write_bytes(b"works") == 5
            storemount.must("flush", str(mount.point))
            assert contents(outside, "") == {"d/precious": DATA, "next": b"works"}


def test_S6_what_was_never_closed_is_not_taken_up(kind: str, outside: Outside, storemount: Storemount) -> None:
    with mounted(mount_of(storemount, kind, outside)) as mount:
        descriptor = os.open(mount.point / "unfinished", os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
        os.write(descriptor, b"half of it")
        mount.kill()
        with pytest.raises(OSError, match="not connected"):
            os.close(descriptor)
        mount.start()
        assert os.listdir(mount.point) == []
    assert contents(outside, "") == {}


@pytest.mark.parametrize("kind", REMOTE)
def test_S10_names_are_taken_up_too(kind: str, bucket: BucketClient, proxy: Proxy, storemount: Storemount) -> None:
    """Whatever was done to names while the store was away is seen by the next mount at once, and comes to the store after it."""
    for key in ("kept", "d/a", "d/b", "e/removed", "e/moved"):
        bucket.put(key, key.encode())
    mount = bucket_mount(storemount, kind, bucket, ("--deadline", "2s", "--ttl", "60s"), {"endpoint": proxy.endpoint})
    mount.expect(r"WARNING storemount\.writeback\.worker")
    with mounted(mount):
        point = mount.point
        assert [os.listdir(point / name) for name in ("", "d", "e")]
        proxy.refuse()
        (point / "d").rename(point / "new")
        (point / "e/removed").unlink()
        (point / "e/moved").rename(point / "new/moved")
        (point / "e").rmdir()
        (point / "made").mkdir()
        (point / "made/file").write_bytes(b"new")
        mount.kill()
        proxy.become(proxy.forward)
        mount.start()
        assert sorted(os.listdir(point)) == ["kept", "made", "new"]
        assert sorted(os.listdir(point / "new")) == ["a", "b", "moved"]
        assert (point / "new/moved").read_bytes() == b"e/moved"
        storemount.must("flush", str(point))
        assert set(bucket.list()) - {"made/", "new/"} == {"kept", "made/file", "new/a", "new/b", "new/moved"}


@pytest.mark.parametrize("kind", REMOTE)
def test_S8_what_a_stop_had_no_time_for_is_taken_up(kind: str, bucket: BucketClient, proxy: Proxy, storemount: Storemount) -> None:
    options = ("--deadline", "4s", "--drain-timeout", "2s")
    mount = bucket_mount(storemount, kind, bucket, options, {"endpoint": proxy.endpoint})
    mount.expect(r"WARNING storemount\.writeback\.worker")
    mount.expect("stopped with 1 changes not in the store")
    with mounted(mount):
        assert os.listdir(mount.point) == []
        proxy.refuse()
        (mount.point / "precious").write_bytes(DATA)
        done = storemount.run("unmount", str(mount.point))
        assert done.returncode == ExitCode.NOT_DRAINED
        assert "1 change did not reach the store; the next mount of the store takes it up:\n  precious: " in done.stderr
        mount.gone()
        assert mount.complaints() == []
        proxy.become(proxy.forward)
        mount.start()
        assert mount.status()["taken_up"] == 1
        assert (mount.point / "precious").read_bytes() == DATA
    assert bucket.get("precious") == DATA


@pytest.mark.parametrize("kind", REMOTE)
def test_S8_an_unmount_that_does_not_wait_leaves_the_daemon_at_it(
    kind: str, bucket: BucketClient, proxy: Proxy, storemount: Storemount
) -> None:
    options = ("--deadline", "2s", "--ttl", "60s")
    mount = bucket_mount(storemount, kind, bucket, options, {"endpoint": proxy.endpoint})
    mount.expect(r"WARNING storemount\.writeback\.worker")
    with mounted(mount):
        assert os.listdir(mount.point) == []
        proxy.refuse()
        (mount.point / "precious").write_bytes(DATA)
        done = storemount.run("unmount", str(mount.point), "--timeout", "0")
        assert done.returncode == ExitCode.NOT_DRAINED and "still going up in the background" in done.stderr
        proxy.become(proxy.forward)
        mount.gone()
        assert bucket.get("precious") == DATA


def test_S16_a_dead_mount_that_is_cleaned_says_who_goes_on(kind: str, outside: Outside, storemount: Storemount) -> None:
    with killed(mount_of(storemount, kind, outside)) as mount:
        done = storemount.run("unmount", str(mount.point))
        assert done.returncode == ExitCode.NOT_DRAINED
        assert f"the next mount of {mount.store} takes them up" in done.stderr
        assert not mount.mounted
        mount.start()
        assert (mount.point / "d/precious").read_bytes() == DATA
    assert outside.get("d/precious") == DATA


def test_S7_an_edit_over_what_the_store_has_is_taken_up_whole(kind: str, outside: Outside, storemount: Storemount) -> None:
    """The rest of the file comes from the version that it was based on."""
    large = os.urandom(1 << 20)
    outside.put("large", large)
    with mounted(mount_of(storemount, kind, outside)) as mount:
        with held(mount.point / "other", b""), open(mount.point / "large", "r+b") as file:
            file.seek(1000)
            file.write(b"edited")
            file.close()
            mount.kill()
        mount.start()
        expected = large[:1000] + b"edited" + large[1006:]
        assert (mount.point / "large").read_bytes() == expected
        synced(mount.point / "large")
        assert outside.get("large") == expected


# journals that cannot be used


def slots(storemount: Storemount) -> set[Path]:
    return set((storemount.home / "state/storemount/staging").glob("*"))


@pytest.fixture
def slot(outside: Outside, kind: str, storemount: Storemount) -> Iterator[tuple[Mount, Path]]:
    """A mount of the store (not started), and the folder in which an earlier one has left something."""
    before = slots(storemount)
    with killed(mount_of(storemount, kind, outside)) as mount:
        storemount.run("unmount", str(mount.point))
        (folder,) = slots(storemount) - before
        yield mount, folder
        shutil.rmtree(folder, ignore_errors=True)


def garbage(journal: Path) -> None:
    journal.with_name(journal.name + "-wal").unlink(missing_ok=True)
    journal.write_bytes(b"this is no database\n" * 500)


def newer(journal: Path) -> None:
    with closing(sqlite3.connect(journal)) as database:
        database.execute("PRAGMA user_version = 1000")


def senseless(journal: Path) -> None:
    with closing(sqlite3.connect(journal, isolation_level=None)) as database:
        database.execute("UPDATE changes SET detail = '{\"layers\": [{\"what\": 1}]}' WHERE kind = 'put'")


@pytest.mark.parametrize("kind", ["local"])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (garbage, "cannot be read as a journal"),
        (newer, "was written by a newer storemount"),
        (senseless, "row [0-9]+ of the journal cannot be read"),
    ],
)
def test_S16_a_journal_that_cannot_be_used_is_refused(
    slot: tuple[Mount, Path], storemount: Storemount, outside: Outside, spoil: Callable[[Path], None], says: str
) -> None:
    """One line, its own exit code, and nothing is touched; with the folder moved away the store can be mounted."""
    mount, folder = slot
    spoil(folder / "journal.sqlite")
    kept = {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith("0")}
    done = storemount.run("mount", mount.store, str(mount.point))
    assert (done.returncode, done.stdout) == (ExitCode.JOURNAL_UNUSABLE, "")
    assert done.stderr.startswith("storemount: ") and done.stderr.count("\n") == 1
    assert str(folder) in done.stderr
    assert re.search(says, done.stderr), done.stderr
    if spoil is garbage:
        assert told("cannot be read as a journal", done.stderr)
    if spoil is newer:
        assert told("was written by a newer storemount", done.stderr)
    assert kept and {name: (folder / name).read_bytes() for name in kept} == kept
    folder.rename(folder.with_name("moved-away"))
    try:
        mount.start()
        assert os.listdir(mount.point) == os.listdir(storemount.home / Path(mount.store).name)
        mount.stop()
    finally:
        shutil.rmtree(folder.with_name("moved-away"))
