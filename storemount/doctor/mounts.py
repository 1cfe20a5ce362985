"""Mounts that are there, and the place where one is to be.

What it is: the mounts of this user that nobody serves any more, and a mountpoint looked at as `mount` would.
What it is not: a repair: nothing is cleaned.
Invariant: nothing here hangs on a mount that hangs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from shlex import quote

from storemount.doctor.finding import Finding, fail, ok, refused
from storemount.errors import Refusal
from storemount.kernel.mountinfo import Mounted, mounted_at, mounts_of
from storemount.kernel.mountpoint import check, says_dead

PATIENCE = 5.0
"""Seconds that a mount has for one answer."""


def stale_mounts(uid: int, patience: float = PATIENCE) -> Iterator[Finding]:
    """Each mount of this user's that does not answer, or one finding that there is none."""
    own = {mount.mountpoint: mount for mount in mounts_of(uid)}
    found = [finding for mount in own.values() if (finding := _trouble(mount, patience)) is not None]
    yield from found
    if not found:
        yield ok("mounts", f"all {len(own)} of this user's mounts answer" if own else "this user has none")


def mountpoint(path: str, uid: int, patience: float = PATIENCE) -> Finding:
    """Whether a store can be mounted at this place (an absolute path, as mountinfo has it)."""
    there = mounted_at(path)
    if there is not None:
        return _trouble(there, patience) or _occupied(there)
    try:
        check(path, nonempty=False, say=_nothing_is_cleaned, uid=uid)
    except Refusal as refusal:
        return refused("mountpoint", refusal)
    return ok("mountpoint", f"a store can be mounted on {path}")


def _occupied(there: Mounted) -> Finding:
    if there.ours:
        return ok("mountpoint", f"{there.source} is mounted on {there.mountpoint}, and answers")
    return ok("mountpoint", f"{there.mountpoint} has a {there.kind} file system now, which a mount would hide")


def _trouble(mount: Mounted, patience: float) -> Finding | None:
    path = mount.mountpoint
    dead = answer_of(partial(says_dead, path), patience)
    clean = f"clean it: storemount unmount {quote(path)}" if mount.ours else f"clean it: umount -l {quote(path)}"
    if dead is None:
        said = f"{path} ({mount.source}) does not answer within {patience:.0f} s"
        return fail("mounts", said, "see its log, and end its daemon if need be")
    return fail("mounts", f"{path} ({mount.source}) is dead: its daemon is gone", clean) if dead else None


def answer_of(question: Callable[[], bool], patience: float) -> bool | None:
    """What `question` answers within so many seconds; None when it does not. The kernel may hold whoever asks for ever, so a thread asks
    that nobody waits for."""
    answers: list[bool] = []
    asking = threading.Thread(target=lambda: answers.append(question()), daemon=True)
    asking.start()
    asking.join(patience)
    return answers[0] if answers else None


def _nothing_is_cleaned(line: str) -> None:
    raise AssertionError(line)
