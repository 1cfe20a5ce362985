"""sd_notify's datagrams, as a manager's socket receives them."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from storemount.running.notify import Notifier
from tests.support.readme import told


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A manager's socket, and how it is written in NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        if request.param == "path":
            name = os.path.relpath(tmp_path / "notify")
            listener.bind(name)
        else:
            name = f"@storemount-test-{os.getpid()}"
            listener.bind("\0" + name[1:])
        listener.settimeout(5)
        yield listener, name


def test_each_word_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    notifier = Notifier.of({"NOTIFY_SOCKET": name}, 7)
    assert notifier.is_heard and notifier.watchdog is None
    for tell, said in (
        (lambda: notifier.ready("mounted"), r"READY=1\nSTATUS=mounted"),
        (lambda: notifier.status("2 to go"), "STATUS=2 to go"),
        (notifier.alive, "WATCHDOG=1"),
        (lambda: notifier.extend(1.5), "EXTEND_TIMEOUT_USEC=1500000"),
        (notifier.reloading, r"RELOADING=1\nMONOTONIC_USEC=\d+"),
        (notifier.stopping, "STOPPING=1"),
    ):
        tell()
        assert re.fullmatch(said, listener.recv(4096).decode())


def test_nobody_listens() -> None:
    notifier = Notifier.of({}, 7)
    notifier.ready("mounted")
    assert not notifier.is_heard


def test_a_manager_that_is_gone_is_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Notifier(os.path.relpath(tmp_path / "gone")).stopping()
    assert "told STOPPING" in caplog.text and told("the service manager could not be told", caplog.text)


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_ours_or_none(environ: dict[str, str], seconds: float | None) -> None:
    assert Notifier.of(environ, 7).watchdog == seconds
