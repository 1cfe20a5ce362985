"""What a mount tells of its changes: rows and the whole state, as JSON objects.

What it is: the words of the control socket for what is pending, refused or in conflict (S8, S9, S16).
What it is not: the numbers (`figures`), the socket (`answers`), or a way to change anything.
Invariant: looking costs no request to the store and no read of the disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import trio

from storemount.assembly import Mount
from storemount.writeback.change import Change, State

NOT_SENT = "not sent yet"


def row(change: Change, error: Exception | None = None) -> dict[str, Any]:
    """One change: path, kind, how large it is and how old (for a daemon that took it up: since then), how far it is, how often it was
    tried, why the store does not have it, whether it was refused for good, where its bytes are kept, and whether all of them are there
    (`whole`); a file edited in place holds only what was written until it is sent."""
    kept = change.staged
    return {
        "path": change.key,
        "kind": change.kind.value,
        "to": change.to,
        "bytes": kept.size if kept is not None else 0,
        "age_seconds": trio.current_time() - change.born,
        "state": change.state.value,
        "tries": change.tries,
        "refused": change.state is State.REFUSED,
        "error": str(change.error or error or NOT_SENT),
        "kept": kept.path if kept is not None else None,
        "whole": kept.whole if kept is not None else False,
    }


def rows(changes: Iterable[Change]) -> list[dict[str, Any]]:
    return [row(change) for change in changes]


def state(mount: Mount, most: int | None = None) -> dict[str, Any]:
    """All that `status` shows of a mount, but for what never changes. `most`: so many failures are named; all are counted."""
    failing = [change for change in mount.journal if change.error is not None]
    return {
        **mount.figures.now(),
        "failing": len(failing),
        "failed": rows(failing[:most]),
        "conflicts": [asdict(conflict) for conflict in mount.conflicts.seen],
        "taken_up": mount.taken_up,
    }
