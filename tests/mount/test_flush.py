"""Waiting for the store: `storemount flush`, what a close and an fsync wait for, and what is said meanwhile (S7, S8)."""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storemount.config import MIB, Places
from storemount.control.client import ask, socket_path
from storemount.errors import ExitCode
from tests.support.command import Storemount
from tests.support.holding import MORE, held
from tests.support.mounting import REMOTE, STORES, Mount, bucket_mount, mount_of, mounted
from tests.support.outside import Outside, contents
from tests.support.proxy import Proxy
from tests.support.servers import BucketClient
from tests.support.waiting import eventually, synced

SUBJECTS = STORES
FILES = 30


@pytest.fixture
def outside(kind: str, fresh_store: Callable[[str], Outside]) -> Outside:
    return fresh_store(kind)


@pytest.fixture
def mount(kind: str, outside: Outside, storemount: Storemount) -> Iterator[Mount]:
    with mounted(mount_of(storemount, kind, outside)) as running, running.watched(60):
        yield running


@pytest.fixture(params=REMOTE)
def failing(request: pytest.FixtureRequest, bucket: BucketClient, proxy: Proxy, storemount: Storemount) -> Iterator[Mount]:
    """A mounted bucket behind the proxy, whose root is known."""
    options = ("--deadline", "2s", "--ttl", "60s")
    with mounted(bucket_mount(storemount, request.param, bucket, options, {"endpoint": proxy.endpoint})) as running, running.watched(60):
        running.expect(r"WARNING storemount\.writeback\.worker")
        assert os.listdir(running.point) == []
        yield running


def flushed(storemount: Storemount, *words: str) -> tuple[int, str]:
    done = storemount.run("flush", *words)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_S7_flush_returns_when_the_store_has_it(mount: Mount, outside: Outside, storemount: Storemount) -> None:
    for number in range(3):
        expected = {f"d/{number}/{name}": os.urandom(1000) for name in range(FILES)}
        (mount.point / f"d/{number}").mkdir(parents=True)
        for key, data in expected.items():
            (mount.point / key).write_bytes(data)
        path = (str(mount.point / f"d/{number}"), str(mount.point), "")[number]
        assert flushed(storemount, *filter(None, [path])) == (ExitCode.OK, "")
        assert contents(outside, f"d/{number}") == expected
        assert mount.status()["pending"] == 0


def test_S7_flush_of_one_file_waits_for_nothing_else(mount: Mount, outside: Outside, storemount: Storemount) -> None:
    with held(mount.point / "slow", b"is still written"):
        (mount.point / "file").write_bytes(b"is done")
        assert flushed(storemount, str(mount.point / "file")) == (ExitCode.OK, "")
        assert outside.get("file") == b"is done"
        assert "slow" not in contents(outside, "")


def test_S7_flush_follows_a_file_to_the_name_it_has_now(mount: Mount, outside: Outside, storemount: Storemount) -> None:
    (mount.point / "old").mkdir()
    (mount.point / "old/file.tmp").write_bytes(b"data")
    (mount.point / "old/file.tmp").rename(mount.point / "old/file")
    (mount.point / "old").rename(mount.point / "new")
    assert flushed(storemount, str(mount.point / "new/file")) == (ExitCode.OK, "")
    assert contents(outside, "") == {"new/file": b"data"}


def test_S7_flush_sends_what_was_closed_of_a_file_that_is_being_written(mount: Mount, outside: Outside, storemount: Storemount) -> None:
    with held(mount.point / "slow", b"was closed"):
        assert flushed(storemount, str(mount.point)) == (ExitCode.OK, "")
        assert outside.get("slow") == b"was closed"
    assert flushed(storemount, str(mount.point)) == (ExitCode.OK, "")
    assert outside.get("slow") == b"was closed" + MORE


def test_S8_flush_tells_how_far_it_is(failing: Mount, proxy: Proxy, storemount: Storemount) -> None:
    places = Places.of(storemount.environment)
    proxy.refuse()
    (failing.point / "slow").write_bytes(b"12345")
    answers = ask(socket_path(places, str(failing.point)), "flush", path="slow")
    first, second = next(answers), next(answers)
    assert (second["pending"], second["pending_bytes"]) == (1, 5), first
    proxy.become(proxy.forward)
    *_, last = answers
    assert (last["done"], last["left"], last["pending"], last["timed_out"]) == (True, [], 0, False)


def test_S8_flush_tells_how_far_a_large_file_is(failing: Mount, proxy: Proxy, bucket: BucketClient, storemount: Storemount) -> None:
    """The connections together get so many bytes through, and wait."""
    through, gate, size = [0], threading.Event(), 64 * MIB

    class Gated(socket.socket):
        def recv(self, most: int, flags: int = 0) -> bytes:
            if through[0] > size // 2:
                assert gate.wait(30)
            data = super().recv(most, flags)
            through[0] += len(data)
            return data

    def until_half(connection: socket.socket) -> None:
        with Gated(fileno=os.dup(connection.fileno())) as gated:
            proxy.forward(gated)

    proxy.become(until_half)
    (failing.point / "large").write_bytes(data := os.urandom(size))
    answers = ask(socket_path(Places.of(storemount.environment), str(failing.point)), "flush", path="large")
    assert next(answer["pending"] for answer in answers if 0 < answer["pending_bytes"] <= size - 3 * 8 * MIB) == 1
    gate.set()
    *_, last = answers
    assert (last["done"], last["left"], last["pending"], last["pending_bytes"]) == (True, [], 0, 0)
    assert bucket.get("large") == data


