"""The artifact-store protocol and its types: the whole of what the mount needs from a store.

What it is: the verbs over keys, and the words used everywhere for what they exchange.
What it is not: a file API (that is `fileio`), a cache, or a retry policy.
Invariants:
- A key is the object's name relative to the store's root: segments joined by "/", no leading slash. A key that
  ends in "/" is a directory marker (S11); the root's own key is "".
- An `Artifact` is one version of one object and never changes, so whatever is cached under it never needs invalidation.
- Every verb either succeeds, or raises a class of `storemount.errors`. `NotFound` is raised only when the store
  confirmed it (S3); a missing bucket or root is `MissingStore`.
- Every verb is cancellable: the caller puts a deadline around it.
"""

from __future__ import annotations

import re
import stat
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Meta:
    """What is kept of a file beside its bytes (S12), as far as somebody has said it: None is not said.

    `mode` is the full st_mode, or permission bits alone where that is all that was said. `mtime_ns` in nanoseconds since the epoch.
    `xattrs` are all of them, by their whole names. `target`: where a symbolic link points, when its bytes do not say it; never written.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime_ns: int | None = None
    xattrs: Mapping[bytes, bytes] | None = None
    target: str | None = None

    def over(self, other: Meta) -> Meta:
        """What this says, and where it says nothing, what `other` says."""
        return replace(other, **said(self))


def said(meta: Meta) -> dict[str, Any]:
    """The fields of it that say something."""
    return {each.name: value for each in fields(meta) if (value := getattr(meta, each.name)) is not None}


@dataclass(frozen=True, slots=True)
class Artifact:
    """One version of one object.

    `version` is the store's token for this content (ETag, generation, inode+mtime): equal tokens mean equal bytes. What identifies
    the bytes (key, version, size) is what artifacts are compared by: a HEAD and a listing may round the time differently.
    `size` in bytes, `mtime_ns` (when the store got it) in nanoseconds since the epoch. `meta` is what it keeps beside the bytes; None
    where the answer that this came from does not carry that, as in the listings of S3. A symbolic link is an artifact whose mode says so
    and whose bytes are its target (or none, where the metadata says it).
    """

    key: str
    version: str
    size: int
    mtime_ns: int = field(compare=False)
    meta: Meta | None = field(default=None, compare=False)

    @property
    def mode(self) -> int | None:
        return self.meta.mode if self.meta is not None else None

    @property
    def is_symlink(self) -> bool:
        return self.mode is not None and stat.S_ISLNK(self.mode)

    @property
    def told_target(self) -> bytes:
        """Where a symbolic link without bytes points, as its metadata says; empty for everything else."""
        told = self.meta.target if self.meta is not None and not self.size else None
        return told.encode("utf-8", "surrogateescape") if told else b""


@dataclass(frozen=True, slots=True)
class Child:
    """A row of a listing: a file with its artifact, or a directory (`artifact` None).

    `name` is the rest of the key below the listed prefix, raw, without the trailing slash of a directory. The marker of the listed
    directory itself is the row with the empty name and an artifact; a directory with the empty name (a key with "//") has no artifact.
    `meta` is what is known of a directory, as an artifact's is of a file.
    """

    name: str
    artifact: Artifact | None
    meta: Meta | None = field(default=None, compare=False)


def _nobody(reached: int) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes of a write: a local file, its length, and all that is to be kept beside them.

    `movable` says that nobody holds the file open for writing and that the store may take the file itself (rename it into place)
    instead of copying it; the caller does not touch `path` again. `sent` hears, from any thread, up to where the bytes are under way, as
    far as the engine knows it. `waiting` is around whatever keeps a write from its beginning, such as other uploads: its time does not run
    meanwhile.
    """

    path: str
    size: int
    movable: bool = False
    meta: Meta = Meta()
    sent: Callable[[int], None] = field(default=_nobody, compare=False)
    waiting: Callable[[], AbstractContextManager[object]] = field(default=nullcontext, compare=False)


