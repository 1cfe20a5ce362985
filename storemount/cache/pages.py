"""Reads of local files that never stop the loop.

What it is: one pread(2), inline when the kernel has the pages (a thread hop costs 70-150 µs, the read itself about 1), else in a thread.
What it is not: a cache; the kernel's page cache is.
"""

from __future__ import annotations

import os

import trio


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
