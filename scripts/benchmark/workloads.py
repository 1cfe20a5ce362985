"""The workloads: what a program does to the mount, and what is timed of it.

What it is: one function a workload, from a stage to its figures. Each starts with a fresh mount and leaves the store as it was.
What it is not: the meaning of the figures, which is in the package's docstring.
Invariant: what is read is checked, small pieces always, large files where the stage asks for it, in a pass after the timed ones.
"""

from __future__ import annotations

import io
import os
import random
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmark.content import MIB, PAGE, block_of, check_pages, number_pages, page
from benchmark.stage import Broken, Stage
from benchmark.stores import Store

LARGE = "data/large"
MANY = "data/many"
ENTRY = b"entry"


@dataclass(frozen=True)
class Amounts:
    """How much of everything. `size`: bytes of a large file. `reads`: random reads. `files`: small files. `entries`: of the listed one."""

    size: int
    reads: int
    files: int
    entries: int


Figures = dict[str, float]
Workload = Callable[[Stage, Amounts], Figures]


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began


def plant(store: Store, amounts: Amounts, wanted: list[str]) -> None:
    """What the reading workloads find in the store."""
    if {"sequential", "again", "random"} & set(wanted):
        store.plant(LARGE, amounts.size)
    if "list" in wanted:
        store.plant_many([f"{MANY}/entry-{number:06}" for number in range(amounts.entries)], ENTRY)


def start(stage: Stage, amounts: Amounts) -> Figures:
    return {"start": stage.remount()}


def sequential(stage: Stage, amounts: Amounts) -> Figures:
    stage.remount()
    path = stage.root / LARGE
    cold = _read_through(path, amounts.size)
    warm = _read_through(path, amounts.size)
    if stage.verify:
        with path.open("rb", buffering=0) as file:
            _check(iter(partial(file.read, MIB), b""), MIB)
    return {"read cold": cold, "read warm": warm}


def again(stage: Stage, amounts: Amounts) -> Figures:
    stage.remount()
    path = stage.root / LARGE
    _read_through(path, amounts.size)
    start = stage.restart()
    rate = _read_through(path, amounts.size)
    stage.restart()
    pages = _read_pages(path, amounts)
    if stage.verify:
        with path.open("rb", buffering=0) as file:
            _check(iter(partial(file.read, MIB), b""), MIB)
    return {"restart": start, "read again": rate, "random 4K again": pages}


def _check(pieces: Iterator[bytes], block_size: int) -> None:
    """Every page of a large file that was written in such blocks."""
    page_number = 0
    for piece in pieces:
        check_pages(piece, page_number, block=block_size)
        page_number += len(piece) // PAGE


def _read_through(path: Path, size: int) -> float:
    buffer = bytearray(MIB)
    clock = Clock()
    total = 0
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            total += count
    rate = total / MIB / clock.seconds
    if total != size:
        raise Broken(f"{total} bytes were read of {size}")
    return rate


def random_reads(stage: Stage, amounts: Amounts) -> Figures:
    stage.remount()
    return {"random 4K cold": _read_pages(stage.root / LARGE, amounts)}


