"""A mount without a kernel: the verbs, called as the kernel would call them, by path.

What it is: `assembly.assemble` over any store, with the worker running, and the small walk from a path to an inode that the kernel does.
What it is not: a kernel: there is no page cache and no dentry cache, so every step of every walk asks the verb.
Invariants: everything goes through the verbs of `fs.py` (listings through the catalog: a reply to readdir needs a kernel).
Nothing runs on after the context is left.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import pytest
import trio
from pyfuse3 import EntryAttributes, FUSEError, RequestContext, SetattrFields

from storemount.assembly import Mount, assemble
from storemount.config import MountSettings
from storemount.errors import Changed, StoreMountError
from storemount.names.nodes import ROOT, Node
from storemount.stores.base import Artifact, ArtifactStore, Source
from storemount.writeback.slot import JOURNAL
from tests.support.faulty import FaultyStore

T = TypeVar("T")
NOREPLACE = 1
PATIENCE = 600.0


@dataclass(frozen=True)
class Fields:
    """What a setattr is about. Stands in for pyfuse3's own class, which only pyfuse3 can fill in."""

    update_atime: bool = False
    update_mtime: bool = False
    update_ctime: bool = False
    update_mode: bool = False
    update_uid: bool = False
    update_gid: bool = False
    update_size: bool = False


@contextmanager
def fails(number: int) -> Iterator[None]:
    """The verb inside fails with exactly this errno."""
    with pytest.raises(FUSEError) as caught:
        yield
    assert caught.value.errno == number, os.strerror(caught.value.errno)


class BareMount:
    """A mount by path. `m.mount` has its parts, `m.fs` the verbs."""

    def __init__(self, mount: Mount, store: ArtifactStore) -> None:
        self.mount = mount
        self.fs = mount.fs
        self.store = store
        self._ctx = RequestContext()

    # names

    async def lookup(self, parent: int, name: str) -> EntryAttributes:
        """One lookup, an absent name as the error that a program gets (the kernel makes it of the reply with inode 0)."""
        entry = await self.fs.lookup(parent, os.fsencode(name), self._ctx)
        if not entry.st_ino:
            raise FUSEError(2)
        return entry

    async def ino(self, path: str) -> int:
        ino = ROOT
        for name in path.split("/") if path else ():
            ino = (await self.lookup(ino, name)).st_ino
        return ino

    async def stat(self, path: str) -> EntryAttributes:
        return await self.fs.getattr(await self.ino(path), self._ctx)

    async def exists(self, path: str) -> bool:
        try:
            await self.ino(path)
        except FUSEError as error:
            if error.errno == 2:
                return False
            raise
        return True

    def node(self, ino: int) -> Node:
        node = self.mount.tree.get(ino)
        assert node is not None
        return node

    async def _place(self, path: str) -> tuple[int, bytes]:
        folder, _, name = path.rpartition("/")
        return await self.ino(folder), os.fsencode(name)

    async def names(self, path: str = "") -> list[str]:
        """A listing, sorted."""
        entries = self.mount.catalog.entries(self.node(await self.ino(path)))
        found: list[str] = []
        position = 0
        try:
            while (name := await entries.at(position)) is not None:
                position += 1
                if entries.node(name) is not None:
                    found.append(name)
        except StoreMountError as error:
            raise FUSEError(error.errno) from error
        return sorted(found)

    async def mkdir(self, path: str) -> int:
        parent, name = await self._place(path)
        return (await self.fs.mkdir(parent, name, 0o755, self._ctx)).st_ino

    async def rmdir(self, path: str) -> None:
        await self.fs.rmdir(*await self._place(path), self._ctx)

    async def unlink(self, path: str) -> None:
        await self.fs.unlink(*await self._place(path), self._ctx)

    async def rename(self, old: str, new: str, flags: int = 0) -> None:
        await self.fs.rename(*await self._place(old), *await self._place(new), flags, self._ctx)

    async def symlink(self, path: str, target: bytes) -> int:
        parent, name = await self._place(path)
        return (await self.fs.symlink(parent, name, target, self._ctx)).st_ino

    async def readlink(self, path: str) -> bytes:
        return await self.fs.readlink(await self.ino(path), self._ctx)

    # files

    async def create(self, path: str, flags: int = os.O_RDWR | os.O_EXCL) -> int:
        parent, name = await self._place(path)
        info, _ = await self.fs.create(parent, name, 0o644, flags | os.O_CREAT, self._ctx)
        return info.fh

    async def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        return (await self.fs.open(await self.ino(path), flags, self._ctx)).fh

    async def write(self, fh: int, offset: int, data: bytes) -> None:
        assert await self.fs.write(fh, offset, data) == len(data)

    async def read(self, fh: int, offset: int = 0, size: int = 1 << 30) -> bytes:
        return bytes(await self.fs.read(fh, offset, size))

    async def close(self, fh: int) -> None:
        """As close(2) on the only descriptor: a flush, whose error the program sees, then the release."""
        try:
            await self.fs.flush(fh)
        finally:
            await self.fs.release(fh)

    async def truncate(self, path: str, size: int) -> None:
        entry = EntryAttributes()
        entry.st_size = size
        await self.fs.setattr(await self.ino(path), entry, cast(SetattrFields, Fields(update_size=True)), None, self._ctx)

    async def touch(self, path: str, mtime_ns: int) -> None:
        entry = EntryAttributes()
        entry.st_mtime_ns = mtime_ns
        await self.fs.setattr(await self.ino(path), entry, cast(SetattrFields, Fields(update_mtime=True)), None, self._ctx)

    async def put(self, path: str, data: bytes) -> None:
        """Make or replace a whole file, as `open(path, "wb")` does."""
        if await self.exists(path):
            fh = await self.open(path, os.O_WRONLY | os.O_TRUNC)
        else:
            fh = await self.create(path, os.O_WRONLY)
        await self.write(fh, 0, data)
        await self.close(fh)

    async def get(self, path: str) -> bytes:
        fh = await self.open(path)
        try:
            return await self.read(fh)
        finally:
            await self.close(fh)

    async def fsync(self, fh: int) -> None:
        await self.fs.fsync(fh, False)

    async def fsync_directory(self, path: str) -> None:
        fh = await self.fs.opendir(await self.ino(path), self._ctx)
        await self.fs.fsyncdir(fh, False)
        await self.fs.releasedir(fh)

    # the store's side

    async def settle(self) -> None:
        """Until the store has everything that programs closed."""
        self.mount.publisher.seal_below("")
        await self.mount.journal.settle("", PATIENCE)
        await self.mount.durability.now()


