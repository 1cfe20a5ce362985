"""A whole file system at once.

What it is: syncfs(2), which Python does not have; how much of a disk is left alone, and what a mount has of it (S15).
What it is not: the sync of a file or a directory (os.fdatasync, os.fsync).
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

_libc = ctypes.CDLL(None, use_errno=True)

FLOOR = 1024**3
FLOOR_SHARE = 20
"""Left alone on the disk: a twentieth of it, and no more than `FLOOR` bytes."""


@dataclass(slots=True, eq=False)
class Budget:
    """What one mount has on the disk, in bytes, under one `cap` (None: what the disk has). staged: files that wait for their upload;
    cached: blocks that can go at any moment."""

    cap: int | None
    staged: int = 0
    cached: int = 0


def sync_file_system(path: str | os.PathLike[str]) -> None:
    """Have all that was written to the file system of this directory survive a power cut. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd):
            raise OSError(ctypes.get_errno(), f"cannot sync the file system of {os.fspath(path)}")
    finally:
        os.close(fd)


def floor_of(total: int) -> int:
    """What is left alone on a disk of so many bytes."""
    return min(FLOOR, total // FLOOR_SHARE)


def spare(path: str | os.PathLike[str]) -> int:
    """Bytes that may still be written to the file system of `path`; less than nothing when it is too full. Raises OSError."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize - floor_of(disk.f_blocks * disk.f_frsize)
