"""Nodes: one name of the mount, with what is known of it.

What it is: the record that everybody shares, and what follows from its fields alone.
What it is not: the picture of all names (`tree`), or a source of anything.
Invariant: a node has no way to another but to the directory that it lies in and to the entries it has.
"""

from __future__ import annotations

import math
import stat
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from storemount.errors import NotFound
from storemount.stores.base import Artifact, Child

if TYPE_CHECKING:
    from storemount.writeback.staging import StagedFile

ROOT = 1


@dataclass(slots=True)
class Attributes:
    """What a program set on a node, which counts more than what the store says; None where nothing was set. Of a directory also what its
    marker says."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime_ns: int | None = None
    atime_ns: int | None = None
    ctime_ns: int | None = None
    xattrs: dict[bytes, bytes] | None = None


@dataclass(slots=True)
class Folder:
    """The directory side of a node.

    children: what is there. listed_until: until when `children` is the whole truth. marked: a marker object exists, or the store has real
    directories. hidden: the store holds keys below that cannot be mapped. shadowed: files that a directory's name hides, in the listing
    under way. touched: names changed here, and when (`Tree.tick`). leaving: names whose objects the store still has, and how many pending
    changes will take them away. unborn: the store does not have this directory yet, so nobody but the tree knows what is in it.
    readers: who has it open, or is listing it. asked: since when, and how often, names of it were asked for one by one.
    """

    children: dict[str, Node] = field(default_factory=dict)
    listed_until: float = -1.0
    absent: dict[str, float] = field(default_factory=dict)
    touched: dict[str, int] = field(default_factory=dict)
    marked: bool = False
    hidden: bool = False
    unborn: bool = False
    leaving: Counter[str] = field(default_factory=Counter)
    shadowed: list[Child] = field(default_factory=list)
    readers: int = 0
    asked: tuple[float, int] = (-math.inf, 0)


@dataclass(slots=True, eq=False)
class Node:
    """A name we know, or knew: what the store holds (`artifact`) and the local truth not yet there (`staged`, `pending`).

    covers: the store has another object under this name, which the staged bytes will replace, or the marker of a new directory.
    target: where a symbolic link points. suffix: what its key has beyond the name, where that tells that it is a link.
    lookups: what the kernel holds. opens, writers: open handles. pending: unfinished changes. error: why the last upload was refused.
    replaced: somebody else changed or removed the object, and the name is another node's. parent is None when the node has no name
    any more (unlinked, or replaced by a newer version).
    """

    ino: int
    parent: Node | None
    name: str
    artifact: Artifact | None = None
    covers: bool = False
    folder: Folder | None = None
    target: bytes | None = None
    suffix: str = ""
    staged: StagedFile | None = None
    attributes: Attributes | None = None
    fresh_until: float = -1.0
    lookups: int = 0
    opens: int = 0
    writers: int = 0
    pending: int = 0
    error: Exception | None = None
    replaced: bool = False

    @property
    def pinned(self) -> bool:
        """Local truth that a listing must not overrule."""
        if self.staged is not None or self.pending > 0 or (self.artifact is None and self.target is not None):
            return True
        return self.folder is not None and bool(self.folder.leaving)

    @property
    def forgettable(self) -> bool:
        """Whether nothing here needs the name; the kernel may hold it."""
        if self.pinned or self.opens:
            return False
        return self.folder is None or not (self.folder.children or self.folder.unborn or self.folder.readers)

    @property
    def attached(self) -> bool:
        return self.parent is not None or self.ino == ROOT

    def is_within(self, folder: Node) -> bool:
        """Whether this is `folder`, or somewhere below it."""
        node: Node | None = self
        while node is not None and node is not folder:
            node = node.parent
        return node is not None

    @property
    def is_symlink(self) -> bool:
        return self.target is not None or bool(self.suffix) or (self.artifact is not None and self.artifact.is_symlink)

    @property
    def kind(self) -> int:
        """The file type bits of st_mode."""
        if self.folder is not None:
            return stat.S_IFDIR
        return stat.S_IFLNK if self.is_symlink else stat.S_IFREG

    @property
    def size(self) -> int:
        if self.staged is not None:
            return self.staged.size
        if self.target is not None:
            return len(self.target)
        return (self.artifact.size or len(self.artifact.told_target)) if self.artifact else 0

    @property
    def own(self) -> Attributes:
        """The attributes set here, made on first use."""
        if self.attributes is None:
            self.attributes = Attributes()
        return self.attributes

    @property
    def path(self) -> str:
        """The name relative to the mount's root. Raises NotFound: it has no name."""
        parts: list[str] = []
        node = self
        while node.ino != ROOT:
            if node.parent is None:
                raise NotFound(f"{self.name} has gone")
            parts.append(node.name)
            node = node.parent
        return "/".join(reversed(parts))

    @property
    def key(self) -> str:
        """The key the node should have in the store (a directory's without its slash). Raises NotFound: it has no name."""
        return self.path + self.suffix