def test_S14_flush_during_an_outage(failing: Mount, bucket: BucketClient, proxy: Proxy, storemount: Storemount) -> None:
    proxy.refuse()
    (failing.point / "waits").write_bytes(b"for better times")
    code, said = flushed(storemount, str(failing.point), "--timeout", "3s")
    assert code == ExitCode.NOT_DRAINED
    assert f"{failing.point}/waits: " in said and "not sent yet" not in said
    proxy.become(proxy.forward)
    assert flushed(storemount, str(failing.point)) == (ExitCode.OK, "")
    assert bucket.get("waits") == b"for better times"


def test_S16_retry_does_not_wait_for_the_next_try(failing: Mount, bucket: BucketClient, proxy: Proxy, storemount: Storemount) -> None:
    proxy.refuse()
    (failing.point / "waits").write_bytes(b"for better times")
    assert eventually(lambda: storemount.must("retry", str(failing.point)) == "1 change tried again\n")
    proxy.become(proxy.forward)
    assert flushed(storemount, str(failing.point)) == (ExitCode.OK, "")
    assert storemount.must("retry", "--all") == "nothing was refused there, and nothing waits for another try\n"


def test_S16_export_gives_what_was_closed_last(mount: Mount, outside: Outside, storemount: Storemount, tmp_path: Path) -> None:
    """Not what was written since; and nothing of a file that the store has."""
    outside.put("large", b"is in the store")
    with held(mount.point / "slow", b"closed"):
        storemount.must("export", str(mount.point / "slow"), str(tmp_path))
        assert (tmp_path / "slow").read_bytes() == b"closed"
        daemon = socket_path(Places.of(storemount.environment), str(mount.point))
        *_, last = ask(daemon, "export", path="slow", dest=str(tmp_path / "second"))
        assert (last["done"], last["bytes"], last["pending_bytes"]) == (True, len(b"closed"), 0)
        assert storemount.run("export", str(mount.point / "large"), str(tmp_path)).returncode == ExitCode.USAGE
        assert not (tmp_path / "large").exists()


def test_where_no_store_is_mounted(storemount: Storemount) -> None:
    for words in (("flush", "/"), ("retry", "."), ("export", "/etc/hostname", "copy")):
        done = storemount.run(*words)
        assert (done.returncode, done.stdout) == (ExitCode.NOT_MOUNTED, "")
        assert done.stderr.count("\n") == 1 and "is not in a mounted store" in done.stderr


def test_a_path_is_found_through_links_and_from_within(mount: Mount, outside: Outside, storemount: Storemount) -> None:
    (mount.point / "d").mkdir()
    link = storemount.home / f"link-to-{mount.point.name}"
    link.symlink_to(mount.point / "d")
    try:
        (link / "file").write_bytes(b"data")
        assert flushed(storemount, str(link)) == (ExitCode.OK, "")
        assert outside.get("d/file") == b"data"
    finally:
        link.unlink()


# what a close and an fsync wait for


@pytest.mark.parametrize("options", [("--write-through",), ("--durability", "store"), ("-o", "write_through")])
def test_S7_write_through_closes_when_the_store_has_it(
    kind: str, outside: Outside, storemount: Storemount, options: tuple[str, ...]
) -> None:
    with mounted(mount_of(storemount, kind, outside, options)) as mount:
        (mount.point / "d").mkdir()
        for number in range(5):
            (mount.point / f"d/{number}").write_bytes(b"%d" % number)
            assert outside.get(f"d/{number}") == b"%d" % number
        with open(mount.point / "d/0", "ab") as file:
            file.write(b" and more")
        assert outside.get("d/0") == b"0 and more"


def test_S7_without_it_a_close_does_not_wait_for_the_store(failing: Mount, bucket: BucketClient, proxy: Proxy) -> None:
    proxy.refuse()
    (failing.point / "file").write_bytes(b"safe on this machine")
    assert failing.status()["pending"] == 1
    proxy.become(proxy.forward)


def test_S7_fsync_local_does_not_wait_for_the_store(kind: str, outside: Outside, storemount: Storemount) -> None:
    with mounted(mount_of(storemount, kind, outside, ("--fsync", "local"))) as mount:
        with held(mount.point / "file", b"on this disk"):
            synced(mount.point / "file")
            assert "file" not in contents(outside, "")
            assert mount.status()["pending"] == 1
        assert flushed(storemount, str(mount.point)) == (ExitCode.OK, "")
        assert outside.get("file") == b"on this disk" + MORE


def test_S7_durability_power_closes_when_the_disk_has_it(kind: str, outside: Outside, storemount: Storemount, tmp_path: Path) -> None:
    """A row that is marked as synced is what the next mount believes after a power cut."""
    options = ("--durability", "power", "--staging-dir", str(tmp_path))
    with mounted(mount_of(storemount, kind, outside, options)) as mount, held(mount.point / "file", b"data"):
        (journal,) = tmp_path.glob("*/journal.sqlite")
        with closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True)) as database:
            assert database.execute("SELECT key, synced FROM changes").fetchall() == [(b"file", 1)]
