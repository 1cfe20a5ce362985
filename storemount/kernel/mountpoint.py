"""May a store be mounted here, and how a mount is taken away.

What it is: the checks before a mount, each a one-line Refusal that says what to do, and the two kernel commands.
What it is not: the mount itself (`daemon`).
Invariants: nothing is changed but a dead mount, which is replaced at the last moment, so that nobody writes into the directory below
while a new daemon starts. A mountpoint is an absolute path whose symbolic links are followed,
so that it is spelled as in mountinfo.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from time import monotonic, sleep

from storemount.config import environment
from storemount.errors import ENOTCONN, ExitCode, Refusal
from storemount.kernel.mountinfo import mounted_at, users_of

UNMOUNT_PROGRAM = Path("/sbin/umount.fuse.storemount")
"""What umount(8) runs for a mount of ours where it is installed: `storemount unmount`, which must not call itself."""

AUTOFS = "autofs"
"""What waits to be mounted on (x-systemd.automount). Whoever looks into it waits for that mount, so nobody looks who is about to mount."""

_MOMENT = 2.0
"""Seconds for which a mount may be busy without a process that uses it: a container that is just being made has a copy of all mounts."""

_PROMPT = 2.0
"""Seconds in which the kernel has said that a daemon is gone; it takes no time."""

_SHOWN = 5


NO_TABLE = "fusermount3 looks into /etc/mtab before it unmounts; as root: ln -s ../proc/self/mounts /etc/mtab"
"""For a root of debootstrap's, and some containers; an installed system has the link."""


@dataclass(frozen=True, slots=True)
class Host:
    """What mounting needs of this machine. `command`: finds a program."""

    uid: int
    device: Path = Path("/dev/fuse")
    settings: Path = Path("/etc/fuse.conf")
    command: Callable[[str], str | None] = shutil.which
    table: Path = Path("/etc/mtab")


def located(given: str) -> str:
    """`given` as mountinfo spells it. The last segment is not looked at when it is mounted, as a dead or slow mount would be asked."""
    parent, name = os.path.split(os.path.abspath(os.path.expanduser(given)))
    path = os.path.join(os.path.realpath(parent), name)
    return path if mounted_at(path) else os.path.realpath(path)


def check(path: str, *, nonempty: bool, say: Callable[[str], None], uid: int) -> None:
    """Whether `path` can be mounted on. A dead mount of ours is said, and passes: it was looked at below when it was mounted.

    Raises Refusal(BAD_MOUNTPOINT)."""
    there = mounted_at(path)
    if there and there.kind == AUTOFS:
        return
    if there and is_dead(path):
        if not there.ours:
            raise _bad(f"{path} is a dead mount of {there.source} ({there.kind}); clean it first: umount -l {quote(path)}")
        say(f"{path} is a dead mount (its daemon is gone); replacing it")
        return
    if there and there.ours:
        raise _bad(f"{path} is already mounted ({there.source}); unmount it first: storemount unmount {quote(path)}")
    if not os.path.lexists(path):
        raise _bad(f"{path} does not exist; make it: mkdir -p {quote(path)}")
    if not os.path.isdir(path):
        raise _bad(f"{path} is not a directory; mount on an empty directory")
    if uid and not os.access(path, os.W_OK):
        raise _bad(f"{path} is not writable for this user, who may so not mount on it; choose a directory of your own")
    if not nonempty and _entries(path):
        raise _bad(f"{path} is not empty, and a mount would hide what is in it; choose an empty directory, or add -o nonempty")


def clear(path: str) -> None:
    """Take a dead mount of ours away, if there is one. Raises Refusal(UNEXPECTED)."""
    there = mounted_at(path)
    if there and there.ours and is_dead(path):
        detach(path, lazy=True)


def check_apart(path: str, folders: Iterable[tuple[str, str]]) -> None:
    """None of `folders` (what it is, where it is) may lie below the mountpoint, as it would vanish under the mount. Raises Refusal."""
    for what, folder in folders:
        if _inside(os.path.realpath(folder), path):
            raise _bad(f"{what} ({folder}) is inside the mountpoint {path}; choose another mountpoint")


def check_outside_store(path: str, root: str) -> None:
    """A local store and its mountpoint may not contain each other. Raises Refusal(BAD_MOUNTPOINT)."""
    check_apart(path, [("the store's folder", root)])
    if _inside(path, os.path.realpath(root)):
        raise _bad(f"the mountpoint {path} is inside the store's own folder {root}; choose another mountpoint")


def check_fuse(host: Host, *, allow_other: bool) -> None:
    """Whether this machine lets this user mount with FUSE. Raises Refusal(NO_FUSE)."""
    check_device(host)
    check_tool(host)
    if allow_other:
        check_others(host)


