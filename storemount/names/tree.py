"""What we know of names: nodes, lookup counts, listings, expiry.

What it is: the mount's picture of the store's names, with the local truth that the store does not have yet laid over it.
What it is not: a way to learn anything. It is synchronous and does no I/O; `catalog` asks the store and tells the tree.
Invariants:
- A version is an inode: an object replaced by somebody else becomes a NEW node; the old one lives on, detached, for whoever holds it
  (with the kernel's write-back cache on, the kernel ignores a size or mtime that changes under an inode).
- Local truth wins: a node that is pinned (staged bytes, or a pending change), and a name changed after a question to the store was
  asked, are never overruled by that question's answer.
- A directory shadows a file of the same name; what cannot be a path segment is hidden (S2).
"""

from __future__ import annotations

import itertools
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from storemount.errors import NotFound
from storemount.names.nodes import ROOT, Attributes, Folder, Node
from storemount.stores.base import Artifact, Child, Meta, is_partial, said
from storemount.stores.dialects import LONGEST_TARGET

MAX_SEGMENT = 255


def mappable(name: str) -> bool:
    """Whether this part of a key can be a file name (S2)."""
    if name in ("", ".", "..") or "/" in name or "\0" in name or is_partial(name):
        return False
    return len(name.encode("utf-8", "surrogateescape")) <= MAX_SEGMENT


