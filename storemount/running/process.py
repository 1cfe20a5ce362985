"""What the daemon's process asks of its system for itself.

What it is: limits and the heap, set once at the start.
What it is not: anything of a mount.
"""

from __future__ import annotations

import ctypes
import faulthandler
import resource
import sys

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


def keep_heap_small() -> None:
    """Two malloc arenas instead of eight for each core, and large blocks from the system, not from a heap: blocks that one thread fetches
    are freed by another, and every arena keeps what it once had (S15; measured after 8 uploads: 80 MiB instead of 150). A C library
    without mallopt(3) has no arenas of this kind."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 2)
        mallopt(M_MMAP_THRESHOLD, 512 * KIB)
