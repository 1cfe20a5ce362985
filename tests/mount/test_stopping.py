"""However a mount is stopped, what was closed is in the store, and nothing is left behind (S8, S7)."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storemount.errors import ExitCode
from tests.support.command import Storemount
from tests.support.mounting import REMOTE, STORES, Mount, bucket_mount, mount_of, mounted
from tests.support.outside import Outside, contents
from tests.support.proxy import Proxy
from tests.support.readme import told
from tests.support.servers import BucketClient
from tests.support.waiting import eventually, exited

SUBJECTS = STORES
FILES = 40


@pytest.fixture
def outside(kind: str, fresh_store: Callable[[str], Outside]) -> Outside:
    return fresh_store(kind)


@pytest.fixture
def mount(kind: str, outside: Outside, storemount: Storemount) -> Mount:
    return mount_of(storemount, kind, outside)


@pytest.fixture(params=REMOTE)
def remote(request: pytest.FixtureRequest, bucket: BucketClient, proxy: Proxy, storemount: Storemount) -> Mount:
    """A mount (not started) of a bucket behind the proxy."""
    options = ("--deadline", "2s", "--ttl", "60s")
    mount = bucket_mount(storemount, request.param, bucket, options, {"endpoint": proxy.endpoint})
    mount.expect(r"WARNING storemount\.writeback\.worker")
    return mount


def by_sigterm(mount: Mount) -> None:
    os.kill(mount.pid, signal.SIGTERM)


def by_sigint(mount: Mount) -> None:
    os.kill(mount.pid, signal.SIGINT)


def by_fusermount(mount: Mount) -> None:
    subprocess.run(["fusermount3", "-u", mount.point], check=True)


def by_lazy_unmount(mount: Mount) -> None:
    subprocess.run(["fusermount3", "-u", "-z", mount.point], check=True)


@pytest.mark.parametrize("stop", [by_sigterm, by_sigint, by_fusermount, by_lazy_unmount])
def test_S8_every_way_to_stop_drains(mount: Mount, outside: Outside, stop: Callable[[Mount], None]) -> None:
    expected = {f"d/{number}": b"%d" % number * 5000 for number in range(FILES)}
    with mounted(mount):
        (mount.point / "d").mkdir()
        for key, data in expected.items():
            (mount.point / key).write_bytes(data)
        stop(mount)
        mount.gone()
        assert mount.complaints() == []
    assert contents(outside, "") == expected


def test_S8_sigterm_with_files_in_use(mount: Mount, outside: Outside) -> None:
    """A program that still writes does not hold the machine's shutdown up: what it closed is saved, and it is told at its close."""
    with mounted(mount):
        (mount.point / "closed").write_bytes(b"done")
        descriptor = os.open(mount.point / "open", os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"not done")
        by_sigterm(mount)
        mount.gone()
        with pytest.raises(OSError, match="not connected"):
            os.close(descriptor)
    assert outside.get("closed") == b"done"


@pytest.mark.parametrize("stop", [by_sigterm, by_fusermount])
def test_S8_what_cannot_go_up_yet_is_waited_for(remote: Mount, bucket: BucketClient, proxy: Proxy, stop: Callable[[Mount], None]) -> None:
    """Also when somebody loses patience, and says again what is being done already."""
    with mounted(remote):
        assert os.listdir(remote.point) == []
        proxy.refuse()
        (remote.point / "file").write_bytes(b"waits")
        stop(remote)
        assert eventually(lambda: not remote.mounted)
        by_sigterm(remote)
        by_sigterm(remote)
        assert not exited(remote.pid, 1)
        proxy.become(proxy.forward)
        remote.gone()
        assert remote.complaints() == []
    assert bucket.get("file") == b"waits"


def test_S8_a_second_sigterm_while_a_program_uses_the_mount(remote: Mount, bucket: BucketClient, proxy: Proxy) -> None:
    with mounted(remote):
        assert os.listdir(remote.point) == []
        descriptor = os.open(remote.point / "open", os.O_CREAT | os.O_WRONLY)
        proxy.refuse()
        (remote.point / "file").write_bytes(b"waits")
        by_sigterm(remote)
        by_sigterm(remote)
        assert not exited(remote.pid, 1)
        proxy.become(proxy.forward)
        remote.gone()
        with pytest.raises(OSError, match="not connected"):
            os.close(descriptor)
    assert bucket.get("file") == b"waits"


