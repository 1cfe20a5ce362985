"""The kernel's verbs: find the node or the handle, ask ONE collaborator, shape the reply.

What it is: the glue between pyfuse3 and the mount.
What it is not: a place for semantics; each verb is a few lines.
Invariants:
- Nothing but FUSEError leaves a verb (`verbs`).
- A verb that changes something is `changing`: the journal has it before the program hears of it.
"""

from __future__ import annotations

import itertools
import os
import stat
import time
from collections.abc import Sequence
from typing import cast

import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, ReaddirToken, RequestContext, SetattrFields, StatvfsData

from storemount.config import MountSettings
from storemount.content.files import Files, OpenFile
from storemount.errors import BadHandle, Changed, Forbidden, Invalid, NameTooLong, NotADirectory, NotFound, StoreMountError
from storemount.insight.measures import Usage
from storemount.insight.slow import SlowLog
from storemount.kernel.replies import Replies
from storemount.kernel.verbs import changing, kernel_op
from storemount.names.catalog import Catalog, Entries
from storemount.names.namespace import Namespace
from storemount.names.nodes import Node
from storemount.names.tree import MAX_SEGMENT, Tree
from storemount.names.xattrs import Xattrs
from storemount.stores.base import ArtifactStore, Capacity
from storemount.writeback.durability import Durability
from storemount.writeback.journal import Journal
from storemount.writeback.publish import Publisher

ANYTHING = Capacity(total=1 << 50, free=1 << 50, files=1 << 40, files_free=1 << 40)
"""What `df` shows for a store without a notion of room: 1 PiB."""


_BY_HANDLE = frozenset({"read", "write", "flush", "fsync", "release", "readdir", "releasedir", "fsyncdir"})
"""The verbs whose first argument is a handle; that of the others is an inode."""