class Tree:
    """All nodes, by inode number and by name."""

    def __init__(self, *, real_directories: bool, link_suffix: str = "") -> None:
        self._inodes = itertools.count(ROOT + 1)
        self._ticks = itertools.count(1)
        self._now = 0
        self._asked: Counter[int] = Counter()
        self._real_directories = real_directories
        self._link_suffix = link_suffix
        self.root = Node(ROOT, None, "", folder=Folder(marked=True), lookups=1)
        self._nodes: dict[int, Node] = {ROOT: self.root}

    def __len__(self) -> int:
        return len(self._nodes)

    def tick(self) -> int:
        """The order of local changes: what was asked at tick n says nothing about names touched after n."""
        return self._now

    @contextmanager
    def question(self) -> Iterator[int]:
        """While the store is being asked: the tick at which it was. The answer says nothing about names touched after that."""
        began = self.tick()
        self._asked[began] += 1
        try:
            yield began
        finally:
            self._asked[began] -= 1
            if not self._asked[began]:
                del self._asked[began]

    def get(self, ino: int) -> Node | None:
        return self._nodes.get(ino)

    def find(self, path: str) -> Node | None:
        """The node at `path` (relative to the root) among what is known."""
        node: Node | None = self.root
        for part in path.split("/") if path else ():
            node = node.folder.children.get(part) if node is not None and node.folder is not None else None
        return node

    def below(self, node: Node) -> Iterator[Node]:
        """`node` and every known node under it."""
        waiting = [node]
        while waiting:
            each = waiting.pop()
            yield each
            if each.folder is not None:
                waiting += each.folder.children.values()

    def every(self) -> list[Node]:
        return list(self._nodes.values())

    # names: local changes

    def add(self, parent: Node, name: str, *, directory: bool = False) -> Node:
        """A new node at this name, in place of what was there. Raises NotFound: the directory itself has gone."""
        _must_be_attached(parent)
        node = Node(next(self._inodes), None, "", folder=Folder(marked=self._real_directories) if directory else None)
        self._nodes[node.ino] = node
        self._attach(node, parent, name)
        self._touch(parent, name)
        return node

    def unlink(self, node: Node) -> None:
        """Take the name away; the node lives as long as somebody holds it."""
        if node.parent is not None:
            self._touch(node.parent, node.name)
            self._detach(node)

    def relink(self, node: Node, parent: Node, name: str) -> None:
        """Move the node (with all below it) to another name, in place of what was there. Raises NotFound as `add` does."""
        _must_be_attached(parent)
        if node.parent is not None:
            self._touch(node.parent, node.name)
            assert node.parent.folder is not None
            del node.parent.folder.children[node.name]
        self._attach(node, parent, name)
        self._touch(parent, name)

    def hide(self, parent: Node, name: str) -> None:
        """A pending change will take away what the store has under this name, which is not seen from now on."""
        assert parent.folder is not None
        parent.folder.leaving[name] += 1

    def unhide(self, parent: Node, name: str) -> None:
        """The change is over: what the store says of this name from now on holds."""
        assert parent.folder is not None
        parent.folder.leaving[name] -= 1
        if not parent.folder.leaving[name]:
            del parent.folder.leaving[name]
        self._touch(parent, name)

    def confirm(self, node: Node) -> None:
        """The store has just got what the node holds: a listing that was asked for before does not know it."""
        if node.parent is not None:
            self._touch(node.parent, node.name)

    def _touch(self, parent: Node, name: str) -> None:
        assert parent.folder is not None
        self._now = next(self._ticks)
        parent.folder.touched[name] = self._now
        parent.folder.absent.pop(name, None)

    def _attach(self, node: Node, parent: Node, name: str) -> None:
        assert parent.folder is not None
        held = parent.folder.children.get(name)
        if held is not None and held is not node:
            self._detach(held)
        node.parent, node.name = parent, name
        parent.folder.children[name] = node

    def _detach(self, node: Node) -> None:
        """Take the name of this node, and of everything below it."""
        assert node.parent is not None and node.parent.folder is not None
        del node.parent.folder.children[node.name]
        for each in list(self.below(node)):
            each.parent = None
            if each.folder is not None:
                each.folder.children.clear()
            self.let_go(each)

    def let_go(self, node: Node) -> None:
        """Forget a detached node once neither the kernel nor a handle holds it."""
        if not node.attached and not node.lookups and not node.opens:
            self._nodes.pop(node.ino, None)

    def forget(self, ino: int, lookups: int) -> None:
        """The kernel dropped so many of its references."""
        node = self._nodes.get(ino)
        if node is not None and ino != ROOT:
            node.lookups = max(0, node.lookups - lookups)
            self.let_go(node)

    def evict(self, node: Node) -> bool:
        """Know nothing of this name any more, where neither the kernel nor anybody else needs it; whether that could be done."""
        if node.lookups or not node.forgettable or node.parent is None or node.parent.folder is None:
            return False
        folder = node.parent.folder
        del folder.children[node.name]
        folder.listed_until = -1.0
        node.parent = None
        self.let_go(node)
        return True

    # names: what the store said

    def adopt(self, parent: Node, child: Child, *, began: int, fresh_until: float) -> Node | None:
        """A row of a listing, or a stat, asked at tick `began`: the node it describes, or None where local truth says there is none."""
        folder = parent.folder
        if folder is None or not parent.attached or not mappable(child.name):
            return None
        held = folder.children.get(child.name)
        if _is_ours(folder, child.name, began) or (held is not None and held.pinned):
            return held
        if held is not None and (self._same(held, child) or self._pinned_below(held)):
            node = held
            self._learn(node, child)
        else:
            node = self._replace(parent, child, held)
        node.replaced = False
        node.fresh_until = max(node.fresh_until, fresh_until)
        folder.absent.pop(child.name, None)
        return node

    def _replace(self, parent: Node, child: Child, held: Node | None) -> Node:
        node = Node(next(self._inodes), None, "", artifact=child.artifact)
        node.suffix = self._suffix(child)
        if child.artifact is None:
            node.folder = Folder(marked=self._real_directories)
            self.describe(node, child.meta)
        elif child.artifact.meta is None and held is not None and held.kind == node.kind and held.attributes is not None:
            kept = held.attributes
            node.attributes = Attributes(mode=kept.mode, uid=kept.uid, gid=kept.gid, xattrs=kept.xattrs)
        if held is not None:
            held.replaced = True
        self._nodes[node.ino] = node
        self._attach(node, parent, child.name)
        return node

    def _suffix(self, child: Child) -> str:
        """What the key of this row has beyond its name."""
        artifact, suffix = child.artifact, self._link_suffix
        return suffix if suffix and artifact is not None and artifact.key.endswith(child.name + suffix) and artifact.is_symlink else ""

    def _same(self, node: Node, child: Child) -> bool:
        """Whether the node is this version (a directory has but one), and of this kind."""
        held, told = node.artifact, child.artifact
        if held is None or told is None:
            return node.folder is not None and told is None
        if node.suffix != self._suffix(child) or (told.meta is not None and told.is_symlink != node.is_symlink):
            return False
        return held.version == told.version and held.size == told.size

    def _learn(self, node: Node, child: Child) -> None:
        """What the store says of a version that is known already goes over what was known of its metadata."""
        if child.artifact is None:
            self.describe(node, child.meta)
        elif (meta := child.artifact.meta) is not None and node.artifact is not None and meta != node.artifact.meta:
            node.artifact = replace(node.artifact, meta=meta)
            if node.attributes is not None:
                for name in said(replace(meta, target=None)):
                    setattr(node.attributes, name, None)

    def describe(self, node: Node, meta: Meta | None) -> None:
        """The marker of this directory says so."""
        for name, value in said(replace(meta, target=None)).items() if meta is not None else ():
            setattr(node.own, name, stat.S_IMODE(value) if name == "mode" else value)

    def link_of(self, name: str, artifact: Artifact) -> Child | None:
        """The symbolic link that an object of this name is, where names tell that; None where it is an ordinary file."""
        suffix = self._link_suffix
        if not suffix or not name.endswith(suffix) or not 0 < artifact.size <= LONGEST_TARGET or name == suffix:
            return None
        meta = replace(artifact.meta or Meta(), mode=stat.S_IFLNK | 0o777)
        return Child(name.removesuffix(suffix), replace(artifact, meta=meta))

    def _shown_as(self, folder: Folder, child: Child, taken: Collection[str], seen: Collection[str], began: int) -> Child:
        """The row as it is shown: a link under its own name, unless something else has that, or it is known as an ordinary file here."""
        link = self.link_of(child.name, child.artifact) if child.artifact is not None else None
        if link is None:
            return child
        held = folder.children.get(child.name)
        if (held is not None and not held.suffix) or _is_ours(folder, child.name, began):
            return child
        if _is_ours(folder, link.name, began):
            return link  # Whose name a pending change has taken.
        return child if link.name in taken or link.name in seen else link

    def adopt_absence(self, parent: Node, name: str, *, began: int, until: float) -> Node | None:
        """The store confirmed that nothing has this name: the local node there, if local truth knows better."""
        folder = parent.folder
        assert folder is not None
        held = folder.children.get(name)
        if _is_ours(folder, name, began) or (held is not None and held.pinned):
            return held
        if held is not None:
            if self._pinned_below(held):
                return held
            held.replaced = True
            self._detach(held)
        folder.absent[name] = until
        return None

    def _pinned_below(self, node: Node) -> bool:
        return node.folder is not None and any(each.pinned for each in self.below(node))

    def adopt_page(self, parent: Node, page: Sequence[Child], *, began: int, fresh_until: float, seen: Collection[str] = ()) -> list[Node]:
        """One page of a listing that has shown `seen` before; the nodes it shows, in its order, each name once. Directories win over files
        of the same name."""
        folder = parent.folder
        assert folder is not None
        directories = {child.name for child in page if child.artifact is None}
        taken = {child.name for child in page} if self._link_suffix else set()
        shown: dict[int, Node] = {}
        for raw in page:
            child = self._shown_as(folder, raw, taken, seen, began)
            if child.name == "" and child.artifact is not None:
                self._adopt_marker(parent, child.artifact, began)
                continue
            if not mappable(child.name):
                folder.hidden = True
                continue
            if child.artifact is not None and self._is_shadowed(folder, child, directories):
                continue
            node = self.adopt(parent, child, began=began, fresh_until=fresh_until)
            if node is not None and node.attached:
                shown[node.ino] = node
        return list(shown.values())

    def _adopt_marker(self, node: Node, marker: Artifact, began: int) -> None:
        assert node.folder is not None
        node.folder.marked = True
        above = node.parent.folder if node.parent is not None else None
        if above is not None and not node.pending and above.touched.get(node.name, 0) <= began:
            self.describe(node, marker.meta)

    def _is_shadowed(self, folder: Folder, child: Child, directories: set[str]) -> bool:
        """Whether a directory has this file's name; where only an older listing says so, `adopt_end` decides."""
        held = folder.children.get(child.name)
        if child.name in folder.leaving or (child.name not in directories and (held is None or held.folder is None)):
            return False
        folder.shadowed.append(child)
        return True

    def begin_listing(self, parent: Node) -> int:
        """A listing is about to be asked for, and will say anew what is marked, hidden and shadowed; the tick it begins at."""
        assert parent.folder is not None
        parent.folder.marked = self._real_directories or parent is self.root
        parent.folder.hidden = False
        parent.folder.shadowed.clear()
        return self.tick()

    def adopt_end(self, parent: Node, seen: set[str], *, began: int, listed_until: float) -> None:
        """A listing asked at `began` came to its end, having shown `seen`: the rest is gone from the store."""
        folder = parent.folder
        assert folder is not None
        for child in folder.shadowed:
            if child.name not in seen and self.adopt(parent, child, began=began, fresh_until=listed_until) is not None:
                seen.add(child.name)
        # What was asked for by itself after this listing had begun is known better than it knows.
        gone = [name for name, child in folder.children.items() if name not in seen and child.fresh_until <= listed_until]
        for name in gone:
            self.adopt_absence(parent, name, began=began, until=listed_until)
        folder.absent.clear()
        oldest = min(self._asked, default=began)
        folder.touched = {name: tick for name, tick in folder.touched.items() if tick > oldest}
        folder.listed_until = listed_until


def _is_ours(folder: Folder, name: str, began: int) -> bool:
    """Whether what was asked at tick `began` says nothing of this name."""
    return name in folder.leaving or folder.touched.get(name, 0) > began


def _must_be_attached(parent: Node) -> None:
    if not parent.attached:
        raise NotFound(f"the directory {parent.name} has gone")
