"""Mounted stores for the tests, each with its own daemon.

What it is: `Mount`, one storemount daemon from start to a checked end, and `Subject`, a place where the suite works:
a plain directory, or a mount of one kind of store.
What it is not: the suite; nothing here knows what a test does.
Invariants: a mount that was started is unmounted through the command and proved to be gone, whatever the test did; a daemon's log
has no warning, error or traceback that the test did not announce.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.support.azurite import AzureServer
from tests.support.command import Storemount
from tests.support.gcs import GcsBucket, GcsServer
from tests.support.outside import Bucket, Container, Folder, Outside
from tests.support.servers import BucketClient, S3Server
from tests.support.waiting import exited, synced

_COMPLAINT = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b|Traceback|never awaited|Exception ignored", re.IGNORECASE)
PLAIN = "plain"
REMOTE = ("s3-native", "s3-fsspec")
AZURE = ("azure-native", "azure-fsspec")
GCS = ("gcs-native", "gcs-fsspec")
"""For the modules where a store's own ways matter most: how directories are marked, what is copied, what a condition does."""
CUSTOM = "custom"
"""A local folder once more, but through fsspec, as any of its file systems would be."""
CLASS = "class"
"""A local folder once more, by way of a user's class with the usual faults (`tests.support.shelf`); only some modules ask for it."""
PROTOCOL = "protocol"
"""A local folder once more, through a file system of fsspec that is registered with its options, as a user's would be."""
MEMORY = "memory"
"""A store that nobody sees from outside, as it lives in its daemon."""
STORES = ("local", *REMOTE)
KINDS = (PLAIN, *STORES, CUSTOM)
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass
class Mount:
    """A store mounted at a fresh folder of `command`'s home. `store` is a name or a URI, `options` go to the mount command."""

    command: Storemount
    store: str
    options: Sequence[str] = ()
    point: Path = field(init=False)
    log: Path = field(init=False)
    pid: int = field(init=False, default=0)
    _expected: list[re.Pattern[str]] = field(init=False, default_factory=list)
    _read: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.point = Path(tempfile.mkdtemp(prefix="mnt-", dir=self.command.home))
        self.log = self.point.with_suffix(".log")

    def start(self) -> None:
        self.command.must("mount", self.store, str(self.point), "--log-file", str(self.log), "--log-level", "info", *self.options)
        self.pid = int(self.status()["pid"])

    def status(self) -> dict[str, Any]:
        """What `storemount status` says of this mount."""
        said = json.loads(self.command.must("status", str(self.point), "--json"))
        found: dict[str, Any] = said["mounts"][0]
        return found

    def stop(self) -> None:
        """Unmount through the command: it says success, the daemon is gone, and its log is clean."""
        done = self.command.run("unmount", str(self.point), within=120)
        assert done.returncode == 0, f"unmount ended with {done.returncode}: {done.stdout}{done.stderr}\n{self.tail()}"
        self.gone()
        assert not (said := self.complaints()), f"the daemon complained: {said}"

    def gone(self) -> None:
        """Neither the mount nor its daemon is there any more."""
        assert exited(self.pid), f"the daemon is still there\n{self.tail()}"
        assert not self.mounted
        self.pid = 0

    @property
    def mounted(self) -> bool:
        return f" {self.point} " in Path("/proc/self/mountinfo").read_text()

    def expect(self, pattern: str) -> None:
        """Announce that lines with `pattern` may stand in the log."""
        self._expected.append(re.compile(pattern))

    def complaints(self) -> list[str]:
        """Complaints in the log since they were last asked for, without the announced ones."""
        if not self.log.exists():
            return []
        with self.log.open() as log:
            log.seek(self._read)
            fresh = log.read().splitlines()
            self._read = log.tell()
        return [line for line in fresh if _COMPLAINT.search(line) and not any(known.search(line) for known in self._expected)]

    def tail(self) -> str:
        """The end of the log, for the message of a failed assertion."""
        return "\n".join(self.log.read_text().splitlines()[-30:]) if self.log.exists() else "(no log)"

    def kill(self) -> None:
        """End the daemon without a chance to tidy up (`kill -9`)."""
        os.kill(self.pid, signal.SIGKILL)
        assert exited(self.pid)
        self.pid = 0

    def clear(self) -> None:
        """Leave nothing behind, however the test ended. The only place that does not insist on how it ends."""
        if self.pid and not exited(self.pid, 0):
            os.kill(self.pid, signal.SIGKILL)
        if self.mounted:
            subprocess.run(["fusermount3", "-u", "-z", str(self.point)], check=False, capture_output=True)
        self.point.rmdir()

    @contextmanager
    def watched(self, limit: float) -> Iterator[None]:
        """Kill the daemon when the block takes longer, so that a hung request fails one test and not the run."""
        if not self.pid:
            yield
            return
        timer = threading.Timer(limit, os.kill, (self.pid, signal.SIGKILL))
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


