"""This machine, and whether its user may mount.

What it is: the device, the tool that mounts, who else may be let in, and the limits of a process.
What it is not: what a container or a security module takes away (`confinement`).
"""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator

from storemount.doctor.finding import Finding, fail, ok, refused, warn
from storemount.errors import Refusal
from storemount.kernel.mountpoint import NO_TABLE, Host, check_device, check_others, check_tool

FEW_FILES = 4096
"""Descriptors under which a mount with many open files or a long queue runs out of them."""


def machine(host: Host, files: int) -> Iterator[Finding]:
    """Every check of this machine itself. `files`: how many a process may have open, at most (as getrlimit(2) tells it)."""
    yield _device(host)
    yield _tool(host)
    yield _others(host)
    yield _descriptors(files)


def _device(host: Host) -> Finding:
    try:
        check_device(host)
    except Refusal as refusal:
        return refused("device", refusal)
    return ok("device", f"{host.device} can be opened")


def _tool(host: Host) -> Finding:
    try:
        check_tool(host)
    except Refusal as refusal:
        return refused("fusermount3", refusal)
    tool = host.command("fusermount3")
    if tool is None:
        return warn("fusermount3", "it is not there; root mounts without it", "for ordinary users: apt install fuse3")
    status = os.stat(tool)
    if host.uid and not (status.st_mode & stat.S_ISUID and status.st_uid == 0):
        said = f"{tool} is not setuid root, and an ordinary user cannot mount without"
        return fail("fusermount3", said, f"chown root {tool} && chmod u+s {tool}")
    if host.uid and not host.table.exists():
        return fail("fusermount3", f"there is no {host.table}, without which an ordinary user cannot unmount", NO_TABLE)
    return ok("fusermount3", tool)


def _others(host: Host) -> Finding:
    try:
        check_others(host)
    except Refusal:
        said = f"other users cannot be let into this user's mounts: {host.settings} has no line user_allow_other"
        return warn("allow-other", said, "for --allow-other, root adds that line")
    return ok("allow-other", "--allow-other can be used")


def _descriptors(limit: int) -> Finding:
    if limit == resource.RLIM_INFINITY:
        return ok("open files", "a process may have any number of open files")
    if limit < FEW_FILES:
        said = f"a process may have {limit} open files, which is few for a long queue of uploads"
        return warn("open files", said, "raise the hard limit (ulimit -Hn, LimitNOFILE= of a service)")
    return ok("open files", f"a process may have {limit} open files")
