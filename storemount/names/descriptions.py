"""Descriptions: what is kept of a file beside its bytes (S12), from its three sources.

What it is: what was set here over what the store says, what of that a write or a change has to say, and asking the store for what no
listing told.
What it is not: how it is written in the store (`stores.dialects`), or a reply to the kernel.
Invariants:
- Nobody asks for a file whose metadata is known, or of a store that keeps none.
- The owner is said only where it is another than the one this mount shows anyway: the numbers of one machine mean nothing on the next.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace

from storemount.config import MountSettings
from storemount.errors import NotFound
from storemount.names.nodes import ROOT, Attributes, Node
from storemount.names.tree import Tree
from storemount.stores.base import Artifact, ArtifactStore, Meta
from storemount.stores.moves import Whereabouts

NOTHING = Meta()


class Descriptions:
    def __init__(self, tree: Tree, store: ArtifactStore, moves: Whereabouts, settings: MountSettings) -> None:
        self._tree = tree
        self._store = store
        self._moves = moves
        self._settings = settings
        self._uid = os.getuid() if settings.uid is None else settings.uid
        self._gid = os.getgid() if settings.gid is None else settings.gid

    def xattrs(self, node: Node) -> dict[bytes, bytes]:
        """The attributes as far as they are known."""
        return dict(_described(node).xattrs or {})

    async def learn(self, node: Node) -> None:
        """Have in the tree what the store keeps of this node; at most one request. Raises what the store raises, but NotFound."""
        traits = self._store.traits
        if traits.listed_meta or not traits.modes or not node.attached:
            return
        try:
            if node.folder is not None:
                await self._learn_directory(node)
            elif node.artifact is not None and node.artifact.meta is None:
                self._learnt(node, await self._store.describe(self._moves.of(node.artifact).key))
        except NotFound:
            node.fresh_until = -1.0

    async def _learn_directory(self, node: Node) -> None:
        known = node.ino == ROOT or (node.folder is not None and node.folder.unborn)
        if known or (node.attributes is not None and node.attributes.xattrs is not None):
            return
        try:
            marker = await self._store.describe(node.path + "/")
        except NotFound:
            marker = None
        meta = (marker.meta if marker is not None else None) or NOTHING
        if node.attributes is None or node.attributes.xattrs is None:
            node.own.xattrs = dict(meta.xattrs or {})
            self._tree.describe(node, NOTHING if node.pending else meta)

    def _learnt(self, node: Node, found: Artifact) -> None:
        held = node.artifact
        if held is None or self._moves.of(held).version != found.version or found.is_symlink != held.is_symlink:
            # What is there now is another file, and another inode: the next lookup says so.
            node.fresh_until = -1.0
        else:
            node.artifact = replace(held, meta=found.meta)

    def sent(self, node: Node, written_ns: int) -> Meta:
        """What an object that is about to be made has to say; `written_ns`: when its bytes were last written."""
        said = _described(node)
        mode = said.mode if said.mode is not None else self._settings.file_mode & ~self._settings.umask
        own_time = node.attributes.mtime_ns if node.attributes is not None else None
        mtime_ns = own_time if own_time is not None else written_ns
        return replace(self._without_owner(node, said), mode=node.kind | stat.S_IMODE(mode), mtime_ns=mtime_ns)

    def marked(self, node: Node) -> Meta:
        """What the marker of a directory has to say: what anybody has set, where it is not what every directory shows."""
        own = node.attributes or Attributes()
        usual = self._settings.dir_mode & ~self._settings.umask
        mode = stat.S_IFDIR | own.mode if own.mode not in (None, usual) else None
        return self._without_owner(node, Meta(mode, own.uid, own.gid, _time(node), own.xattrs or None))

    def changed(self, node: Node) -> Meta:
        """What a change of the object has to say: all that was set here."""
        own = node.attributes or Attributes()
        mode = node.kind | own.mode if own.mode is not None else None
        return self._without_owner(node, Meta(mode, own.uid, own.gid, _time(node), own.xattrs))

    def _without_owner(self, node: Node, said: Meta) -> Meta:
        """Without the mount's own user and group, unless the store has said another."""
        held = node.artifact.meta if node.artifact is not None else None
        there = held or NOTHING
        untold = node.folder is None and node.artifact is not None and held is None
        uid = None if said.uid == self._uid and there.uid is None and not untold else said.uid
        gid = None if said.gid == self._gid and there.gid is None and not untold else said.gid
        return replace(said, uid=uid, gid=gid)


def _time(node: Node) -> int | None:
    """The time that is worth keeping: of a directory only one that somebody has set, which is not when an entry of it came or went."""
    own = node.attributes or Attributes()
    return None if node.folder is not None and own.mtime_ns == own.ctime_ns else own.mtime_ns


def _described(node: Node) -> Meta:
    """What was set here, over what the store says."""
    own = node.attributes or Attributes()
    held = node.artifact.meta if node.artifact is not None else None
    return Meta(own.mode, own.uid, own.gid, own.mtime_ns, own.xattrs).over(held or NOTHING)