def check_device(host: Host) -> None:
    """Whether FUSE's device is there, and can be opened. Raises Refusal(NO_FUSE)."""
    if not host.device.exists():
        raise _no_fuse(f"there is no {host.device}; load the kernel's module: modprobe fuse")
    try:
        os.close(os.open(host.device, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        raise _no_fuse(f"this user may not open {host.device}; have its mode set to 0666, as is usual: chmod 666 {host.device}") from None
    except OSError as error:
        raise _no_fuse(f"cannot open {host.device} ({error.strerror}); load the kernel's module: modprobe fuse") from None


def check_tool(host: Host) -> None:
    """Whether there is something that mounts for this user. Raises Refusal(NO_FUSE)."""
    if not host.command("fusermount3") and (host.uid or not host.command("umount")):
        raise _no_fuse("there is no fusermount3, which mounts and unmounts; install it: apt install fuse3")


def check_others(host: Host) -> None:
    """Whether this user may let others in. Raises Refusal(NO_FUSE)."""
    if host.uid and not _others_allowed(host.settings):
        raise _no_fuse(f"--allow-other is only for root, unless {host.settings} has a line user_allow_other; add it, or mount without")


def is_dead(path: str) -> bool:
    """Whether the daemon behind the mount at `path` is gone. (The kernel may still answer a stat from its cache; never a statvfs.) One that
    is stopped, or stuck, says nothing at all, and is not waited for."""
    return Deaths().known(path)


class Deaths:
    """The same of many mounts, again and again: one that says nothing holds one thread, however often it is asked about."""

    def __init__(self) -> None:
        self._silent: dict[str, threading.Thread] = {}

    def known(self, path: str) -> bool:
        if path in self._silent and self._silent[path].is_alive():
            return False
        found: list[bool] = []
        asking = self._silent[path] = threading.Thread(target=lambda: found.append(says_dead(path)), daemon=True)
        asking.start()
        asking.join(_PROMPT)
        return found == [True]


def says_dead(path: str) -> bool:
    """The same by whoever can wait."""
    try:
        os.statvfs(path)
    except OSError as error:
        return error.errno == ENOTCONN
    return False


def detach(path: str, *, lazy: bool = False) -> None:
    """Take the mount away. Raises Refusal(BUSY) naming who uses it, Refusal(UNEXPECTED) when the kernel refuses for another reason."""
    if os.getuid() == 0 and shutil.which("umount"):
        command = ["umount", *(["-i"] if UNMOUNT_PROGRAM.exists() else []), *(["-l"] if lazy else []), "--", path]
    else:
        command = ["fusermount3", "-u", *(["-z"] if lazy else []), "--", path]
    until = monotonic() + _MOMENT
    while (said := _said(command, path)) is not None and "busy" in said:
        users = list(users_of(path))
        if users or monotonic() > until:
            raise Refusal(ExitCode.BUSY, f"{path} is busy: {_named(users)}; close what is open there, or add --lazy")
        sleep(_MOMENT / 20)
    if said is not None:
        remedy = f"; {NO_TABLE}" if "/etc/mtab" in said else ""
        raise Refusal(ExitCode.UNEXPECTED, f"cannot unmount {path}: {said}{remedy}")


def _said(command: list[str], path: str) -> str | None:
    """What the command has against it; None when the mount is gone."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=_plain_environment())
    if done.returncode == 0 or not mounted_at(path):
        return None
    return " ".join(done.stderr.split()) or f"{command[0]} ended with {done.returncode}"


def _named(users: list[str]) -> str:
    if not users:
        return "used by a process that this user may not see"
    return f"used by {', '.join(users[:_SHOWN])}{f' and {len(users) - _SHOWN} more' if len(users) > _SHOWN else ''}"


def _plain_environment() -> dict[str, str]:
    """The messages of the tools in English, as one is looked into."""
    return {**environment(), "LC_ALL": "C"}


def _entries(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(True for _ in entries)
    except PermissionError:
        raise _bad(f"{path} cannot be read by this user; choose a directory of your own") from None


def _others_allowed(settings: Path) -> bool:
    try:
        lines = settings.read_text(errors="replace").splitlines()
    except (FileNotFoundError, PermissionError):
        return False
    return any(line.partition("#")[0].strip() == "user_allow_other" for line in lines)


def _inside(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def _bad(message: str) -> Refusal:
    return Refusal(ExitCode.BAD_MOUNTPOINT, message)


def _no_fuse(message: str) -> Refusal:
    return Refusal(ExitCode.NO_FUSE, message)
