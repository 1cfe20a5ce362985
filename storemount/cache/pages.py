"""Local files, without ever stopping the loop.

What it is: pread(2) and open(2), inline when the kernel has what they need (a thread hop costs 70-150 µs, the call itself about 1), else
for a thread.
What it is not: a cache; the kernel's are.
"""

from __future__ import annotations

import ctypes
import os

import trio

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)

_OPENAT2 = 437
"""The number of openat2(2), the same on every architecture (asm-generic/unistd.h)."""

_RESOLVE_CACHED = 0x20
"""Only if nothing has to be read from the disk for it (linux/openat2.h, since 5.12)."""

_AT_FDCWD = -100


class _OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_HOW = _OpenHow(os.O_RDONLY | os.O_CLOEXEC, 0, _RESOLVE_CACHED)


def open_cached(path: str) -> int:
    """A descriptor of `path` for reading, if the kernel knows where that is. Raises FileNotFoundError; and OSError, BlockingIOError among
    them, where only os.open can tell: it may have to wait, or the kernel is older."""
    fd: int = _syscall(_OPENAT2, _AT_FDCWD, os.fsencode(path), ctypes.byref(_HOW), ctypes.sizeof(_HOW))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return fd


async def read_file(fd: int, offset: int, size: int) -> memoryview:
    """Up to `size` bytes at `offset`; fewer only at the end of the file. The caller keeps `fd` open until this returns. Raises OSError."""
    buffer = bytearray(size)
    view = memoryview(buffer)
    done = 0
    while done < size:
        try:
            count = os.preadv(fd, [view[done:]], offset + done, os.RWF_NOWAIT)
        except OSError:
            # EAGAIN: not in the page cache. EOPNOTSUPP: a file system without RWF_NOWAIT. A real failure comes again from the thread.
            count = await trio.to_thread.run_sync(os.preadv, fd, [view[done:]], offset + done)
        if not count:
            break
        done += count
    return view[:done]
