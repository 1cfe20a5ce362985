"""Options of the whole suite, and what has to hold after it: nothing that was mounted here stays mounted."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As of a shell that runs this in the background: what is started here would not hear of an interrupt either.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--subjects",
        default="",
        help="run the mount suite only on these, separated by commas (plain,local,s3-native,...)",
    )
    parser.addoption("--every-store", action="store_true", help="the mount suite on every pair of engine and server, not on a short list")
    parser.addoption("--load-seconds", type=float, default=6.0, help="how long the load test works on a local store; on S3 a quarter of it")


@pytest.fixture(scope="session", autouse=True)
def nothing_stays_mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No mount is left below the folders of this session (another session on this machine may have its own)."""
    yield
    ours = (f"/sm-{os.getpid()}-", str(tmp_path_factory.getbasetemp()))
    assert [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if any(folder in line for folder in ours)] == []
