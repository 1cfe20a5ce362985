"""The units under a real systemd as PID 1 (S7, S8, S14): `scripts/test-systemd`, all of its steps."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.command import CHECKOUT

CANNOT = 77


@pytest.mark.timeout(300)
def test_S8_every_step_passes_on_a_machine_with_systemd() -> None:
    done = subprocess.run([CHECKOUT / "scripts/test-systemd"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280)
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
