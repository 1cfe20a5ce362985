"""What the kernel says is mounted, and who uses it.

What it is: /proc read and parsed.
What it is not: an opinion on what may be mounted (`mountpoint`), or a talk with a mount (`control`).
Invariant: nothing here touches a mounted file system, so nothing here can hang on one.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OURS = "fuse.storemount"


@dataclass(frozen=True, slots=True)
class Mounted:
    """One line of mountinfo. `owner` is the user id that a FUSE mount belongs to, None for other file systems."""

    mountpoint: str
    kind: str
    source: str
    owner: int | None

    @property
    def ours(self) -> bool:
        return self.kind == OURS


def parse(text: bytes) -> list[Mounted]:
    """The lines of a mountinfo file, in its order."""
    return [_parse_line(line) for line in text.splitlines()]


def mounts() -> list[Mounted]:
    """What this process sees mounted; a later one hides an earlier one at the same place."""
    return parse(Path("/proc/self/mountinfo").read_bytes())


def mounts_of(uid: int) -> list[Mounted]:
    """The stores that this user has mounted."""
    return [mounted for mounted in mounts() if mounted.ours and mounted.owner == uid]


def mounted_at(path: str) -> Mounted | None:
    """What is visible at this exact absolute path, if anything is mounted there."""
    return next((mounted for mounted in reversed(mounts()) if mounted.mountpoint == path), None)


def wait_until_gone(device: int) -> None:
    """Block until this process sees nothing of the file system `device` (a st_dev) mounted any more; other mount namespaces still may."""
    number = f"{os.major(device)}:{os.minor(device)}".encode()
    with Path("/proc/self/mountinfo").open("rb") as file:
        changes = select.poll()
        changes.register(file, select.POLLERR | select.POLLPRI)  # proc(5): how a change of the mounts is told
        while any(line.split(b" ", 3)[2] == number for line in file.read().splitlines()):
            changes.poll()
            file.seek(0)


def users_of(path: str) -> Iterator[str]:
    """`name (pid)` of each process that keeps the mount at `path` busy, as far as this user may know."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _uses(process, path):
            yield f"{_name(process)} ({process.name})"


def _parse_line(line: bytes) -> Mounted:
    """`36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue`; the number of fields before `-` varies."""
    before, _, after = line.partition(b" - ")
    kind, source, options = after.split(b" ", 2)
    owner = re.search(rb"(?:^|,)user_id=(\d+)", options)
    return Mounted(_unescaped(before.split(b" ")[4]), _unescaped(kind), _unescaped(source), int(owner[1]) if owner else None)


def _unescaped(field: bytes) -> str:
    r"""Space, tab, line break and backslash stand as octal: \040."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field))


def _uses(process: Path, path: str) -> bool:
    try:
        links = [process / "cwd", process / "root", process / "exe", *(process / "fd").iterdir()]
        maps = (process / "maps").read_bytes()
    except OSError:
        return False  # another user's, a kernel thread, or just gone
    return any(_within(name, path) for name in (*map(_target, links), *_mapped_files(maps)))


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def _mapped_files(maps: bytes) -> Iterator[str]:
    """The sixth field of each line that has one."""
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6:
            yield _unescaped(fields[5])


def _within(name: str, path: str) -> bool:
    return name == path or name.startswith(path + "/")


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