class FileSystem(pyfuse3.Operations):
    """The verbs, for pyfuse3."""

    enable_writeback_cache = True
    supports_dot_lookup = False

    def __init__(
        self,
        tree: Tree,
        catalog: Catalog,
        namespace: Namespace,
        files: Files,
        publisher: Publisher,
        journal: Journal,
        durability: Durability,
        store: ArtifactStore,
        xattrs: Xattrs,
        usage: Usage,
        settings: MountSettings,
    ) -> None:
        super().__init__()
        self._tree = tree
        self._catalog = catalog
        self._namespace = namespace
        self._files = files
        self._publisher = publisher
        self._journal = journal
        self._durability = durability
        self._store = store
        self._xattrs = xattrs
        self._usage = usage
        self.ended = usage.operations.ended
        self._settings = settings
        self._replies = Replies(settings)
        self._numbers = itertools.count(1)
        self._open: dict[int, OpenFile] = {}
        self._directories: dict[int, Entries] = {}
        self.slow = SlowLog("operation", settings.slow, self._about)

    async def keep_promises(self) -> None:
        """What was changed until now outlives the daemon, or with `--durability power` a power cut. Raises OSError (ENOSPC)."""
        if self._journal.commit() and self._durability.immediate:
            await self._durability.local()

    def _about(self, verb: str, subjects: tuple[object, ...]) -> str:
        """The path that a verb with these arguments is about, as far as it is known."""
        first, *more = subjects
        file, entries = (self._open.get(first), self._directories.get(first)) if isinstance(first, int) else (None, None)
        node = self._tree.get(first) if isinstance(first, int) else None
        if verb in _BY_HANDLE:
            node = file.node if file is not None else entries.parent if entries is not None else None
        path = "" if node is None else node.path if node.attached else f"{node.name} (gone)"
        return "/".join(filter(None, (path, os.fsdecode(more[0]) if more and isinstance(more[0], bytes) else ""))) or "/"

    # finding

    def _node(self, ino: int) -> Node:
        node = self._tree.get(ino)
        if node is None:
            raise Changed(f"inode {ino} is not known")
        return node

    def _folder(self, ino: int) -> Node:
        node = self._node(ino)
        if node.folder is None:
            raise NotADirectory(node.name)
        if not node.attached:
            raise NotFound(node.name)
        return node

    def _file(self, fh: int) -> OpenFile:
        file = self._open.get(fh)
        if file is None:
            raise BadHandle(str(fh))
        return file

    # names

    @kernel_op
    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        parent, text = self._folder(parent_inode), os.fsdecode(name)
        if len(name) > MAX_SEGMENT:
            raise NameTooLong(text)
        holds, node = self._catalog.known(parent, text)
        if not holds:
            node = await self._catalog.find(parent, text)
        return self._replies.given(node) if node is not None else self._replies.absence(parent, text)

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for ino, lookups in inode_list:
            self._tree.forget(ino, lookups)

    @kernel_op
    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return self._replies.attributes(self._node(inode))

    @changing
    async def setattr(
        self, inode: int, attr: EntryAttributes, fields: SetattrFields, fh: int | None, ctx: RequestContext
    ) -> EntryAttributes:
        node = self._node(inode)
        if fields.update_size:
            if node.folder is not None:
                raise Invalid("a directory has no length to set")
            self._files.truncate(node, attr.st_size)
        if fields.update_size or fields.update_uid or fields.update_gid:
            _clear_set_id(node)
        own = node.own
        own.mode = stat.S_IMODE(attr.st_mode) if fields.update_mode else own.mode
        own.uid = attr.st_uid if fields.update_uid else own.uid
        own.gid = attr.st_gid if fields.update_gid else own.gid
        own.atime_ns = attr.st_atime_ns if fields.update_atime else own.atime_ns
        own.mtime_ns = attr.st_mtime_ns if fields.update_mtime else own.mtime_ns
        own.ctime_ns = attr.st_ctime_ns if fields.update_ctime else time.time_ns()
        self._publisher.described(node, stored=fields.update_mode or fields.update_mtime or fields.update_uid or fields.update_gid)
        return self._replies.attributes(node)

    @kernel_op
    async def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        return await self._files.target_of(self._node(inode))

    def _changed(self, *inodes: int) -> None:
        """An entry of these directories came or went."""
        for ino in inodes:
            own = self._node(ino).own
            own.mtime_ns = own.ctime_ns = time.time_ns()

    def _owned(self, node: Node, mode: int | None, ctx: RequestContext) -> EntryAttributes:
        own = node.own
        own.mode = stat.S_IMODE(mode) if mode is not None else own.mode
        own.uid = ctx.uid if self._settings.uid is None else None
        own.gid = ctx.gid if self._settings.gid is None else None
        own.mtime_ns = own.ctime_ns = time.time_ns()
        self._publisher.described(node)
        if node.parent is not None:
            self._changed(node.parent.ino)
        return self._replies.given(node)

    @changing
    async def symlink(self, parent_inode: int, name: bytes, target: bytes, ctx: RequestContext) -> EntryAttributes:
        node = await self._namespace.make_symlink(self._folder(parent_inode), os.fsdecode(name), bytes(target))
        return self._owned(node, None, ctx)

    @changing
    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        node = await self._namespace.make_directory(self._folder(parent_inode), os.fsdecode(name))
        return self._owned(node, mode, ctx)

    @changing
    async def mknod(self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext) -> EntryAttributes:
        if not stat.S_ISREG(mode):
            raise Forbidden("devices, pipes and sockets are not offered (S13)")
        node = await self._namespace.create(self._folder(parent_inode), os.fsdecode(name))
        self._publisher.closed(node)
        return self._owned(node, mode, ctx)

    @kernel_op
    async def link(self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext) -> EntryAttributes:
        raise Forbidden("hard links are not offered (S13)")

    @changing
    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        await self._namespace.remove(self._folder(parent_inode), os.fsdecode(name))
        self._changed(parent_inode)

    @changing
    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        await self._namespace.remove_directory(self._folder(parent_inode), os.fsdecode(name))
        self._changed(parent_inode)

    @changing
    async def rename(
        self, parent_inode_old: int, name_old: bytes, parent_inode_new: int, name_new: bytes, flags: int, ctx: RequestContext
    ) -> None:
        if flags & ~pyfuse3.RENAME_NOREPLACE:
            raise Invalid("only RENAME_NOREPLACE is offered (S10)")
        await self._namespace.rename(
            self._folder(parent_inode_old),
            os.fsdecode(name_old),
            self._folder(parent_inode_new),
            os.fsdecode(name_new),
            replace=not flags,
        )
        self._changed(parent_inode_old, parent_inode_new)

    # directories

    @kernel_op
    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        fh, parent = next(self._numbers), self._folder(inode)
        self._directories[fh] = self._catalog.entries(parent)
        assert parent.folder is not None
        parent.folder.readers += 1
        return fh

    @kernel_op
    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        entries = self._directories[fh]
        if start_id == 0:
            entries.rewind()
        position = start_id
        while (name := await self._next(entries, position, position > start_id)) is not None:
            position += 1
            if (node := entries.node(name)) is not None:
                if not pyfuse3.readdir_reply(token, os.fsencode(node.name), self._replies.attributes(node), position):
                    return
                node.lookups += 1

    async def _next(self, entries: Entries, position: int, replied: bool) -> str | None:
        """The name at this position. When that fails after others were given, those count: the kernel never hears of the nodes in an answer
        that is an error, and would never forget them. It asks again, and hears of the failure then."""
        try:
            return await entries.at(position)
        except StoreMountError:
            if replied:
                return None
            raise

    @kernel_op
    async def releasedir(self, fh: int) -> None:
        folder = self._directories.pop(fh).parent.folder
        assert folder is not None
        folder.readers -= 1

    @kernel_op
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        await self._saved(self._directories[fh].parent)

    # files

    def _opened(self, node: Node, flags: int) -> FileInfo:
        fh = next(self._numbers)
        self._open[fh] = self._files.open(node, writable=flags & os.O_ACCMODE != os.O_RDONLY)
        self._usage.open_files += 1
        # A version is an inode, so pages the kernel has are right as long as the inode lives.
        return FileInfo(fh=fh, keep_cache=True)

    @changing
    async def create(self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext) -> tuple[FileInfo, EntryAttributes]:
        parent, text = self._folder(parent_inode), os.fsdecode(name)
        held = None if flags & os.O_EXCL else await self._catalog.find(parent, text)
        if held is not None and held.folder is None:
            # It appeared in the store after the kernel had looked.
            info, told = await self._open_existing(held, flags), self._replies.given(held)
            return await self._given(info, lookups=1), told
        claim = bool(flags & os.O_EXCL) and self._settings.exclusive_create == "store"
        node = await self._namespace.create(parent, text, claim=claim)
        info, told = self._opened(node, flags), self._owned(node, mode, ctx)
        return await self._given(info, lookups=1), told

    @kernel_op
    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        info = await self._open_existing(self._node(inode), flags)
        return await self._given(info) if flags & os.O_TRUNC else info

    async def _given(self, info: FileInfo, *, lookups: int = 0) -> FileInfo:
        """A handle is given once what opening it has changed is promised. The kernel never releases one that it was not given, nor forgets
        a node (`lookups`) that it has not heard of."""
        try:
            await self.keep_promises()
        except BaseException:
            self._open[info.fh].node.lookups -= lookups
            self._close(info.fh)
            raise
        return info

    def _close(self, fh: int) -> None:
        file = self._open.pop(fh)
        self._usage.open_files -= 1
        self._files.release(file)

    async def _open_existing(self, node: Node, flags: int) -> FileInfo:
        try:
            await self._files.pin(node)
        except Changed:
            node.fresh_until = -1.0  # The kernel looks the name up again when it hears ESTALE.
            raise
        if flags & os.O_TRUNC:
            _clear_set_id(node)
            self._files.empty(node)
        return self._opened(node, flags)

    @kernel_op
    async def read(self, fh: int, offset: int, size: int) -> bytes:
        data = await self._files.read(self._file(fh).node, offset, size)
        self._usage.read_bytes += len(data)
        return cast(bytes, data)  # Any buffer will do for pyfuse3, which does not copy it.

    @kernel_op
    async def write(self, fh: int, offset: int, data: bytes) -> int:
        node = self._file(fh).node
        _clear_set_id(node)
        written = await self._files.write(node, offset, data)
        self._usage.written_bytes += written
        return written

    @changing
    async def flush(self, fh: int) -> None:
        file = self._file(fh)
        await self._files.flush(file)
        if file.writable and self._settings.durability == "store" and file.node.attached:
            await self._publisher.saved(file.node)

    @kernel_op
    async def fsync(self, fh: int, datasync: bool) -> None:
        node = self._file(fh).node
        if node.attached:
            await self._saved(node)

    @changing
    async def release(self, fh: int) -> None:
        self._close(fh)

    async def _saved(self, node: Node) -> None:
        """What fsync promises: the store has it, or with `--fsync local` the disk."""
        if self._settings.fsync == "store":
            await self._publisher.saved(node)
        else:
            self._publisher.promise_below(node)
            await self._durability.local()

    # the rest

    @kernel_op
    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        room = await self._store.capacity() or ANYTHING
        reply = StatvfsData()
        reply.f_bsize = reply.f_frsize = 4096
        reply.f_blocks = room.total // 4096
        reply.f_bfree = reply.f_bavail = room.free // 4096
        reply.f_files, reply.f_ffree = room.files, room.files_free
        reply.f_favail = room.files_free
        reply.f_namemax = 255
        return reply

    @kernel_op
    async def getxattr(self, inode: int, name: bytes, ctx: RequestContext) -> bytes:
        return await self._xattrs.get(self._node(inode), bytes(name))

    @kernel_op
    async def listxattr(self, inode: int, ctx: RequestContext) -> Sequence[bytes]:
        return self._xattrs.names(self._node(inode))

    @changing
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        node = self._node(inode)
        await self._xattrs.set(node, bytes(name), bytes(value))
        self._publisher.described(node, stored=True)

    @changing
    async def removexattr(self, inode: int, name: bytes, ctx: RequestContext) -> None:
        node = self._node(inode)
        await self._xattrs.remove(node, bytes(name))
        self._publisher.described(node, stored=True)


def _clear_set_id(node: Node) -> None:
    """A changed file must not keep set-id bits: since `handshake` asks for KILLPRIV_V2, clearing them is ours."""
    own = node.attributes
    mode = own.mode if own is not None and own.mode is not None else node.artifact.mode if node.artifact is not None else None
    if mode is not None and mode & (stat.S_ISUID | stat.S_ISGID) and node.folder is None:
        node.own.mode = stat.S_IMODE(mode) & ~(stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0))
