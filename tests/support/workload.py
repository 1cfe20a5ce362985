"""Mixed work on a directory, seeded, with a model of what must be there in the end.

What it is: one worker's life: it writes, appends, truncates, renames, deletes and reads back, and knows what each file holds.
What it is not: aware of any mount; run on a plain directory it proves itself.
Invariants: a worker changes only its own folder, so that its model is exact however many run at once. A read that differs from the
model raises AssertionError there and then.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NAMES = [f"file{number}" for number in range(12)]
FOLDERS = ["", "a", "a/b", "c"]
LARGEST = 300_000

Model = dict[str, bytes]


class Worker:
    """`common` is a large file that every worker reads, of `common_size` bytes, each 8 of which are their own offset."""

    def __init__(self, home: Path, seed: int, common: Path | None, common_size: int) -> None:
        self.home = home
        self.dice = random.Random(seed)
        self.common = common
        self.common_size = common_size
        self.model: Model = {}
        self.steps = 0

    def settle_in(self) -> None:
        for folder in FOLDERS:
            (self.home / folder).mkdir(parents=True, exist_ok=True)

    def run(self, until: float) -> None:
        """Work until this monotonic time."""
        acts: list[Callable[[], None]] = [self.write] * 4 + [self.read] * 4 + [self.append, self.patch, self.truncate, self.save]
        acts += [self.rename, self.delete, self.look, self.swap_folder, self.read_common]
        while time.monotonic() < until:
            self.dice.choice(acts)()
            self.steps += 1

    def some(self) -> str | None:
        return self.dice.choice(sorted(self.model)) if self.model else None

    def any_name(self) -> str:
        return str(Path(self.dice.choice(FOLDERS), self.dice.choice(NAMES)))

    def data(self) -> bytes:
        return self.dice.randbytes(int(LARGEST ** self.dice.random()))

    def write(self) -> None:
        name, data = self.any_name(), self.data()
        (self.home / name).write_bytes(data)
        self.model[name] = data

    def save(self) -> None:
        """By a temporary file and a rename, sometimes with fsync."""
        name, data = self.any_name(), self.data()
        with open(self.home / f"{name}.tmp", "wb") as file:
            file.write(data)
            file.flush()
            if self.dice.random() < 0.1:
                os.fsync(file.fileno())
        (self.home / f"{name}.tmp").replace(self.home / name)
        self.model[name] = data

    def append(self) -> None:
        if name := self.some():
            data = self.data()[:5000]
            with open(self.home / name, "ab") as file:
                file.write(data)
            self.model[name] += data

    def patch(self) -> None:
        if name := self.some():
            data, old = self.data()[:5000], self.model[name]
            offset = self.dice.randrange(len(old) + 1)
            with open(self.home / name, "r+b") as file:
                file.seek(offset)
                file.write(data)
            self.model[name] = old[:offset] + data + old[offset + len(data) :]

    def truncate(self) -> None:
        if name := self.some():
            size = self.dice.randrange(len(self.model[name]) + 1000)
            os.truncate(self.home / name, size)
            self.model[name] = self.model[name][:size].ljust(size, b"\0")

    def rename(self) -> None:
        if name := self.some():
            new = self.any_name()
            (self.home / name).replace(self.home / new)
            self.model[new] = self.model.pop(name)

    def delete(self) -> None:
        if name := self.some():
            (self.home / name).unlink()
            del self.model[name]

    def swap_folder(self) -> None:
        """A directory goes to another name and back, with all that is in it."""
        if self.dice.random() < 0.2:
            (self.home / "a").rename(self.home / "moved")
            for name in [name for name in self.model if name.startswith("a/")][:2]:
                assert (self.home / "moved" / name[2:]).read_bytes() == self.model[name], f"{name} while its directory was renamed"
            (self.home / "moved").rename(self.home / "a")

    def read(self) -> None:
        if name := self.some():
            found = (self.home / name).read_bytes()
            assert found == self.model[name], f"{self.home / name}: {len(found)} bytes, {len(self.model[name])} expected, or they differ"

    def look(self) -> None:
        """The listing and the sizes agree with the model."""
        found = {str(path.relative_to(self.home)): path.stat().st_size for path in self.home.rglob("*") if path.is_file()}
        expected = {name: len(data) for name, data in self.model.items()}
        extra, missing = sorted(found.items() - expected.items()), sorted(expected.items() - found.items())
        assert found == expected, f"{self.home} at step {self.steps}: listed {extra}, has {missing}"

    def read_common(self) -> None:
        if self.common is not None:
            offset = self.dice.randrange(self.common_size // 8 - 20_000) * 8
            with open(self.common, "rb") as file:
                file.seek(offset)
                data = file.read(8 * self.dice.randrange(1, 20_000))
            assert data[:8] == offset.to_bytes(8) and data[-8:] == (offset + len(data) - 8).to_bytes(8), f"wrong bytes at {offset}"


def common_bytes(size: int) -> bytes:
    return b"".join(offset.to_bytes(8) for offset in range(0, size, 8))


def work(root: str, first: int, threads: int, seconds: float, seed: int, common: str | None, common_size: int) -> tuple[Model, int]:
    """`threads` workers side by side in this process; what they must have left, by path below `root`, and their steps."""
    shared = Path(common) if common else None
    workers = [Worker(Path(root, f"worker{number}"), seed + number, shared, common_size) for number in range(first, first + threads)]
    start = threading.Barrier(threads)

    def live(worker: Worker) -> None:
        worker.settle_in()
        start.wait()
        worker.run(time.monotonic() + seconds)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(live, workers))
    model = {f"{worker.home.name}/{name}": data for worker in workers for name, data in worker.model.items()}
    return model, sum(worker.steps for worker in workers)
