"""From a path to the mount that it is in, and between the paths of mounts and the URIs of what is there.

What it is: /proc's mounts, and what each of them says of its store.
What it is not: a look into a mounted file system beyond following the symbolic links on the way; a path need not exist.
Invariants: the innermost mount has a path, the longest root has a URI. ".." is resolved first, and leads out of nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import unquote

from storemount.api.keys import key_below
from storemount.config import Places
from storemount.control.client import ask, socket_path
from storemount.errors import ExitCode, Forbidden, Refusal
from storemount.kernel.mountinfo import mounts
from storemount.stores.uri import FILE, scheme_of, uri_below

ATTRIBUTE = "user.storemount.uri"


def mount_of(given: str) -> tuple[str, str]:
    """The mountpoint, and the path relative to it ("" is all of the mount). Raises Refusal(NOT_MOUNTED): in no mount of a store."""
    parent, name = os.path.split(os.path.abspath(os.path.expanduser(given)))
    path = os.path.join(os.path.realpath(parent), name)
    # The last segment may be a link in a mount, which is meant itself, or a link from outside into one.
    found = _within(path) or _within(os.path.realpath(path))
    if found is None:
        raise Refusal(ExitCode.NOT_MOUNTED, f"{given} is not in a mounted store; see: storemount status")
    return found


def uri_of(path: str, places: Places) -> str:
    """The URI of what is at `path` in a mounted store. Raises Refusal(NOT_MOUNTED)."""
    mountpoint, inner = mount_of(path)
    root = _root(mountpoint, places)
    if root is None:
        raise Refusal(ExitCode.NOT_MOUNTED, f"nobody answers for {mountpoint}: its daemon is gone; see: storemount status")
    return uri_below(root, inner)


def path_of(uri: str, places: Places) -> str:
    """Where a mount has what `uri` names. Raises Refusal(NOT_MOUNTED): in none; Refusal(USAGE): it is no URI, or leads out of its store."""
    scheme = scheme_of(uri)
    if not scheme:
        raise Refusal(ExitCode.USAGE, f"{uri!r} is not a URI; write one such as s3://bucket/key")
    spelled = scheme + uri[len(scheme) :]
    below = [(root, mountpoint) for root, mountpoint in _roots(places) if spelled == root or spelled.startswith(root + "/")]
    if not below:
        raise Refusal(ExitCode.NOT_MOUNTED, f"no mount has {uri}; mount its store first, or see: storemount status")
    root, mountpoint = max(below, key=lambda each: len(each[0]))
    inner = spelled[len(root) :]
    try:
        key = key_below(unquote(inner, errors="surrogateescape") if root.startswith(FILE) else inner)
    except Forbidden:
        raise Refusal(ExitCode.USAGE, f"{uri} leads out of the store {root}") from None
    return f"{mountpoint.rstrip('/')}/{key}" if key else mountpoint


def _roots(places: Places) -> Iterator[tuple[str, str]]:
    """The root of every mount that answers, and where it is mounted; what is hidden by another mount is left out."""
    visible = {mounted.mountpoint: mounted for mounted in mounts()}
    for mountpoint in [point for point, mounted in visible.items() if mounted.ours]:
        root = _root(mountpoint, places)
        if root is not None:
            yield root, mountpoint


def _root(mountpoint: str, places: Places) -> str | None:
    """The store's root, as the daemon tells its user, or as the mount tells everybody; None for a dead mount."""
    try:
        return str(next(ask(socket_path(places, mountpoint), "status"))["uri"])
    except (ConnectionError, FileNotFoundError, PermissionError, StopIteration):
        pass  # another user's mount, which has its socket elsewhere
    except TimeoutError:
        raise Refusal(ExitCode.UNEXPECTED, f"the daemon of {mountpoint} does not answer; see its log, and end it if need be") from None
    try:
        return os.fsdecode(os.getxattr(mountpoint, ATTRIBUTE)).rstrip("/")
    except OSError:
        return None


def _within(path: str) -> tuple[str, str] | None:
    """The innermost mount that has this path, when it is one of ours; one mounted later hides what was at or below its place."""
    holders = [each for each in mounts() if path == each.mountpoint or path.startswith(each.mountpoint.rstrip("/") + "/")]
    holder = max(reversed(holders), key=lambda each: len(each.mountpoint), default=None)
    if holder is None or not holder.ours:
        return None
    return holder.mountpoint, path[len(holder.mountpoint) :].strip("/")