@dataclass(frozen=True, slots=True)
class Traits:
    """What this store can do.

    `conditional`: a write's condition is checked by the store itself, in the same step as the write (by an S3 server as far as it honours
    it); otherwise we look just before the step that publishes, and a change in between goes unseen. `rename`: has the `rename` verb,
    atomic for files and directories. `modes`: keeps `Meta` (a store may keep less of it than all), and so symbolic links, and has the
    `annotate` verb. `listed_meta`: listings carry it; else only `stat` and `describe` do. `link_suffix`: what the key of a symbolic link
    has beyond its name; "" where a link is told by its mode alone. `meta_bytes`: how much user metadata an object may have, 0 for any
    amount. `local_files`: `open_local` gives a descriptor for a version. `max_key_bytes`: longest key, in UTF-8 bytes. `bytes_names`: names
    that are not UTF-8 can be held. `forbidden`: what is found in names that cannot be a segment of a key here. `lazy`: what a write left is
    durable only after `sync`. `real_directories`: a directory exists by itself, and does not need a marker to survive its last file.
    `limits`: what it cannot do that a promise says, one sentence each, for whoever mounts it.
    """

    engine: str
    conditional: bool = False
    rename: bool = False
    modes: bool = False
    listed_meta: bool = False
    link_suffix: str = ""
    meta_bytes: int = 0
    local_files: bool = False
    real_directories: bool = False
    bytes_names: bool = False
    forbidden: re.Pattern[str] | None = None
    lazy: bool = False
    max_key_bytes: int = 1024
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Capacity:
    """What `df` shows, in bytes and in files."""

    total: int
    free: int
    files: int
    files_free: int


class ArtifactStore(Protocol):
    """The verbs. One instance belongs to one trio thread; any number of calls may be in flight."""

    @property
    def traits(self) -> Traits: ...

    @property
    def uri(self) -> str:
        """The root as a URI, without a trailing slash: `uri + "/" + key` names an object for any other tool."""
        ...

    async def check(self) -> None:
        """Prove that the root can be listed: MissingStore, Denied, Unreachable, TimedOut or Invalid otherwise."""
        ...

    async def stat(self, key: str) -> Child:
        """What has this key (no trailing slash): a directory when any key lies below `key + "/"` or a marker exists, else the
        file. A directory shadows a file of the same name (S2). Raises NotFound."""
        ...

    async def describe(self, key: str) -> Artifact:
        """The object of exactly this key (a marker's ends in "/"), its metadata included; one request. Raises NotFound."""
        ...

    def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        """Pages of rows below `prefix` ("" or ending in "/"), as soon as each is known; one request per page of up to 1000.

        Rows are raw: the caller hides what cannot be mapped. With `recursive` names contain slashes and markers keep their
        trailing one. A prefix without any key gives no rows in a flat store; NotFound in a store with real directories.
        """
        ...

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes | bytearray | memoryview:
        """Exactly the bytes [start, stop) of this version; 0 <= start < stop <= size. Raises Changed when it is gone or replaced."""
        ...

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        """Make `key` hold `source`, whole or not at all (S6), replacing what was there. A key ending in "/" makes a directory
        (the source is empty). Parent directories need not exist. Cancelled or failed: nothing is published, no upload is left open.

        At most one condition (S9). `over`: only while exactly this version is what the store holds under `key`, else Changed; also when
        the key is gone. `absent`: only while nothing has this key, else AlreadyExists. Where one of the two is raised nothing has changed,
        and a movable source is still there; but what stands in the way can be our own bytes: when the reply of a write is lost, the client
        library tries again and meets what its first try left. Only the caller, who knows the bytes, can tell; it is never another failure.
        """
        ...

    async def sweep(self, key: str) -> None:
        """Clear away what a `write` of exactly this key left unfinished in the store when its process was killed: uploads that nobody will
        complete, partial files that nobody writes any more. A key that never had any is no error. Raises what kept it from clearing.

        A store cannot always tell the dead from the living: an S3 upload of this key that another client is making now is aborted
        too (it fails there, as one that can be tried again). A partial file is left alone while a process of this machine writes it.
        """
        ...

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        """Give this version other metadata (what `meta` does not say stays as it is, and so does everything else that the store keeps of
        the object), and return the artifact as it now is; its version may differ. The mode of a symbolic link cannot be changed and is
        ignored. Raises Changed when it is not this version any more. Only where `traits.modes`."""
        ...

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        """A server-side copy of this version to `key`, metadata included."""
        ...

    async def rename(self, key: str, to: str) -> None:
        """Atomic rename of a file, or of a directory (both keys end in "/"). Only where `traits.rename`."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete these keys; one that is already gone is no error. A directory with entries stays (its marker goes)."""
        ...

    def open_local(self, artifact: Artifact) -> int:
        """A read-only descriptor of exactly this version. Only where `traits.local_files`. Raises Changed, NotFound."""
        ...

    async def sync(self, key: str) -> None:
        """Have what was written at `key` (or, ending in "/" or empty, below it) survive a power cut. Only where `traits.lazy`."""
        ...

    async def capacity(self) -> Capacity | None:
        """Room in the store; None where the store has no notion of it."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and threads."""
        ...


PARTIAL = (".storemount-", ".part")
"""How the name of an unfinished copy begins and ends. Nobody is shown such a name, or may make one."""


def is_partial(name: str) -> bool:
    return name.startswith(PARTIAL[0]) and name.endswith(PARTIAL[1])


EMPTY = Source(path="/dev/null", size=0)
"""The source of a directory marker."""
