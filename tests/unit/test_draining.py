"""Waiting for a daemon to end (S8): a real process behind a real socket, which tells what its test wants."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from storemount.cli.unmount import follow
from storemount.config import MountSettings, Places
from storemount.control.client import address, socket_path
from storemount.errors import ExitCode, Refusal
from storemount.kernel.mountpoint import Host
from storemount.running.draining import Drain, reach
from storemount.running.launch import Launch
from storemount.stores.flavors import StoreSpec
from tests.support.mounting import temporary_home

DAEMON = """
import json, os, socket, sys

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
for question in ("status", "drain"):
    connection, _ = listener.accept()
    assert json.loads(connection.makefile().readline())["do"] == question
    answers = [{"pid": os.getpid()}] if question == "status" else json.loads(sys.argv[2])
    connection.sendall("".join(json.dumps(answer) + "\\n" for answer in answers).encode())
    connection.close()
os.unlink(sys.argv[1])
sys.stdin.readline()
"""


def progress(pending: int, **more: Any) -> dict[str, Any]:
    return {"pending": pending, "pending_bytes": pending * 1024, **more}


@pytest.fixture
def home() -> Iterator[Path]:
    with temporary_home() as home:
        yield home


@contextmanager
def daemon(path: Path, *answers: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Lives until its standard input is closed."""
    words = [sys.executable, "-c", DAEMON, str(path), json.dumps(answers)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.close()


def reached(path: Path) -> Drain:
    drain = reach(path)
    assert drain
    return drain


def test_a_socket_may_lie_deeper_than_its_address_is_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 200) / "a.sock"
    deep.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
        with address(deep) as short:
            listener.bind(short)
        listener.listen()
        with address(deep) as short:
            caller.connect(short)
    assert deep.is_socket()
    assert reach(deep) is None


def test_nobody_is_reached_where_nobody_listens(home: Path) -> None:
    assert reach(home / "no.sock") is None


def test_success_is_everything_saved_and_the_daemon_gone(home: Path) -> None:
    with daemon(home / "a.sock", progress(2), progress(1), progress(0, done=True, left=[])) as process:
        drain = reached(home / "a.sock")
        end(process)
        follow("/mnt", drain, None)
        assert drain.ended(0)
        drain.close()


def test_what_is_left_is_listed(home: Path) -> None:
    left = [{"path": "a", "error": "refused"}, {"path": "b", "error": "b: too large"}]
    with daemon(home / "a.sock", progress(2), progress(2, done=True, left=left)) as process:
        drain = reached(home / "a.sock")
        end(process)
        with pytest.raises(
            Refusal, match=r"2 changes did not .* the next mount .* takes them up:\n  a: refused\n  b: too large$"
        ) as caught:
            follow("/mnt", drain, None)
        drain.close()
    assert caught.value.code is ExitCode.NOT_DRAINED


def test_patience_has_an_end(home: Path) -> None:
    with daemon(home / "a.sock", progress(3), progress(3), progress(3)) as process:
        drain = reached(home / "a.sock")
        with pytest.raises(Refusal, match=r"3 changes \(3 KiB\) to go .* still going up") as caught:
            follow("/mnt", drain, 0.0)
        drain.close()
        end(process)
    assert caught.value.code is ExitCode.NOT_DRAINED


def test_a_daemon_that_dies_meanwhile_is_not_success(home: Path) -> None:
    with daemon(home / "a.sock", progress(3), progress(2)) as process:
        drain = reached(home / "a.sock")
        end(process)
        with pytest.raises(Refusal, match="ended before it said") as caught:
            follow("/mnt", drain, None)
        drain.close()
    assert caught.value.code is ExitCode.NOT_DRAINED


@pytest.mark.timeout(60)
@pytest.mark.parametrize("ends", [True, False])
def test_a_new_mount_lets_an_earlier_one_end_but_not_for_ever(home: Path, ends: bool) -> None:
    places = Places(*(home / name for name in ("data", "config", "etc", "state", "cache", "run")))
    (home / "mnt").mkdir()
    places.runtime.mkdir()
    launch = Launch(StoreSpec("memory", "memory", "memory://"), MountSettings(str(home / "mnt")), "auto", places)
    with daemon(socket_path(places, str(home / "mnt")), progress(1)) as process:
        if ends:
            end(process)
            launch.check(Host(0, Path("/dev/null")), nonempty=False, say=pytest.fail)
        else:
            with pytest.raises(Refusal, match="still saving") as caught:
                launch.check(Host(0, Path("/dev/null")), nonempty=False, say=pytest.fail)
            assert caught.value.code is ExitCode.BUSY
            end(process)
