"""What the daemon's process asks of its system for itself.

What it is: limits, the heap and the signals.
What it is not: anything of a mount.
"""

from __future__ import annotations

import ctypes
import faulthandler
import resource
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import trio

from storemount.config import KIB

M_ARENA_MAX = -8
M_MMAP_THRESHOLD = -3


def allow_many_files() -> None:
    """As many descriptors as this user may have: every pending file and every open local file holds one, and the usual limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def say_where_it_dies() -> None:
    """A crash in native code, and SIGABRT (a watchdog's), leave every thread's stack in the log."""
    faulthandler.enable(sys.stderr)


@contextmanager
def heard(*numbers: signal.Signals) -> Iterator[AsyncIterator[int]]:
    """The signals, as they come. What comes when nobody reads any more is nothing: trio would have the process die of it at the end of the
    block, when everything is done."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # One that comes between two lines would be lost.
    for number in numbers:
        signal.signal(number, lambda *_: None)
    with trio.open_signal_receiver(*numbers) as signals:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield signals


def keep_heap_small() -> None:
    """Two malloc arenas instead of eight for each core, and large blocks from the system, not from a heap: blocks that one thread fetches
    are freed by another, and every arena keeps what it once had (S15; measured after 8 uploads: 80 MiB instead of 150). A C library
    without mallopt(3) has no arenas of this kind."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 2)
        mallopt(M_MMAP_THRESHOLD, 512 * KIB)