@contextmanager
def mounted(mount: Mount) -> Iterator[Mount]:
    """`mount`, started here and stopped (with every check) at the end; a test that failed does not hide its own error, which is told with
    the end of the log."""
    try:
        mount.start()
        yield mount
        if mount.pid:
            mount.stop()
    except Exception as error:
        error.add_note(f"the end of the log:\n{mount.tail()}")
        raise
    finally:
        mount.clear()


@dataclass
class Subject:
    """Where the suite works: `root` is a directory; `outside` and `mount` are None for the plain one."""

    kind: str
    root: Path
    outside: Outside | None = None
    mount: Mount | None = None
    planted: list[str] = field(default_factory=list)

    @property
    def plain(self) -> bool:
        return self.mount is None

    @property
    def remote(self) -> bool:
        """Whether each request costs a few milliseconds, and large counts should be smaller."""
        return self.kind in (*REMOTE, *AZURE, *GCS)


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A short path (a socket's name has to fit below it), gone at the end; refuses to delete through something still mounted."""
    home = Path(os.path.realpath(tempfile.mkdtemp(prefix=f"sm-{os.getpid()}-")))
    try:
        yield home
    finally:
        assert f" {home}/" not in Path("/proc/self/mountinfo").read_text(), "a mount was left behind"
        subprocess.run(["rm", "-rf", "--one-file-system", home], check=True)


def open_outside(kind: str, home: Path, server: S3Server | AzureServer | GcsServer | None, bucket: str) -> Outside:
    """An empty store for a mount of this kind."""
    if isinstance(server, GcsServer):
        return GcsBucket(server, bucket).create()
    if isinstance(server, AzureServer):
        return Container(server.client(bucket).create())
    if server is None:
        folder = home / bucket
        folder.mkdir()
        return Folder(folder)
    return Bucket(server.client(bucket).create())


def mount_of(
    command: Storemount, kind: str, outside: Outside, options: Sequence[str] = (), attributes: Mapping[str, str] = NOTHING
) -> Mount:
    """A mount (not started) of the store that `outside` looks at, through the engine that `kind` names. `attributes` of the store replace
    those of the test server."""
    if kind == CLASS:
        assert isinstance(outside, Folder)
        return class_mount(command, outside.root, options)
    if kind == PROTOCOL:
        assert isinstance(outside, Folder)
        return protocol_mount(command, outside.root, options)
    if isinstance(outside, Folder):
        return Mount(command, outside.root.as_uri().replace("file:", "local:" if kind == CUSTOM else "file:"), options)
    if isinstance(outside, Container):
        client = outside.client
        name = command.register(f"{client.name}-{kind}", "azure", client.uri, {**client.server.attributes(), **attributes})
        return Mount(command, name, ("--engine", kind.removeprefix("azure-"), *options))
    if isinstance(outside, GcsBucket):
        name = command.register(f"{outside.name}-{kind}", "gcp", outside.uri, {**outside.server.attributes(), **attributes})
        return Mount(command, name, ("--engine", kind.removeprefix("gcs-"), *options))
    assert isinstance(outside, Bucket)
    return bucket_mount(command, kind, outside.client, options, attributes)


def class_mount(command: Storemount, folder: Path, options: Sequence[str] = ()) -> Mount:
    """A mount (not started) of the class `Shelf` over the folder, whose limits are told when it is mounted."""
    command.must("artifact-store", "flavor", "register", "tests.support.shelf.Shelf")
    name = command.register(folder.name, "shelf", f"shelf://{folder.name}", {"base": str(folder)})
    mount = Mount(command, name, options)
    mount.expect(rf"{name}: .*\(S\d+\)")
    return mount


def protocol_mount(command: Storemount, folder: Path, options: Sequence[str] = ()) -> Mount:
    """A mount (not started) of the folder by way of fsspec's `dir`, a file system around another one, which needs options to be opened."""
    attributes = {"options": json.dumps({"path": str(folder), "target_protocol": "file"})}
    return Mount(command, command.register(folder.name, "custom", "dir://", attributes), options)


def bucket_mount(
    command: Storemount, kind: str, client: BucketClient, options: Sequence[str] = (), attributes: Mapping[str, str] = NOTHING
) -> Mount:
    """A mount (not started) of the bucket. `attributes` of the store replace those of the test server."""
    name = command.register(f"{client.name}-{kind}", "s3", client.uri, {**client.server.attributes(), **attributes})
    return Mount(command, name, ("--engine", kind.removeprefix("s3-"), *options))


def plant(outside: Outside, count: int) -> list[str]:
    """Put `count` small files into the store before it is mounted; their keys. The content is `planted_bytes(key)`."""
    keys = [f"planted/{number:03}" for number in range(count)]
    for key in keys:
        outside.put(key, planted_bytes(key))
    return keys


def plant_within(mount: Mount, count: int) -> list[str]:
    """The same through the mount, where there is no other way; it then forgets the bytes, so that the files have not been read yet."""
    keys = plant(Folder(mount.point), count)
    if keys:
        synced(mount.point)
        mount.command.must("drop", str(mount.point))
    return keys


def planted_bytes(key: str) -> bytes:
    return f"this was {key} in the store\n".encode() * 3