def _read_pages(path: Path, amounts: Amounts) -> float:
    """Pages of a large file in a random order, each second."""
    numbers = random.Random(amounts.reads).choices(range(amounts.size // PAGE), k=amounts.reads)
    with path.open("rb", buffering=0) as file:
        clock = Clock()
        pages = [os.pread(file.fileno(), PAGE, number * PAGE) for number in numbers]
        rate = len(pages) / clock.seconds
    for number, data in zip(numbers, pages, strict=True):
        check_pages(data, number)
    return rate


def write_4k(stage: Stage, amounts: Amounts) -> Figures:
    return _write(stage, amounts.size, PAGE, "write 4K")


def write_1m(stage: Stage, amounts: Amounts) -> Figures:
    return _write(stage, amounts.size, MIB, "write 1M")


def _write(stage: Stage, size: int, block_size: int, name: str) -> Figures:
    with _folder(stage) as folder:
        path = folder / "large"
        block = block_of(block_size)
        clock = Clock()
        with path.open("wb", buffering=0) as file:
            for start in range(0, size, block_size):
                number_pages(block, start // PAGE)
                file.write(block)
        closed = clock.seconds
        stage.settle_file(path, size)
        stored = clock.seconds
        if stage.verify:
            _check(stage.store.read(str(path.relative_to(stage.root))), block_size)
    return {f"{name} closed": size / MIB / closed, f"{name} stored": size / MIB / stored}


def small(stage: Stage, amounts: Amounts) -> Figures:
    names = [f"{number:06}" for number in range(amounts.files)]
    with _folder(stage) as folder:
        closed, stored = _create(stage, folder, names)
        stage.remount()
        cold = _read_small(folder, names)
        warm = _read_small(folder, names)
        clock = Clock()
        _command("rm", "-rf", str(folder))
        removed = clock.seconds
        stage.settle_folder(folder, 0)
        gone = clock.seconds
    figures = {"create closed": closed, "create stored": stored, "small cold": cold, "small warm": warm}
    figures |= {"rm -rf": removed, "rm -rf stored": gone}
    return {name: len(names) / seconds for name, seconds in figures.items()}


def untar(stage: Stage, amounts: Amounts) -> Figures:
    names = [f"{number:06}" for number in range(amounts.files)]
    with _folder(stage) as folder, tempfile.TemporaryDirectory() as place:
        archive = Path(place, "small.tar")
        with tarfile.open(archive, "w") as file:
            for number, name in enumerate(names):
                entry = tarfile.TarInfo(name)
                entry.size = PAGE
                file.addfile(entry, io.BytesIO(page(number)))
        clock = Clock()
        _command("tar", "-xf", str(archive), "-C", str(folder))
        closed = clock.seconds
        stage.settle_folder(folder, len(names))
        stored = clock.seconds
    return {"untar": len(names) / closed, "untar stored": len(names) / stored}


def removal(stage: Stage, amounts: Amounts) -> Figures:
    stage.store.plant_many([f"written/{number:06}" for number in range(amounts.files)], ENTRY)
    with _folder(stage) as folder:
        clock = Clock()
        _command("rm", "-rf", str(folder))
        removed = clock.seconds
        stage.settle_folder(folder, 0)
        gone = clock.seconds
    return {"rm -rf cold": amounts.files / removed, "rm -rf cold stored": amounts.files / gone}


def save(stage: Stage, amounts: Amounts) -> Figures:
    count = amounts.files // 10
    with _folder(stage) as folder:
        clock = Clock()
        for number in range(count):
            temporary = folder / "temporary"
            temporary.write_bytes(page(number))
            temporary.replace(folder / f"{number:06}")
        closed = clock.seconds
        stage.settle_folder(folder, count)
        stored = clock.seconds
    return {"save": count / closed, "save stored": count / stored}


def _create(stage: Stage, folder: Path, names: list[str]) -> tuple[float, float]:
    clock = Clock()
    for number, name in enumerate(names):
        with (folder / name).open("wb", buffering=0) as file:
            file.write(page(number))
    closed = clock.seconds
    stage.settle_folder(folder, len(names))
    return closed, clock.seconds


def _read_small(folder: Path, names: list[str]) -> float:
    clock = Clock()
    for number, name in enumerate(names):
        with (folder / name).open("rb", buffering=0) as file:
            if file.read(2 * PAGE) != page(number):
                raise Broken(f"wrong bytes in {name}")
    return clock.seconds


def listing(stage: Stage, amounts: Amounts) -> Figures:
    stage.remount()
    return {"ls cold": _list(stage.root / MANY, amounts.entries), "ls warm": _list(stage.root / MANY, amounts.entries)}


def _list(folder: Path, entries: int) -> float:
    clock = Clock()
    said = _command("ls", "-lR", str(folder))
    seconds = clock.seconds
    rows = said.splitlines()
    if sum(row.startswith("-") and f" {len(ENTRY)} " in row for row in rows) != entries:
        raise Broken(f"ls did not show {entries} files of {len(ENTRY)} bytes")
    return seconds


def _command(*words: str) -> str:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Broken(f"{words[0]} ended with {done.returncode}: {done.stderr.strip()[:200]}")
    return done.stdout


@contextmanager
def _folder(stage: Stage) -> Iterator[Path]:
    """A new directory in a fresh mount; nothing of it is in the store afterwards."""
    stage.remount()
    folder = stage.root / "written"
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    finally:
        stage.leave()
        stage.store.remove("written/")


WORKLOADS: dict[str, Workload] = {
    "start": start,
    "sequential": sequential,
    "again": again,
    "random": random_reads,
    "write-4k": write_4k,
    "write-1m": write_1m,
    "small": small,
    "untar": untar,
    "removal": removal,
    "save": save,
    "list": listing,
}
