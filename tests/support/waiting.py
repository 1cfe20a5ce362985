"""Waiting for something that another process will do.

What it is: a question asked again until it is answered with yes, or a deadline passes.
What it is not: a fixed pause; nothing here takes longer than what it waits for (plus one interval).
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from pathlib import Path

INTERVAL = 0.02


def eventually(question: Callable[[], object], within: float = 10.0) -> bool:
    """Whether `question` became true within so many seconds."""
    end = time.monotonic() + within
    while not question():
        if time.monotonic() > end:
            return False
        time.sleep(INTERVAL)
    return True


def exited(pid: int, within: float = 10.0) -> bool:
    """Whether the process `pid`, which need not be our child, ended within so many seconds."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watch], [], [], within)[0])
    finally:
        os.close(watch)


def synced(path: Path) -> None:
    """Wait until the store has this file, or everything below this directory (fsync, S7)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