def test_S8_past_the_drain_timeout_the_exit_code_says_so(remote: Mount, storemount: Storemount, proxy: Proxy) -> None:
    """What is left is named, and is there for the next mount (`test_taking_up`)."""
    words = [sys.executable, "-m", "storemount", "mount", remote.store, str(remote.point), "-f", *remote.options, "--drain-timeout", "1s"]
    with subprocess.Popen(
        words, env=storemount.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as daemon:
        assert eventually(lambda: remote.mounted, 10)
        assert os.listdir(remote.point) == []
        proxy.refuse()
        (remote.point / "precious").write_bytes(b"waits")
        daemon.terminate()
        said, complained = daemon.communicate(timeout=30)
    assert (daemon.returncode, said) == (ExitCode.NOT_DRAINED, "")
    assert told("not in the store; the next mount of it takes them up", complained) and "'precious'" in complained
    assert not remote.mounted
    proxy.become(proxy.forward)
    with mounted(remote):
        assert (remote.point / "precious").read_bytes() == b"waits"


def test_S8_foreground(mount: Mount, outside: Outside, storemount: Storemount) -> None:
    """With -f the command serves until it is unmounted, and its exit code says whether all is in the store."""
    words = [sys.executable, "-m", "storemount", "mount", mount.store, str(mount.point), "-f", *mount.options]
    with subprocess.Popen(
        words, env=storemount.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as daemon:
        assert eventually(lambda: mount.mounted, 10)
        (mount.point / "file").write_bytes(b"in the foreground")
        daemon.terminate()
        said, complained = daemon.communicate(timeout=30)
    assert (daemon.returncode, complained) == (ExitCode.OK, ""), said
    mount.clear()
    assert outside.get("file") == b"in the foreground"


def test_S8_nothing_is_left_on_disk(mount: Mount, storemount: Storemount) -> None:
    """After a drained stop there is no staged file and no socket; an empty journal stays, and notes of metadata and of warmed names."""

    def leftovers() -> set[Path]:
        names = [path for name in ("state", "cache", "run") for path in (storemount.home / name).rglob("*") if not path.is_dir()]
        return {path for path in names if not re.fullmatch(r"lock|journal\.sqlite.*|.*\.log|.*\.(notes|warm)", path.name)}

    before = leftovers()
    with mounted(mount):
        (mount.point / "file").write_bytes(b"x" * 100_000)
    assert leftovers() <= before


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a mount namespace of its own")
def test_S8_an_unmount_in_another_mount_namespace_ends_and_leaves_the_mount(
    fresh_store: Callable[[str], Outside], storemount: Storemount
) -> None:
    outside = fresh_store("local")
    mount = mount_of(storemount, "local", outside)
    with mounted(mount), mount.watched(60):
        words = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "storemount", "unmount", str(mount.point)]
        done = subprocess.run(words, env=storemount.environment, capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")
        assert "serves another one" in done.stdout
        (mount.point / "file").write_bytes(b"goes on")
    assert outside.get("file") == b"goes on"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a mount namespace of its own")
def test_S8_an_unmount_ends_though_another_mount_namespace_still_has_the_mount(
    fresh_store: Callable[[str], Outside], storemount: Storemount
) -> None:
    """As a container that was started meanwhile: the kernel goes on with the mount there, and nobody here could end it."""
    outside = fresh_store("local")
    mount = mount_of(storemount, "local", outside)
    with mounted(mount), mount.watched(60):
        (mount.point / "file").write_bytes(b"saved")
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo there; exec sleep infinity"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as container:
            assert container.stdout is not None
            assert container.stdout.readline() == "there\n"
            try:
                done = storemount.run("unmount", str(mount.point), within=30)
                assert (done.returncode, done.stderr) == (0, "")
                mount.gone()
                assert told("another mount namespace still has it", mount.log.read_text())
            finally:
                container.kill()
    assert outside.get("file") == b"saved"


@contextmanager
def on_its_way(path: Path) -> Iterator[Callable[[], None]]:
    """An open file that no process has: it was sent through a socket, and nobody has taken it out. Gives what ends that."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        descriptor = os.open(path, os.O_RDONLY)
        socket.send_fds(ours, [b"x"], [descriptor])
        os.close(descriptor)

        def arrives() -> None:
            _, descriptors, _, _ = socket.recv_fds(theirs, 1, 1)
            os.close(descriptors[0])

        yield arrives


def test_S8_an_unmount_waits_a_moment_for_what_nobody_seems_to_use(fresh_store: Callable[[str], Outside], storemount: Storemount) -> None:
    """As the copy of the mount that a container has while it is made."""
    mount = mount_of(storemount, "local", fresh_store("local"))
    mount.start()
    try:
        with on_its_way(mount.point) as arrives:
            done = storemount.run("unmount", str(mount.point))
            assert done.returncode == ExitCode.BUSY
            assert "used by a process that this user may not see; close what is open there, or add --lazy" in done.stderr
            assert mount.mounted
            later = threading.Timer(0.5, arrives)
            later.start()
            assert storemount.run("unmount", str(mount.point)).returncode == 0
            later.join()
        mount.gone()
    finally:
        mount.clear()
