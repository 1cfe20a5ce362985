"""Going to the background: the parent's exit says how it went (each case in a process of its own, as it forks)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storemount.errors import ExitCode
from tests.support.readme import told
from tests.support.waiting import exited

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from storemount.running.background import run_in_background
from storemount.errors import ExitCode, Refusal

def serve(ready):
    {body}

try:
    print(run_in_background(serve, Path(sys.argv[1])))
except Refusal as refusal:
    print(refusal.message)
    sys.exit(refusal.code)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "mount.log"


def launch(body: str, log: Path) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(body=body)
    return subprocess.run([sys.executable, "-c", program, str(log)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)


def test_the_parent_ends_when_the_child_is_ready_and_the_child_lives_on(log: Path) -> None:
    done = launch("ready(); print('serving', flush=True); signal.pause()", log)
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    child = int(done.stdout)
    try:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{child}/status").read_text().splitlines() if ":\t" in line)
        assert status["PPid"] != str(os.getpid())
        assert os.getsid(child) == child
        assert os.readlink(f"/proc/{child}/cwd") == "/"
        assert {os.readlink(f"/proc/{child}/fd/{number}") for number in (1, 2)} == {str(log)}
        assert os.readlink(f"/proc/{child}/fd/0") == os.devnull
        assert log.stat().st_mode & 0o777 == 0o600
    finally:
        os.kill(child, signal.SIGTERM)
    assert exited(child)


def test_a_refusal_before_readiness_is_the_parents(log: Path) -> None:
    done = launch("raise Refusal(ExitCode.STORE_MISSING, 'no such bucket')", log)
    assert (done.returncode, done.stdout) == (ExitCode.STORE_MISSING, "no such bucket\n")


@pytest.mark.parametrize(
    ("body", "how"),
    [("raise ValueError('a bug')", "exit code 1"), ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9"), ("os._exit(7)", "exit code 7")],
)
def test_a_death_without_a_word_names_the_log(log: Path, body: str, how: str) -> None:
    done = launch(body, log)
    assert done.returncode == ExitCode.UNEXPECTED
    assert how in done.stdout and str(log) in done.stdout
    unforeseen, said = "a bug" in body, log.read_text()
    assert unforeseen == ("ValueError: a bug" in said) == told("the mount ended in a way nobody foresaw", said)


def test_an_end_before_readiness_is_not_success(log: Path) -> None:
    assert launch("return ExitCode.OK", log).returncode == ExitCode.UNEXPECTED


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    done = launch("ready()", tmp_path / "absent" / "mount.log")
    assert done.returncode == ExitCode.BAD_CONFIGURATION
    assert "--log-file" in done.stdout


def test_interrupting_the_parent_stops_the_child(log: Path) -> None:
    program = PROGRAM.format(body="print(os.getpid(), file=sys.__stderr__, flush=True); os.write(note, b'!'); signal.pause()")
    reading, writing = os.pipe()
    program = program.replace("def serve", f"note = {writing}\ndef serve")
    with subprocess.Popen([sys.executable, "-c", program, str(log)], pass_fds=[writing], stderr=subprocess.DEVNULL) as parent:
        os.close(writing)
        assert os.read(reading, 1) == b"!"
        child = int(log.read_text())
        parent.send_signal(signal.SIGINT)
    os.close(reading)
    assert parent.returncode
    assert exited(child)


def test_an_interrupt_while_the_parent_is_forking_is_not_lost(log: Path) -> None:
    """The hooks that Python runs after a fork swallow what is raised in them."""
    program = PROGRAM.format(body="print(os.getpid(), file=sys.__stderr__, flush=True); signal.pause()")
    interrupted = "import os, signal\nos.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))\n"
    done = subprocess.run(
        [sys.executable, "-c", interrupted + program, str(log)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == -signal.SIGINT
    assert "Exception ignored" not in done.stderr
    assert not (said := log.read_text()) or exited(int(said))
