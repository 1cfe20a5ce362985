"""The disk under a mount: where written files wait for their upload, and how much of it they may have (S15).

What it is: the staging folder, or what it would be made in.
What it is not: the journals in it (`status` and `unmount` tell of those).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from storemount.config import GIB, MIB
from storemount.disk import floor_of
from storemount.doctor.finding import Finding, fail, ok, warn
from storemount.kernel.mountinfo import mounts

ELSEWHERE = "choose another with --staging-dir"
VOLATILE = ("tmpfs", "ramfs")
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "lustre")
"""File systems of other machines, on which SQLite's journal is not safe (https://sqlite.org/wal.html: all must be on one host)."""

LITTLE = GIB
"""Bytes for staged files under which large ones may not fit."""


def folders(staging: Path) -> Iterator[Finding]:
    """Every check of the disk below the staging folder."""
    there = _existing(staging)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield fail("staging folder", f"{staging} cannot be written by this user", f"mend {there}, or {ELSEWHERE}")
        return
    yield _kind(staging, there)
    yield _room(staging, there)


def _existing(path: Path) -> Path:
    """`path`, or the nearest one above it that is there."""
    return next(above for above in (path, *path.parents) if os.path.lexists(above))


def _kind(staging: Path, there: Path) -> Finding:
    kind = file_system_of(os.path.realpath(there))
    if kind in VOLATILE:
        said = f"{staging} is on a {kind}: what waits there for its upload does not survive a restart of the machine (S7)"
        return warn("staging folder", said, ELSEWHERE)
    if kind in REMOTE or kind.startswith("fuse."):
        return warn("staging folder", f"{staging} is on a {kind}: its journal is not safe there", f"{ELSEWHERE}, on a disk of this machine")
    return ok("staging folder", f"{staging} ({kind})")


def file_system_of(path: str) -> str:
    """The kind of the file system that has this path."""
    above = [mount for mount in mounts() if path == mount.mountpoint or path.startswith(mount.mountpoint.rstrip("/") + "/")]
    return max(above, key=lambda mount: len(mount.mountpoint)).kind if above else "?"


def _room(staging: Path, there: Path) -> Finding:
    disk = os.statvfs(there)
    total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    floor = floor_of(total)
    room = free - floor
    said = f"{free // MIB} MiB are free; written files may have {max(room, 0) // MIB} MiB, as {floor // MIB} MiB are left alone"
    remedy = f"make room on the disk of {there}, or {ELSEWHERE}"
    if room <= 0:
        return fail("disk budget", f"{said}: every write would end in ENOSPC", remedy)
    return warn("disk budget", said, remedy) if room < LITTLE else ok("disk budget", said)
