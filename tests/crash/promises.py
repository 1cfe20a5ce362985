"""What a writer was promised, computed from its log.

What it is: the operations a writer can do, what each makes of a tree of names, and `Promises`: the log read back into the states that
are allowed after the daemon was killed, or after the power was cut.
What it is not: anything that touches a file system; the writer (`writer`) and the comparison (`verdicts`) are elsewhere.
Invariants:
- A log is lines of JSON. `intent` stands before an operation, `point` where it may take effect from (the close of what was written),
  `done` after it returned. An operation that did not reach its point promises the state before it, and no other (S6).
- At most one operation of a log has reached its point and is not done.
- Times are those of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from tests.crash.contents import Content, Piece, digest_of, size_of, spliced, truncated, whole

AT_CLOSE = ("write", "edit", "append", "hold")
"""Verbs that take effect with the close of their descriptor; all others are one system call."""


@dataclass(frozen=True)
class Op:
    """One operation. `edits`: the ranges that an edit writes. Paths are relative to the mount."""

    number: int
    verb: str
    path: str
    to: str = ""
    size: int = 0
    edits: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Op:
        return cls(**{**row, "edits": tuple((start, stop) for start, stop in row["edits"])})

    def touches(self, path: str) -> bool:
        """Whether it may change what the store has at `path`."""
        return self.verb != "fsync" and any(within(path, place) for place in (self.path, self.to) if place)


class File(NamedTuple):
    """`id` stays with it through renames and whole replacement of its bytes."""

    id: str
    content: Content


class Link(NamedTuple):
    target: str


class Directory(NamedTuple):
    kind: str = "directory"


Entry = File | Link | Directory
State = dict[str, Entry]
Changes = dict[str, Entry | None]
Shape = tuple[str, ...]
"""What can be seen of an entry from outside."""


def within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def shape(entry: Entry) -> Shape:
    if isinstance(entry, File):
        return ("file", digest_of(entry.content))
    return ("link", entry.target) if isinstance(entry, Link) else ("directory",)


def link_target(op: Op) -> str:
    return f"target-{op.number}"


def after(state: State, op: Op) -> Changes:
    """What `op` makes of the paths that it changes."""
    there = state.get(op.path)
    match op.verb:
        case "write":
            return {op.path: File(_id(there, op), whole(op.path, op.number, op.size))}
        case "edit" | "append" | "hold" | "truncate":
            assert isinstance(there, File)
            return {op.path: File(there.id, _edited(there.content, op))}
        case "mkdir":
            return {op.path: Directory()}
        case "symlink":
            return {op.path: Link(link_target(op))}
        case "unlink" | "rmdir":
            return {op.path: None}
        case "rename":
            return _renamed(state, op)
    return {}


def _id(there: Entry | None, op: Op) -> str:
    return there.id if isinstance(there, File) else f"{op.path}#{op.number}"


def _edited(content: Content, op: Op) -> Content:
    if op.verb == "truncate":
        return truncated(content, op.size)
    end = size_of(content)
    for start, stop in ((end, end + op.size),) if op.verb == "append" else op.edits:
        content = spliced(content, Piece(op.path, op.number, start, stop))
    return content


def _renamed(state: State, op: Op) -> Changes:
    moved = [path for path in state if within(path, op.path)]
    gone: Changes = dict.fromkeys(moved)
    return gone | {op.to + path[len(op.path) :]: state[path] for path in moved}


def changed(state: State, changes: Changes) -> State:
    merged = {**state, **changes}
    return {path: entry for path, entry in merged.items() if entry is not None}


class Happened(NamedTuple):
    """A change that was done, or (`at` None) that may have been."""

    at: float | None
    changes: Changes
    synced: str | None = None


@dataclass
class Window:
    """What may be there after a power cut, path by path: what came later may have been kept without what came before it.

    options: every entry that a path had since the window began. names: the files that a path was the name of. versions: what each of
    those files held. safe: the files that were there when it began, and that nobody removed in it."""

    options: dict[str, list[Entry | None]] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)
    versions: dict[str, list[File]] = field(default_factory=dict)
    safe: set[str] = field(default_factory=set)

    def begin(self, state: State) -> None:
        for path, entry in state.items():
            self._certain(path, entry)
        self.safe = set(self.versions)

    def _certain(self, path: str, entry: Entry | None) -> None:
        self.options[path], self.names[path] = [entry], set()
        if isinstance(entry, File):
            self.names[path], self.versions[entry.id] = {entry.id}, [entry]

    def widen(self, state: State, happened: Happened) -> None:
        """One more thing may have been kept; `state` is what it began with. What was fsynced meanwhile is certain."""
        if happened.synced is not None:
            for path in [path for path in self.options if within(path, happened.synced)]:
                self._certain(path, state.get(path))
        kept = {entry.id for entry in happened.changes.values() if isinstance(entry, File)}
        for path, entry in happened.changes.items():
            self.options.setdefault(path, [None]).append(entry)
            if isinstance(entry, File):
                self.names.setdefault(path, set()).add(entry.id)
                self.versions.setdefault(entry.id, []).append(entry)
            old = state.get(path)
            if isinstance(old, File) and old.id not in kept:
                self.safe.discard(old.id)

    def at(self, path: str) -> list[Entry | None]:
        """Every entry that `path` may have: a renamed file may be an earlier version of itself."""
        files = [version for name in sorted(self.names.get(path, ())) for version in self.versions[name]]
        return [*self.options.get(path, [None]), *files]

    def homes(self, name: str) -> list[str]:
        """Every path that the file may be at."""
        return sorted(path for path, names in self.names.items() if name in names)


@dataclass
class Promises:
    """One writer's log, read as far as it was fed."""

    state: State = field(default_factory=dict)
    pending: dict[int, Op] = field(default_factory=dict)
    reached: set[int] = field(default_factory=set)
    settled: Changes = field(default_factory=dict)
    history: dict[str, set[Shape]] = field(default_factory=dict)
    done: int = 0
    number: int = 0
    ended: int | None = None
    _base: State = field(default_factory=dict)
    _happened: list[Happened] = field(default_factory=list)

    def feed(self, lines: Iterable[str]) -> None:
        for line in lines:
            row = json.loads(line)
            match row["line"]:
                case "found":
                    self.number = max(self.number, row["number"])
                    self._found(state_of(row["state"]))
                case "intent":
                    self._intended(Op.of(row["op"]))
                case "point":
                    self._reached(row["number"])
                case "done":
                    self._done(row["number"], row["at"])
                case "end":
                    self.ended = row["errno"]

    def _found(self, state: State) -> None:
        """What a check found is what the next round starts from."""
        self.state, self._base = state, dict(state)
        self.pending, self.reached, self._happened, self.ended = {}, set(), [], None
        self._remember(state)

    def _intended(self, op: Op) -> None:
        self.number = op.number
        self.pending[op.number] = op
        if op.verb not in AT_CLOSE:
            self._reached(op.number)

    def _reached(self, number: int) -> None:
        """From here on the store may get what it makes."""
        op = self.pending[number]
        self.reached.add(number)
        self._remember(after(self.state, op))
        self.settled = {path: entry for path, entry in self.settled.items() if not op.touches(path)}

    def _done(self, number: int, at: float) -> None:
        op = self.pending.pop(number)
        self.reached.discard(number)
        changes = after(self.state, op)
        self.state = changed(self.state, changes)
        self.done += 1
        synced = op.path if op.verb == "fsync" else None
        self._happened.append(Happened(at, changes, synced))
        if synced is not None:
            known = [path for path in self.history if within(path, synced)]
            self.settled |= {path: self.state.get(path) for path in known}

    def _remember(self, changes: Mapping[str, Entry | None]) -> None:
        for path, entry in changes.items():
            shapes = self.history.setdefault(path, set())
            if entry is not None:
                shapes.add(shape(entry))

    def _unsure(self) -> list[Happened]:
        """The operation that had reached its point, and was not done."""
        return [Happened(None, after(self.state, self.pending[number])) for number in self.reached]

    def allowed(self) -> list[State]:
        """The states that are right after a kill: everything done, and the one that was under way or not."""
        return [self.state, *(changed(self.state, unsure.changes) for unsure in self._unsure())]

    def window(self, since: float) -> Window:
        """What may be there after a cut that kept everything done until `since`, and anything or nothing of what came later."""
        early = [each for each in self._happened if each.at is not None and each.at <= since]
        state = self._base
        for each in early:
            state = changed(state, each.changes)
        window = Window()
        window.begin(state)
        for each in [*self._happened[len(early) :], *self._unsure()]:
            window.widen(state, each)
            state = changed(state, each.changes)
        return window


# a state as a line of a log


def found_line(state: State, number: int) -> str:
    """The line that a log begins with."""
    rows = {path: [type(entry).__name__, *entry] for path, entry in state.items()}
    return json.dumps({"line": "found", "state": rows, "number": number})


def state_of(rows: Mapping[str, Any]) -> State:
    state: State = {}
    for path, (kind, *values) in rows.items():
        match kind:
            case "File":
                state[path] = File(values[0], tuple(Piece(*piece) for piece in values[1]))
            case "Link":
                state[path] = Link(*values)
            case _:
                state[path] = Directory()
    return state


def op_line(op: Op, at: float) -> str:
    return json.dumps({"line": "intent", "op": asdict(op), "at": at})


def mark_line(line: str, op: Op, at: float) -> str:
    """`point` or `done`."""
    return json.dumps({"line": line, "number": op.number, "at": at})


def end_line(error: OSError, at: float) -> str:
    return json.dumps({"line": "end", "errno": error.errno, "why": str(error), "at": at})
