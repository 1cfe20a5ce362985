"""Replies: a node as the kernel wants to hear of it.

What it is: the attributes of nodes, shaped, with the settings for what the store does not say.
What it is not: a verb, or a source of anything; it reads the node.
Invariants: a reply that gives the kernel a node adds one to its lookups. Times given to the kernel end when the answer they came from
stops being fresh (S3).
"""

from __future__ import annotations

import os
import stat
import time

import pyfuse3
import trio
from pyfuse3 import EntryAttributes

from storemount.config import MountSettings
from storemount.names.nodes import Node
from storemount.stores.base import Meta

BLOCK = 512
FOREVER = 1e9
NOTHING = Meta()


class Replies:
    def __init__(self, settings: MountSettings) -> None:
        self._settings = settings
        self._started_ns = time.time_ns()
        self._uid = os.getuid() if settings.uid is None else settings.uid
        self._gid = os.getgid() if settings.gid is None else settings.gid

    def attributes(self, node: Node) -> EntryAttributes:
        own, artifact = node.attributes, node.artifact
        kept = (artifact.meta if artifact is not None else None) or NOTHING
        entry = EntryAttributes()
        entry.st_ino = node.ino
        entry.st_mode = node.kind | self._permissions(node)
        entry.st_nlink = (2 if node.folder is not None else 1) if node.attached else 0
        entry.st_uid = own.uid if own is not None and own.uid is not None else self._owner(kept.uid, self._settings.uid, self._uid)
        entry.st_gid = own.gid if own is not None and own.gid is not None else self._owner(kept.gid, self._settings.gid, self._gid)
        entry.st_size = node.size
        entry.st_blksize = 1 << 20
        entry.st_blocks = (node.size + BLOCK - 1) // BLOCK
        mtime = artifact.mtime_ns if artifact is not None else self._started_ns
        mtime = kept.mtime_ns if kept.mtime_ns is not None else mtime
        if own is not None:
            mtime = own.mtime_ns if own.mtime_ns is not None else mtime
            entry.st_atime_ns = own.atime_ns if own.atime_ns is not None else mtime
            entry.st_ctime_ns = own.ctime_ns if own.ctime_ns is not None else mtime
        else:
            entry.st_atime_ns = entry.st_ctime_ns = mtime
        entry.st_mtime_ns = mtime
        entry.attr_timeout = entry.entry_timeout = self._remaining(node)
        return entry

    @staticmethod
    def _owner(kept: int | None, wanted: int | None, usual: int) -> int:
        """Whom the store names, unless the mount was told whom to show."""
        return kept if kept is not None and wanted is None else usual

    def _permissions(self, node: Node) -> int:
        if node.attributes is not None and node.attributes.mode is not None:
            return node.attributes.mode
        if node.is_symlink:
            return 0o777
        if node.artifact is not None and node.artifact.mode is not None:
            return stat.S_IMODE(node.artifact.mode)
        bits = self._settings.dir_mode if node.folder is not None else self._settings.file_mode
        return bits & ~self._settings.umask

    def _remaining(self, node: Node) -> float:
        if node.pinned or node.ino == pyfuse3.ROOT_INODE:
            return min(self._settings.ttl, FOREVER)
        return min(max(0.0, node.fresh_until - trio.current_time()), FOREVER)

    def given(self, node: Node) -> EntryAttributes:
        """A reply that makes the kernel hold the node."""
        node.lookups += 1
        return self.attributes(node)

    def absence(self, parent: Node, name: str) -> EntryAttributes:
        """There is no such name, and for how long the kernel may believe it."""
        assert parent.folder is not None
        until = max(parent.folder.listed_until, parent.folder.absent.get(name, 0.0))
        entry = EntryAttributes()
        entry.st_ino = 0
        entry.entry_timeout = min(max(0.0, until - trio.current_time()), FOREVER)
        return entry
