"""What is measured: the plain directory, storemount, and the rivals; how each mounts a store.

What it is: for each tool its command line, and what a program can wait for (`Settling`).
What it is not: the running of it (`stage`).
Invariant: a tool keeps whatever it keeps below the scratch folder that it is given; nothing of the user's is read or written.
"""

from __future__ import annotations

import enum
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmark.machine import first_line_of
from benchmark.stores import Bucket, Folder, Store

REPOSITORY = Path(__file__).resolve().parent.parent.parent


class Settling(enum.Enum):
    """When a tool promises that a file is in the store."""

    FSYNC = "when fsync returns"
    CLOSE = "when close returns"
    LATER = "some time after close"


@dataclass(frozen=True)
class Start:
    """A command that serves a mount in the foreground until it is unmounted, with the variables that it gets on top of ours."""

    command: list[str]
    variables: dict[str, str]


class Subject(Protocol):
    name: str
    settling: Settling

    def version(self) -> str: ...

    def serves(self, store: Store) -> bool:
        """Whether it can mount this kind of store, and is installed."""
        ...

    def start(self, store: Store, point: Path, scratch: Path) -> Start | None:
        """How to mount; None when there is nothing to mount because the store is a directory."""
        ...


class Plain:
    name = "plain"
    settling = Settling.FSYNC

    def version(self) -> str:
        return "the directory itself"

    def serves(self, store: Store) -> bool:
        return isinstance(store, Folder)

    def start(self, store: Store, point: Path, scratch: Path) -> Start | None:
        return None


class Storemount:
    """This checkout, through its command, in a home of its own. An S3 store is registered under a name first, in a registry of its own."""

    name = "storemount"
    settling = Settling.FSYNC
    command = (sys.executable, "-m", "storemount")

    def __init__(self, options: list[str]) -> None:
        self._options = options

    def version(self) -> str:
        commit = first_line_of("git", "-C", str(REPOSITORY), "describe", "--always", "--dirty")
        return " ".join(["commit", commit, *self._options])

    def serves(self, store: Store) -> bool:
        return True

    def start(self, store: Store, point: Path, scratch: Path) -> Start:
        variables = {
            "PYTHONPATH": str(REPOSITORY),
            "STOREMOUNT_SYSTEM_CONFIG": str(scratch / "system"),
            **{f"XDG_{name}": str(scratch / name) for name in ("CONFIG_HOME", "DATA_HOME", "STATE_HOME", "RUNTIME_DIR", "CACHE_HOME")},
        }
        if isinstance(store, Folder):
            name = store.root.as_uri()
        else:
            assert isinstance(store, Bucket)
            name = "bench"
            variables |= {"BENCH_KEY": store.endpoint.key, "BENCH_SECRET": store.endpoint.secret}
            if not (scratch / "CONFIG_HOME").exists():
                self._register(name, store, variables)
        return Start([*self.command, "mount", name, str(point), "--foreground", *self._options], variables)

    def _register(self, name: str, store: Bucket, variables: dict[str, str]) -> None:
        where = store.endpoint
        attributes = [f"--endpoint={where.url}", f"--region={where.region}", "--key=env:BENCH_KEY", "--secret=env:BENCH_SECRET"]
        words = ["artifact-store", "register", name, "-f", "s3", "--path", f"s3://{where.bucket}", *attributes]
        subprocess.run(
            [*self.command, *words], env={**os.environ, **variables}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True
        )


class Rclone:
    name = "rclone"
    settling = Settling.LATER

    def version(self) -> str:
        return first_line_of("rclone", "version")

    def serves(self, store: Store) -> bool:
        return shutil.which("rclone") is not None

    def start(self, store: Store, point: Path, scratch: Path) -> Start:
        variables = {"RCLONE_CONFIG": os.devnull}
        remote = str(store.root) if isinstance(store, Folder) else ""
        if isinstance(store, Bucket):
            where = store.endpoint
            remote = f":s3:{where.bucket}"
            variables |= {
                "RCLONE_S3_PROVIDER": "Ceph",
                "RCLONE_S3_ENDPOINT": where.url,
                "RCLONE_S3_REGION": where.region,
                "RCLONE_S3_ACCESS_KEY_ID": where.key,
                "RCLONE_S3_SECRET_ACCESS_KEY": where.secret,
            }
        cache = ["--vfs-cache-mode", "full", "--cache-dir", str(scratch / "cache"), "--vfs-write-back", "0s"]
        return Start(["rclone", "mount", remote, str(point), *cache], variables)


class S3fs:
    name = "s3fs"
    settling = Settling.CLOSE

    def version(self) -> str:
        return first_line_of("s3fs", "--version")

    def serves(self, store: Store) -> bool:
        return isinstance(store, Bucket) and shutil.which("s3fs") is not None

    def start(self, store: Store, point: Path, scratch: Path) -> Start:
        assert isinstance(store, Bucket)
        where = store.endpoint
        secret = scratch / "passwd"
        secret.touch(mode=0o600)
        secret.write_text(f"{where.key}:{where.secret}\n")
        options = f"passwd_file={secret},url={where.url},endpoint={where.region},use_path_request_style,tmpdir={scratch}"
        return Start(["s3fs", where.bucket, str(point), "-f", "-o", options], {})


def every_subject(storemount_options: list[str]) -> list[Subject]:
    return [Plain(), Storemount(storemount_options), Rclone(), S3fs()]
