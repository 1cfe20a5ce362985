"""Reference: what POSIX says about names and bytes, in dictionaries.

What it is: the model that the mount is compared with; every verb is a few lines and does what a local disk does.
What it is not: aware of stores, uploads, time or handles (a handle is a `File`: it lives on when its name is gone).
Invariants: a verb either does everything or raises OSError with the errno of a local disk. What a daemon's death costs is what was
written to a file since it was closed, and the files that never were (S6, S7); names are kept.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(eq=False)
class File:
    """`closed`: the content that was promised last; None when the file was never closed."""

    data: bytearray = field(default_factory=bytearray)
    closed: bytes | None = None

    def close(self) -> None:
        self.closed = bytes(self.data)

    def write(self, offset: int, data: bytes) -> None:
        self.data.extend(bytes(max(0, offset - len(self.data))))
        self.data[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))


@dataclass(frozen=True, eq=False)
class Link:
    target: bytes


@dataclass(eq=False)
class Folder:
    entries: dict[str, Thing] = field(default_factory=dict)


Thing: TypeAlias = File | Link | Folder


def _fail(number: int, path: str) -> OSError:
    return OSError(number, errno.errorcode[number], path)


class Reference:
    """A tree of folders and files."""

    def __init__(self) -> None:
        self.root = Folder()

    def get(self, path: str) -> Thing:
        node: Thing = self.root
        for name in path.split("/") if path else ():
            if not isinstance(node, Folder):
                raise _fail(errno.ENOTDIR, path)
            if name not in node.entries:
                raise _fail(errno.ENOENT, path)
            node = node.entries[name]
        return node

    def folder(self, path: str) -> Folder:
        node = self.get(path)
        if not isinstance(node, Folder):
            raise _fail(errno.ENOTDIR, path)
        return node

    def _place(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        return self.folder(above), name

    def _new(self, path: str) -> tuple[Folder, str]:
        parent, name = self._place(path)
        if name in parent.entries:
            raise _fail(errno.EEXIST, path)
        return parent, name

    def create(self, path: str) -> File:
        parent, name = self._new(path)
        file = parent.entries[name] = File()
        return file

    def symlink(self, path: str, target: bytes) -> None:
        parent, name = self._new(path)
        parent.entries[name] = Link(target)

    def mkdir(self, path: str) -> None:
        parent, name = self._new(path)
        parent.entries[name] = Folder()

    def unlink(self, path: str) -> None:
        parent, name = self._place(path)
        if isinstance(self.get(path), Folder):
            raise _fail(errno.EISDIR, path)
        del parent.entries[name]

    def rmdir(self, path: str) -> None:
        parent, name = self._place(path)
        node = self.get(path)
        if not isinstance(node, Folder):
            raise _fail(errno.ENOTDIR, path)
        if node.entries:
            raise _fail(errno.ENOTEMPTY, path)
        del parent.entries[name]

    def rename(self, old: str, new: str, *, replace: bool) -> None:
        """The caller does not ask to move a directory into itself: a kernel refuses that by itself."""
        node = self.get(old)
        parent, name = self._place(new)
        target = parent.entries.get(name)
        if target is node:
            return
        if target is not None:
            self._may_replace(node, target, new, replace)
        source, old_name = self._place(old)
        del source.entries[old_name]
        parent.entries[name] = node

    def _may_replace(self, node: Thing, target: Thing, path: str, replace: bool) -> None:
        if not replace:
            raise _fail(errno.EEXIST, path)
        if not isinstance(target, Folder):
            if isinstance(node, Folder):
                raise _fail(errno.ENOTDIR, path)
        elif not isinstance(node, Folder):
            raise _fail(errno.EISDIR, path)
        elif target.entries:
            raise _fail(errno.ENOTEMPTY, path)

    def die(self) -> None:
        """The daemon is killed: every file has what it had when it was closed last."""
        for path, node in list(self.paths()):
            if isinstance(node, File):
                if node.closed is None:
                    self.unlink(path)
                else:
                    node.data = bytearray(node.closed)

    def add(self, name: str, files: dict[str, bytes]) -> None:
        """A folder at the root with these files, which somebody else made; none when there are no files."""
        if files:
            self.root.entries[name] = Folder({file: File(bytearray(data)) for file, data in files.items()})

    def paths(self) -> Iterator[tuple[str, Thing]]:
        """Everything below the root, folders before what is in them."""
        waiting: list[tuple[str, Folder]] = [("", self.root)]
        while waiting:
            above, folder = waiting.pop()
            for name, node in sorted(folder.entries.items()):
                yield above + name, node
                if isinstance(node, Folder):
                    waiting.append((f"{above}{name}/", node))

    def files(self) -> dict[str, bytes]:
        return {path: bytes(node.data) for path, node in self.paths() if isinstance(node, File)}

    def links(self) -> dict[str, bytes]:
        return {path: node.target for path, node in self.paths() if isinstance(node, Link)}

    def folders(self) -> set[str]:
        return {path for path, node in self.paths() if isinstance(node, Folder)}
