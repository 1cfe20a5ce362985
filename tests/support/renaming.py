"""renameat2(2), which Python does not offer."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

NOREPLACE = 1
EXCHANGE = 2
_AT_FDCWD = -100


def renameat2(old: Path, new: Path, flags: int) -> None:
    """Rename with flags. Raises OSError as os.rename does."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), ctypes.c_uint(flags)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(new))
