"""The commands that ask a running mount: what is pending, how much it logs, the protocol as another tool would use it (S8, S16)."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from storemount.config import Places
from storemount.control.client import address, socket_path
from storemount.errors import ExitCode
from storemount.kernel.mountpoint import Deaths
from tests.support.command import Storemount
from tests.support.mounting import Mount, bucket_mount, mounted
from tests.support.proxy import Proxy
from tests.support.servers import BucketClient
from tests.support.waiting import eventually


@pytest.fixture
def waiting(storemount: Storemount, bucket: BucketClient, proxy: Proxy) -> Iterator[Mount]:
    """A mount whose store has gone away, with one file and one directory that it does not have."""
    mount = bucket_mount(storemount, "s3-native", bucket, ("--deadline", "2s"), {"endpoint": proxy.endpoint})
    mount.expect(r"WARNING storemount\.writeback\.worker")
    with mounted(mount):
        with open(mount.point / "model.bin", "wb") as late:
            os.listdir(mount.point)
            proxy.refuse()
            late.write(b"w" * 3000)
        assert eventually(lambda: mount.status()["retries"] >= 1)
        yield mount
        proxy.become(proxy.forward)


def test_S16_ls_pending_names_what_the_store_does_not_have(waiting: Mount) -> None:
    command, point = waiting.command, waiting.point
    header, line = command.must("ls-pending", str(point / "model.bin")).splitlines()
    assert header.split() == ["PATH", "CHANGE", "SIZE", "AGE", "STATE", "TRIES", "WHY"]
    assert line.split()[:4] == [f"{point}/model.bin", "put", "2.93", "KiB"]
    said = json.loads(command.must("ls-pending", "--json"))
    (row,) = said["changes"]
    assert (said["version"], row["mountpoint"], row["path"], row["bytes"], row["refused"]) == (1, str(point), "model.bin", 3000, False)
    assert row["tries"] >= 1 and row["age_seconds"] > 0
    elsewhere = command.run("ls-pending", str(point / "elsewhere"))
    assert (elsewhere.returncode, elsewhere.stdout, elsewhere.stderr) == (0, "", "The store has everything.\n")


def test_ls_pending_outside_of_a_mount_is_one_line(storemount: Storemount) -> None:
    done = storemount.run("ls-pending", str(storemount.home))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (ExitCode.NOT_MOUNTED, "", 1)


def test_the_level_of_a_running_mounts_log(storemount: Storemount) -> None:
    with mounted(Mount(storemount, "memory://", ("--log-level", "warning"))) as mount:
        mount.expect("INFO storemount.control.requests: the log's level is info now")
        assert storemount.must("log-level", "info", str(mount.point)) == f"{mount.point} logs from info on; it was warning\n"
        assert "the log's level is info now; it was warning" in mount.tail()
        assert storemount.must("log-level", "error") == f"{mount.point} logs from error on; it was info\n"
    done = storemount.run("log-level", "info")
    assert (done.returncode, done.stderr) == (ExitCode.NOT_MOUNTED, "storemount: nothing is mounted\n")


def test_S16_another_tool_speaks_the_protocol(storemount: Storemount) -> None:
    with mounted(Mount(storemount, "memory://")) as mount:
        path = socket_path(Places.of(storemount.environment), str(mount.point))
        for question, key, value in (
            ({"v": 1, "do": "status"}, "mountpoint", str(mount.point)),
            ({"v": 9, "do": "status"}, "error", "this mount speaks version 1, not 9"),
        ):
            with socket.socket(socket.AF_UNIX) as connection, address(path) as short:
                connection.connect(short)
                connection.sendall(json.dumps(question).encode() + b"\n")
                answer = json.loads(connection.makefile().readline())
            assert (answer["v"], answer[key]) == (1, value)


@pytest.mark.timeout(90)
def test_S14_status_of_a_daemon_that_is_stopped(storemount: Storemount) -> None:
    """Each is named, and nobody waits for long: not for the daemon, not for the kernel, and not when its queue of questions is full."""
    with mounted(Mount(storemount, "default")) as mount:
        os.kill(mount.pid, signal.SIGSTOP)
        try:
            told = storemount.must("status", "--json", within=40)
            with ExitStack() as askers:
                path = socket_path(Places.of(storemount.environment), str(mount.point))
                for _ in range(4096):
                    asker = askers.enter_context(socket.socket(socket.AF_UNIX))
                    asker.setblocking(False)
                    with address(path) as short:
                        if asker.connect_ex(short):
                            break
                full = storemount.must("status", str(mount.point), "--json", within=40)
            deaths, before = Deaths(), threading.active_count()
            assert [deaths.known(str(mount.point)) for _ in range(10)] == [False] * 10, "and only the first of them waits"
            assert threading.active_count() <= before + 1
        finally:
            os.kill(mount.pid, signal.SIGCONT)
        rows = [row for row in json.loads(told)["mounts"] if row["mountpoint"] == str(mount.point)]
        assert rows == json.loads(full)["mounts"] == [{"mountpoint": str(mount.point), "store": rows[0]["store"], "state": "not answering"}]
        assert eventually(lambda: mount.status()["state"] == "mounted")


def test_S16_a_name_of_many_lines_is_one_line_of_status(waiting: Mount) -> None:
    evil = waiting.point / "evil\n\x1b[2Jname"
    evil.write_bytes(b"x")
    assert eventually(lambda: len(waiting.status()["failed"]) == 2)
    lines = waiting.command.must("status", str(waiting.point)).splitlines()
    assert len([line for line in lines if line.startswith(f"{waiting.point}/evil\\n\\x1b[2Jname: ")]) == 1
    assert not [line for line in lines if line.startswith("name")]
    evil.unlink()
