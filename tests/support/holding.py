"""A file that was closed, and cannot go up yet: a program is writing it again.

What it is: the one way to have something pending for as long as a test wants, on every kind of store.
What it is not: a fault; the mount does what it promises (S6). The program is a process of its own, as the descriptors that a child of the
test inherits and closes would count as closes of the file.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MORE = b" and more"

_WRITER = """
import os, sys

# Directly, else the kernel keeps for itself what was written.
descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_DIRECT, 0o644)
os.write(descriptor, bytes.fromhex(sys.argv[2]))
os.close(os.dup(descriptor))
os.write(descriptor, bytes.fromhex(sys.argv[3]))
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path, data: bytes) -> Iterator[Callable[[], None]]:
    """A new file that was closed with `data`, and since then got `MORE` by a program that has it open to the end of the block, or until
    what is given is called."""
    words = [sys.executable, "-c", _WRITER, path, data.hex(), MORE.hex()]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdin and writer.stdout

        def let_go() -> None:
            writer.kill()
            writer.wait()

        try:
            assert writer.stdout.readline() == b"ready\n"
            yield let_go
        finally:
            let_go()
