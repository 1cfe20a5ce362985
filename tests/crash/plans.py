"""What a writer does next: dice over what is there.

What it is: operations that must succeed on a working file system, chosen from a small set of names so that they meet each other often;
and a tour, which has every kind of operation once in a fixed order.
What it is not: the doing (`writer`), or what comes of it (`promises`).
Invariants: a file that is held open for writing lies in a directory that nothing else touches. At most `LARGE` files are so large that
an S3 store gets them in parts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NotRequired, TypedDict

from tests.crash.contents import size_of
from tests.crash.promises import Directory, File, Op, State, within

MIB = 1024 * 1024
LARGEST_PUT = 16 * MIB
SMALL = 20_000
LARGE = 2
FOLDERS = ("a", "b", "c", "a/x", "a/y", "b/x", "c/x")
NAMES = ("f0", "f1", "f2", "f3")
HELD = "held"


class Plan(TypedDict):
    """An operation without its number."""

    verb: str
    path: str
    to: NotRequired[str]
    size: NotRequired[int]
    edits: NotRequired[tuple[tuple[int, int], ...]]


class Planner:
    """Plans below `home`. `without`: verbs (and `large`) that are not used."""

    def __init__(self, home: str, dice: random.Random, without: frozenset[str], *, tour: bool) -> None:
        self._home = home
        self._dice = dice
        self._without = without
        self._next: list[Plan] = list(self._tour()) if tour else []
        self._temporary = 0
        weights: dict[str, tuple[Callable[[State], Plan | None], int]] = {
            "write": (self._write, 50),
            "save": (self._save, 25),
            "edit": (self._edit, 30),
            "append": (self._append, 20),
            "truncate": (self._truncate, 10),
            "rename": (self._rename, 25),
            "unlink": (self._unlink, 20),
            "mkdir": (self._mkdir, 15),
            "rmdir": (self._rmdir, 6),
            "move": (self._move, 8),
            "symlink": (self._symlink, 5),
            "fsync": (self._fsync, 6),
            "hold": (self._hold, 12),
            "large": (self._large, 2),
        }
        self._acts = [act for name, (act, _) in weights.items() if name not in without]
        self._weights = [weight for name, (_, weight) in weights.items() if name not in without]

    def next(self, state: State, held: Op | None) -> Plan | None:
        """The next operation; None: close the file that is held open."""
        if self._home not in state:
            return {"verb": "mkdir", "path": self._home}
        if held is not None and self._dice.random() < 0.1:
            return None
        while True:
            if self._next:
                return self._next.pop(0)
            act = self._dice.choices(self._acts, self._weights)[0]
            if held is not None and act == self._hold:
                continue
            if (plan := act(state)) is not None:
                return plan

    # the dice

    def _size(self) -> int:
        size = int(SMALL ** self._dice.random()) - 1
        return size * 20 if self._dice.random() < 0.03 else size

    def _is_free(self, path: str) -> bool:
        """Whether this is one of the names for everyday use, or a temporary file that a kill left."""
        return not within(path, f"{self._home}/{HELD}") and path.rpartition("/")[2].startswith(NAMES)

    def _files(self, state: State) -> list[str]:
        return sorted(path for path, entry in state.items() if isinstance(entry, File) and self._is_free(path))

    def _names(self, state: State) -> list[str]:
        """Files and links."""
        return sorted(path for path, entry in state.items() if not isinstance(entry, Directory) and self._is_free(path))

    def _folders(self, state: State) -> list[str]:
        folders = (self._home, *(f"{self._home}/{folder}" for folder in FOLDERS))
        return [folder for folder in folders if folder in state]

    def _absent(self, state: State) -> list[str]:
        """Directories that are not there, and could be."""
        folders = (f"{self._home}/{folder}" for folder in FOLDERS)
        return [folder for folder in folders if folder not in state and folder.rpartition("/")[0] in state]

    def _one(self, among: list[str]) -> str | None:
        return self._dice.choice(among) if among else None

    def _place(self, state: State) -> str:
        return f"{self._dice.choice(self._folders(state))}/{self._dice.choice(NAMES)}"

    def _ranges(self, size: int) -> tuple[tuple[int, int], ...]:
        """A few ranges to write over, seldom beyond the end."""
        starts = [self._dice.randrange(size + (size // 4 if self._dice.random() < 0.2 else 0) + 1) for _ in range(self._dice.randint(1, 3))]
        return tuple((start, start + self._dice.randint(1, 3000)) for start in starts)

    # the operations

    def _write(self, state: State) -> Plan:
        path = self._place(state)
        if path in state and not isinstance(state[path], File):
            return {"verb": "unlink", "path": path}  # a link: writing would follow it
        return {"verb": "write", "path": path, "size": self._size()}

    def _save(self, state: State) -> Plan:
        """A temporary file, then a rename over the name."""
        path = self._place(state)
        self._temporary += 1
        temporary = f"{path}.{self._temporary}.tmp"
        self._next.append({"verb": "rename", "path": temporary, "to": path})
        if self._dice.random() < 0.1 and "fsync" not in self._without:
            self._next.insert(0, {"verb": "fsync", "path": temporary})
        return {"verb": "write", "path": temporary, "size": self._size()}

    def _edit(self, state: State) -> Plan | None:
        large = [path for path in self._large_names() if path in state and self._dice.random() < 0.1]
        path = self._one(self._files(state) + large)
        entry = state.get(path or "")
        if path is None or not isinstance(entry, File):
            return None
        return {"verb": "edit", "path": path, "edits": self._ranges(size_of(entry.content))}

    def _append(self, state: State) -> Plan | None:
        path = self._one(self._files(state))
        return {"verb": "append", "path": path, "size": self._dice.randint(1, 3000)} if path else None

    def _truncate(self, state: State) -> Plan | None:
        path = self._one(self._files(state))
        entry = state.get(path or "")
        if path is None or not isinstance(entry, File):
            return None
        return {"verb": "truncate", "path": path, "size": self._dice.randrange(size_of(entry.content) + 500)}

    def _rename(self, state: State) -> Plan | None:
        path, to = self._one(self._names(state)), self._place(state)
        return {"verb": "rename", "path": path, "to": to} if path and path != to else None

    def _unlink(self, state: State) -> Plan | None:
        path = self._one(self._names(state))
        return {"verb": "unlink", "path": path} if path else None

    def _mkdir(self, state: State) -> Plan | None:
        path = self._one(self._absent(state))
        return {"verb": "mkdir", "path": path} if path else None

    def _rmdir(self, state: State) -> Plan | None:
        empty = [folder for folder in self._folders(state)[1:] if sum(within(path, folder) for path in state) == 1]
        path = self._one(empty)
        return {"verb": "rmdir", "path": path} if path else None

    def _move(self, state: State) -> Plan | None:
        """A directory with all that is in it."""
        path = self._one(self._folders(state)[1:])
        to = self._one([folder for folder in self._absent(state) if path and not within(folder, path)])
        return {"verb": "rename", "path": path, "to": to} if path and to else None

    def _symlink(self, state: State) -> Plan | None:
        path = self._place(state)
        return {"verb": "symlink", "path": path} if path not in state else None

    def _fsync(self, state: State) -> Plan | None:
        path = self._one(self._files(state) + self._folders(state))
        return {"verb": "fsync", "path": path} if path else None

    def _hold(self, state: State) -> Plan:
        """Open a closed file, write into it, and leave it open: the closed version is the one that counts."""
        folder = f"{self._home}/{HELD}"
        if folder not in state:
            return {"verb": "mkdir", "path": folder}
        path = f"{folder}/{self._dice.choice(NAMES)}"
        entry = state.get(path)
        if not isinstance(entry, File):
            self._next.append({"verb": "hold", "path": path, "edits": ((100, 2100), (5000, 5500))})
            return {"verb": "write", "path": path, "size": self._dice.randint(1000, 10_000)}
        return {"verb": "hold", "path": path, "edits": self._ranges(size_of(entry.content))}

    def _large_names(self) -> list[str]:
        return [f"{self._home}/large{number}" for number in range(LARGE)]

    def _large(self, state: State) -> Plan:
        """More than one request can carry."""
        path = self._dice.choice(self._large_names())
        if path in state and self._dice.random() < 0.3:
            return {"verb": "unlink", "path": path}
        return {"verb": "write", "path": path, "size": LARGEST_PUT + self._dice.randint(1, 3 * MIB)}

    # the tour

    def _tour(self) -> Iterator[Plan]:
        """Every kind of operation, on what the store has and on what it does not have yet."""
        here = self._home
        folder = f"{here}/t"
        yield {"verb": "mkdir", "path": folder}
        for name, size in (("one", 3000), ("two", 5000), ("three", 700)):
            yield {"verb": "write", "path": f"{folder}/{name}", "size": size}
        if "large" not in self._without:
            yield {"verb": "write", "path": f"{here}/large0", "size": LARGEST_PUT + MIB}
        yield {"verb": "fsync", "path": here}
        yield {"verb": "edit", "path": f"{folder}/one", "edits": ((10, 600), (2000, 4000))}
        yield {"verb": "append", "path": f"{folder}/two", "size": 900}
        yield {"verb": "truncate", "path": f"{folder}/three", "size": 100}
        yield {"verb": "fsync", "path": f"{folder}/one"}
        yield {"verb": "rename", "path": f"{folder}/one", "to": f"{folder}/four"}
        yield {"verb": "write", "path": f"{folder}/fresh", "size": 2000}
        yield {"verb": "rename", "path": f"{folder}/fresh", "to": f"{folder}/two"}
        if "symlink" not in self._without:
            yield {"verb": "symlink", "path": f"{folder}/link"}
        yield {"verb": "unlink", "path": f"{folder}/three"}
        yield {"verb": "mkdir", "path": f"{here}/empty"}
        yield {"verb": "rmdir", "path": f"{here}/empty"}
        yield {"verb": "rename", "path": folder, "to": f"{here}/moved"}
        yield {"verb": "write", "path": f"{here}/moved/five", "size": 4000}
        if "large" not in self._without:
            yield {"verb": "unlink", "path": f"{here}/large0"}
        yield {"verb": "fsync", "path": here}