MAKERS: dict[str, Callable[[BareMount, str], Awaitable[object]]] = {
    "create": BareMount.create,
    "mkdir": BareMount.mkdir,
    "symlink": lambda m, path: m.symlink(path, b"target"),
    "rename": lambda m, path: m.rename("s", path),
}
"""The ways to make a name; the last one needs a file `s` in the mount."""


@asynccontextmanager
async def bare_mount(
    store: ArtifactStore,
    staging: Path,
    *,
    ttl: float = 10.0,
    upload_delay: float = 0.5,
    cache_size: int = 64 * 1024 * 1024,
    deadline: float = 20.0,
    metadata: str = "listing",
    cache: Path | None = None,
) -> AsyncIterator[BareMount]:
    """A mount over `store`, gone when the context is left as a daemon that was killed is: what was not uploaded then is not, and what was
    promised is in `staging`, for the next mount."""
    settings = MountSettings("/nowhere", ttl=ttl, upload_delay=upload_delay, cache_size=cache_size, deadline=deadline, metadata=metadata)
    with ExitStack() as death:
        async with trio.open_nursery() as nursery:
            mount = assemble(store, settings, staging, "test", nursery, cache)
            death.callback(close_descriptors, staging)
            death.callback(mount.ledger.close)
            if mount.notes is not None:
                death.callback(mount.notes.close)
            if mount.tier is not None:
                death.callback(mount.tier.snapshot.close)
            await mount.recovery.confirm()
            nursery.start_soon(mount.worker.run)
            if mount.tier is not None:
                nursery.start_soon(mount.tier.disk.run)
            yield BareMount(mount, store)
            nursery.cancel_scope.cancel()


async def without_threads(work: Callable[..., T], *args: object, **_: object) -> T:
    """In place of `trio.to_thread.run_sync`: where no thread is waited for, nothing but the clock decides what comes first."""
    await trio.lowlevel.checkpoint()
    return work(*args)


def close_descriptors(folder: Path) -> None:
    """Close what is open below `folder`, as the kernel does for a process that was killed."""
    for name in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # The descriptor of the listing itself.
            continue
        if path.startswith(f"{folder}/"):
            os.close(int(name))


def staged_files(folder: Path) -> list[str]:
    """The files with written bytes below a staging folder, beside the journal."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.name.startswith(JOURNAL))


async def shown(m: BareMount, folder: str = "") -> dict[str, bytes]:
    """Everything that the mount shows below `folder`: the content of each file, each directory with a slash at its end, and each
    symbolic link with an arrow."""
    found: dict[str, bytes] = {}
    for name in await m.names(folder):
        path = f"{folder}/{name}".lstrip("/")
        mode = (await m.stat(path)).st_mode
        if stat.S_ISLNK(mode):
            found[f"{path} ->"] = await m.readlink(path)
        elif stat.S_ISDIR(mode):
            found |= {f"{path}/": b"", **await shown(m, path)}
        else:
            found[path] = await m.get(path)
    return found


async def put_object(store: ArtifactStore, key: str, data: bytes, folder: Path) -> Artifact:
    """Another client writes an object. `folder` is where its source file lies meanwhile."""
    path = folder / "another-client"
    path.write_bytes(data)
    artifact = await store.write(key, Source(str(path), len(data)))
    path.unlink(missing_ok=True)
    return artifact


def faultless(store: ArtifactStore) -> ArtifactStore:
    """The store itself, without the faults that were ordered."""
    return store.inner if isinstance(store, FaultyStore) else store


async def objects(store: ArtifactStore) -> dict[str, bytes]:
    """Everything that the store has: key -> bytes. Faults ordered for a FaultyStore do not meet these requests."""
    truth = faultless(store)
    found: dict[str, bytes] = {}
    try:
        async with aclosing(truth.list("", recursive=True)) as pages:
            async for page in pages:
                for child in page:
                    assert child.artifact is not None
                    directory = truth.traits.real_directories and child.name.endswith("/")
                    size = 0 if directory else child.artifact.size
                    found[child.artifact.key] = bytes(await truth.read(child.artifact, 0, size)) if size else b""
    except Changed:  # An upload was faster: look again.
        return await objects(store)
    return found
