"""A whole file system at once.

What it is: syncfs(2), which Python does not have.
What it is not: the sync of a file or a directory (os.fdatasync, os.fsync).
"""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)


def sync_file_system(path: str | os.PathLike[str]) -> None:
    """Have all that was written to the file system of this directory survive a power cut. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd):
            raise OSError(ctypes.get_errno(), f"cannot sync the file system of {os.fspath(path)}")
    finally:
        os.close(fd)
