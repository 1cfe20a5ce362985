"""A program that works on a mount until something fails, and keeps a log of what it was promised.

    python -m tests.crash.writer ROOT FOLDER LOG [--seed N] [--ops N] ...

What it is: real system calls below ROOT/FOLDER, chosen by seeded dice, each between its lines in LOG (outside the mount).
What it is not: a checker; it reads nothing back.
Invariants:
- One line of the log is one write(2), made before and after the system calls that it is about.
- Any failure of the file system is its end. Exit code 0: all operations done; 3: a failure, named in the last line.
- What it writes is wholly given by the operation in the log (`contents`).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.crash.contents import Piece, piece_bytes, size_of, whole
from tests.crash.plans import Plan, Planner
from tests.crash.promises import AT_CLOSE, File, Op, Promises, end_line, link_target, mark_line, op_line

FAILED = 3
CHUNK = 1 << 18
PUSH = 7
"""sync_file_range(2): start writing the pages out, and wait until the file system has taken them."""

_libc = ctypes.CDLL(None, use_errno=True)


class Log:
    """Lines after those that are there. `ticks`: a pipe that gets a byte for each."""

    def __init__(self, path: Path, ticks: int | None) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._ticks = ticks

    def write(self, line: str) -> None:
        os.write(self._fd, line.encode() + b"\n")
        if self._ticks is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._ticks, b".")


class Writer:
    def __init__(self, root: Path, log: Log, promises: Promises, dice: random.Random, pace: float) -> None:
        self._root = root
        self._log = log
        self._promises = promises
        self._dice = dice
        self._pace = pace
        self._held: tuple[Op, int] | None = None
        self._calls: dict[str, Callable[[Op, Path], None]] = {
            "truncate": lambda op, path: os.truncate(path, op.size),
            "unlink": lambda op, path: path.unlink(),
            "mkdir": lambda op, path: path.mkdir(),
            "rmdir": lambda op, path: path.rmdir(),
            "symlink": lambda op, path: path.symlink_to(link_target(op)),
            "rename": lambda op, path: os.rename(path, self._root / op.to),
            "fsync": lambda op, path: _fsync(path),
        }

    def run(self, plans: Planner, ops: int) -> None:
        for _ in range(ops):
            plan = plans.next(self._promises.state, self._held[0] if self._held else None)
            if plan is None:
                self._let_go()
            else:
                self.do(plan)
            if self._pace:
                time.sleep(self._dice.random() * self._pace)  # a program that thinks
        self._let_go()

    def do(self, plan: Plan) -> None:
        op = Op(self._promises.number + 1, **plan)
        self._note(op_line(op, time.monotonic()))
        if op.verb == "hold":
            self._held = op, self._opened(op)
            self._write_edits(op, self._held[1])
            if _libc.sync_file_range(self._held[1], ctypes.c_int64(0), ctypes.c_int64(0), PUSH):
                raise OSError(ctypes.get_errno(), "sync_file_range")
            return
        if op.verb in AT_CLOSE:
            self._write(op)
        else:
            self._calls[op.verb](op, self._root / op.path)
        self._mark("done", op)

    def _let_go(self) -> None:
        if self._held is not None:
            op, fd = self._held
            self._held = None
            self._mark("point", op)
            os.close(fd)
            self._mark("done", op)

    def _opened(self, op: Op) -> int:
        flags = {"write": os.O_CREAT | os.O_TRUNC, "append": os.O_APPEND}.get(op.verb, 0)
        return os.open(self._root / op.path, os.O_WRONLY | flags, 0o644)

    def _write(self, op: Op) -> None:
        """Everything that this operation writes, then the close that makes it so."""
        fd = self._opened(op)
        if op.verb == "edit":
            self._write_edits(op, fd)
        elif op.verb == "append":
            there = self._promises.state[op.path]
            assert isinstance(there, File)
            end = size_of(there.content)
            _put(fd, piece_bytes(Piece(op.path, op.number, end, end + op.size)))
        else:
            for piece in whole(op.path, op.number, op.size):
                _put(fd, piece_bytes(piece))
        self._mark("point", op)
        os.close(fd)

    def _write_edits(self, op: Op, fd: int) -> None:
        for start, stop in op.edits:
            os.lseek(fd, start, os.SEEK_SET)
            _put(fd, piece_bytes(Piece(op.path, op.number, start, stop)))

    def _mark(self, line: str, op: Op) -> None:
        self._note(mark_line(line, op, time.monotonic()))

    def _note(self, line: str) -> None:
        """Into the log, and into what this program itself believes."""
        self._log.write(line)
        self._promises.feed([line])


def _put(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view[:CHUNK]) :]


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("root", type=Path)
    words.add_argument("folder")
    words.add_argument("log", type=Path)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--ops", type=int, default=1_000_000)
    words.add_argument("--pace", type=float, default=0.0)
    words.add_argument("--ticks", type=int)
    words.add_argument("--without", default="", help="verbs that are not used, separated by commas")
    words.add_argument("--tour", action="store_true", help="begin with one operation of every kind")
    words.add_argument("--settle", action="store_true", help="end with an fsync of everything")
    given = words.parse_args()
    promises = Promises()
    promises.feed(given.log.read_text().splitlines())
    dice = random.Random(given.seed)
    log = Log(given.log, given.ticks)
    writer = Writer(given.root, log, promises, dice, given.pace)
    planner = Planner(given.folder, dice, frozenset(given.without.split(",")), tour=given.tour)
    try:
        writer.run(planner, given.ops)
        if given.settle:
            writer.do({"verb": "fsync", "path": given.folder})
    except OSError as error:
        log.write(end_line(error, time.monotonic()))
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
