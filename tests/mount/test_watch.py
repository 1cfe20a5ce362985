"""`status --watch` in a terminal, and where there is none (S16)."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from storemount.errors import ExitCode
from tests.support.command import Storemount
from tests.support.mounting import Mount, mounted

ROWS, COLUMNS = 50, 120
WATCH = [sys.executable, "-m", "storemount", "status", "--watch"]
DRAWN = rb"(?s)OPERATION.*create"
MAIN_SCREEN = b"\x1b[?1049l"
"""What an xterm is told to show again what was there before."""


class Terminal:
    """A command in a terminal of its own; the test is who sits there."""

    def __init__(self, command: list[str], environment: dict[str, str], term: str = "xterm") -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.settings = termios.tcgetattr(theirs)
        self._theirs = theirs
        self._said = b""
        self._process = subprocess.Popen(
            command,
            env={**environment, "TERM": term},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )

    def shows(self, pattern: bytes, within: float = 20.0) -> bytes:
        """All that was written, once `pattern` stands in it."""
        end = time.monotonic() + within
        while not re.search(pattern, self._said):
            assert select.select([self._ours], [], [], max(0.0, end - time.monotonic()))[0], self._said
            self._said += os.read(self._ours, 65536)
        return self._said

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def ended(self) -> int:
        """The exit code; the terminal is as it was."""
        code = self._process.wait(timeout=20)
        assert termios.tcgetattr(self._theirs) == self.settings
        return code

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._ours)
        os.close(self._theirs)


def _take_terminal() -> None:
    """Ctrl-C is for whoever the terminal belongs to, and is heard though the test run itself may not hear it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def mount(storemount: Storemount) -> Iterator[Mount]:
    with mounted(Mount(storemount, "memory://")) as mount:
        (mount.point / "file").write_bytes(b"x" * 5000)
        yield mount


@pytest.mark.parametrize("keys", [b"q", b"Q", b"\x03"])
def test_a_screen_of_its_own_until_q_or_ctrl_c(storemount: Storemount, mount: Mount, keys: bytes) -> None:
    terminal = Terminal([*WATCH, str(mount.point)], storemount.environment)
    try:
        said = terminal.shows(DRAWN)
        for part in (str(mount.point).encode(), b"memory:", b"oldest unsaved", b"REQUEST"):
            assert part in said
        terminal.type(keys)
        terminal.shows(re.escape(MAIN_SCREEN))
        assert terminal.ended() == 0
    finally:
        terminal.close()


@pytest.mark.parametrize("term", ["dumb", "no-such-terminal"])
def test_a_terminal_that_cannot_be_drawn_on_gets_lines(storemount: Storemount, mount: Mount, term: str) -> None:
    terminal = Terminal([*WATCH, str(mount.point)], storemount.environment, term)
    try:
        terminal.shows(rb"mounted: read -.*\r\n.*mounted: read 0 B/s")
        terminal.type(b"\x03")
        assert terminal.ended() == 0
    finally:
        terminal.close()


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_without_a_terminal_a_line_a_second(storemount: Storemount, mount: Mount, words: list[str]) -> None:
    watch = subprocess.Popen([*WATCH, str(mount.point), *words], env=storemount.environment, stdout=subprocess.PIPE, text=True)
    try:
        assert watch.stdout is not None
        first, second = watch.stdout.readline(), watch.stdout.readline()
    finally:
        watch.kill()
        watch.communicate()
    if words:
        assert [json.loads(said)["mounts"][0]["mountpoint"] for said in (first, second)] == [str(mount.point)] * 2
    else:
        assert re.match(r"\d\d:\d\d:\d\d \S+ mounted: read -, .* memory \S+ MiB\n", first)
        assert "read 0 B/s, written " in second


def test_it_ends_with_the_mount(storemount: Storemount) -> None:
    with mounted(Mount(storemount, "memory://")) as mount:
        watch = subprocess.Popen(
            [*WATCH, str(mount.point)], env=storemount.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert watch.stdout is not None
        watch.stdout.readline()
    _, trouble = watch.communicate(timeout=20)
    assert watch.returncode == ExitCode.NOT_MOUNTED
    assert trouble == f"storemount: no store is mounted on {mount.point}; see: storemount status\n"
