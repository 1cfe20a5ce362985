"""What a mount tells of its changes: rows, progress and the whole state, as JSON objects.

What it is: the words of the control socket for what is pending, refused or in conflict (S8, S9, S16).
What it is not: the socket (`answers`), or a way to change anything.
Invariant: looking costs no request to the store and no read of the disk.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import trio

from storemount.assembly import Mount
from storemount.writeback.change import Change, Kind, State

NOT_SENT = "not sent yet"


def row(change: Change, error: Exception | None = None) -> dict[str, Any]:
    """One change: path, kind, why the store does not have it, whether it was refused for good, where its bytes are kept, and whether all
    of them are there (`whole`); a file edited in place holds only what was written until it is sent."""
    kept = change.staged
    return {
        "path": change.key,
        "kind": change.kind.value,
        "to": change.to,
        "refused": change.state is State.REFUSED,
        "error": str(change.error or error or NOT_SENT),
        "kept": kept.path if kept is not None else None,
        "whole": kept.whole if kept is not None else False,
    }


def rows(changes: Iterable[Change]) -> list[dict[str, Any]]:
    return [row(change) for change in changes]


def progress(changes: Iterable[Change]) -> dict[str, Any]:
    """How much of these changes is still to go."""
    pending = [change for change in changes if not change.finished]
    return {
        "pending": len(pending),
        "pending_bytes": sum(change.staged.size for change in pending if change.staged is not None),
        "uploading": sum(change.kind is Kind.PUT and change.state is State.RUNNING for change in pending),
    }


def state(mount: Mount) -> dict[str, Any]:
    """All that `status` shows of a mount, but for what never changes."""
    changes, blocks = list(mount.journal), mount.blocks
    oldest = min((change.born for change in changes), default=None)
    return {
        **progress(changes),
        "refused": sum(change.state is State.REFUSED for change in changes),
        "oldest_pending_seconds": trio.current_time() - oldest if oldest is not None else 0.0,
        "failed": rows(change for change in changes if change.error is not None),
        "conflicts": [asdict(conflict) for conflict in mount.conflicts.seen],
        "taken_up": mount.taken_up,
        "staged_bytes": mount.room.taken,
        "cache_bytes": blocks.held,
        "cache_cap": blocks.capacity,
        "hits": blocks.hits,
        "misses": blocks.misses,
        "rss_bytes": _resident(),
        "now": time.time(),
    }


def _resident() -> int:
    """The daemon's memory, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
