"""What a mount in the foreground tells its service manager, through a socket as systemd's (S8, S14)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storemount.errors import ExitCode
from tests.support.command import Storemount
from tests.support.readme import told

SETTINGS = 'store = "default"\nmountpoint = "{}"\nlog_level = "info"\n'


class Service:
    """A mount in the foreground whose manager listens. `settings`: its file."""

    def __init__(self, command: Storemount, listener: socket.socket, process: subprocess.Popen[str], settings: Path) -> None:
        self.point = command.home / "service"
        self.process = process
        self.settings = settings
        self._listener = listener

    def says(self, word: str) -> str:
        """The next datagram that has a line which begins with `word`."""
        while True:
            said = self._listener.recv(4096).decode()
            if any(line.startswith(word) for line in said.splitlines()):
                return said

    def complains(self) -> str:
        """Its next line on standard error that is a warning, or says who did not answer."""
        assert self.process.stderr
        return next(line for line in self.process.stderr if " INFO " not in line or "answer" in line)

    def ended(self) -> str:
        """What it has written to standard error."""
        _, said = self.process.communicate(timeout=30)
        return said


@contextmanager
def started(command: Storemount) -> Iterator[Service]:
    point, settings = command.home / "service", command.home / "config/storemount/mounts.d/service.toml"
    point.mkdir()
    settings.parent.mkdir(parents=True)
    settings.write_text(SETTINGS.format(point))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        name = f"@storemount-{os.path.basename(command.home)}"
        listener.bind("\0" + name[1:])
        listener.settimeout(20)
        process = subprocess.Popen(
            [sys.executable, "-m", "storemount", "mount", "-f", "--config", "service"],
            env={**command.environment, "NOTIFY_SOCKET": name, "WATCHDOG_USEC": "600000"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield Service(command, listener, process, settings)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
            subprocess.run(["fusermount3", "-u", "-z", point], check=False, capture_output=True)
            point.rmdir()
            settings.unlink()
            settings.parent.rmdir()


@pytest.fixture
def service(storemount: Storemount) -> Iterator[Service]:
    with started(storemount) as service:
        yield service


def test_S8_ready_when_it_answers_fed_reloaded_and_stopped_in_order(service: Service, storemount: Storemount) -> None:
    assert f"STATUS=mounted on {service.point}: everything is in the store" in service.says("READY=1")
    assert os.path.ismount(service.point)
    for _ in range(3):
        assert service.says("WATCHDOG=1") == "WATCHDOG=1"

    with service.settings.open("a") as file:
        file.write('cache_size = "32M"\nttl = "1m"\n')
    service.process.send_signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in service.says("RELOADING=1")
    service.says("READY=1")
    assert '"cache_cap": 33554432' in storemount.must("status", str(service.point), "--json")

    with service.settings.open("a") as file:
        file.write("nonsense = 1\n")
    service.process.send_signal(signal.SIGHUP)
    service.says("RELOADING=1")
    service.says("READY=1")

    (service.point / "file").write_bytes(b"kept")
    service.process.terminate()
    service.says("STOPPING=1")
    service.says("EXTEND_TIMEOUT_USEC=60000000")
    said = service.ended()
    assert service.process.returncode == ExitCode.OK
    assert (storemount.home / "data/storemount/default/file").read_bytes() == b"kept"
    assert "ttl: changed" in said and told("changed in the settings, and taken over by the next mount only", said)
    assert told("the settings stay as they were", said) and "service.toml: nonsense is not known" in said


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount over a mount")
def test_S14_a_mount_that_nobody_can_reach_any_more_feeds_no_watchdog(service: Service) -> None:
    service.says("READY=1")
    service.says("WATCHDOG=1")
    subprocess.run(["mount", "-t", "tmpfs", "none", service.point], check=True)
    try:
        assert told("did not answer", service.complains())
    finally:
        subprocess.run(["umount", service.point], check=True)
    service.says("WATCHDOG=1")


def test_S14_a_daemon_that_the_watchdog_ends_says_where_it_was(service: Service) -> None:
    service.says("READY=1")
    service.process.send_signal(signal.SIGABRT)
    assert "(most recent call first)" in service.ended()
    assert service.process.returncode == -signal.SIGABRT
