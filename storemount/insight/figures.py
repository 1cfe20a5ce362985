"""Figures: every number of a mount, read at once.

What it is: the one reading that `status`, the metrics and the attribute `user.storemount.stats` of the root all show.
What it is not: a list of changes or conflicts (`report`), or the names and units that monitoring wants (`metrics`).
Invariant: looking costs no request to the store and no read of the disk.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import trio

from storemount.cache.blocks import BlockCache
from storemount.cache.disk import DiskCache
from storemount.disk import Budget
from storemount.insight.measures import Timings, Usage
from storemount.names.tree import Tree
from storemount.stores.measured import Measured
from storemount.stores.offline import Offline
from storemount.writeback.change import Change, Kind, State
from storemount.writeback.conflicts import Conflicts
from storemount.writeback.journal import Journal
from storemount.writeback.worker import Worker


def progress(changes: Iterable[Change]) -> dict[str, Any]:
    """How much of these changes is still to go."""
    pending = [change for change in changes if not change.finished]
    return {
        "pending": len(pending),
        "pending_bytes": sum(change.to_go for change in pending),
        "uploading": sum(change.kind is Kind.PUT and change.state is State.RUNNING for change in pending),
    }


class Figures:
    """Of one mount. `disk` and `offline`: what outlives it, where something does. `store` is what the mount asks, and `usage` what
    programs asked of the mount."""

    def __init__(
        self,
        tree: Tree,
        journal: Journal,
        worker: Worker,
        conflicts: Conflicts,
        budget: Budget,
        blocks: BlockCache,
        disk: DiskCache | None,
        offline: Offline | None,
        usage: Usage,
        store: Measured,
    ) -> None:
        self._tree = tree
        self._journal = journal
        self._worker = worker
        self._conflicts = conflicts
        self._budget = budget
        self._blocks = blocks
        self._disk = disk
        self._offline = offline
        self._usage = usage
        self._store = store

    @property
    def operations(self) -> Timings:
        """Of the kernel, by verb."""
        return self._usage.operations

    @property
    def requests(self) -> Timings:
        """To the store, by verb."""
        return self._store.requests

    def now(self) -> dict[str, Any]:
        """Each by its name in `status --json`; bytes, seconds and counts since the mount was started."""
        return {
            **self._queue(),
            "staged_bytes": self._budget.staged,
            "staged_cap": self._budget.cap,
            "cache_bytes": self._blocks.held,
            "cache_cap": self._blocks.capacity,
            "hits": self._blocks.hits,
            "misses": self._blocks.misses,
            **self._persistent(),
            "read_bytes": self._usage.read_bytes,
            "written_bytes": self._usage.written_bytes,
            "fetched_bytes": self._store.fetched,
            "uploaded_bytes": self._store.uploaded,
            "open_files": self._usage.open_files,
            "names": len(self._tree),
            "running_requests": self._store.running,
            "requests": _summary(self.requests),
            "operations": _summary(self.operations),
            "rss_bytes": _resident(),
            "cpu_seconds": time.process_time(),
            "now": time.time(),
        }

    def _queue(self) -> dict[str, Any]:
        changes = list(self._journal)
        oldest = min((change.born for change in changes), default=None)
        return {
            **progress(changes),
            "refused": sum(change.state is State.REFUSED for change in changes),
            "oldest_pending_seconds": trio.current_time() - oldest if oldest is not None else 0.0,
            "conflicts_seen": len(self._conflicts.seen),
            "retries": self._worker.retries,
            "refusals": self._worker.refusals,
        }

    def _persistent(self) -> dict[str, Any]:
        """The blocks on the disk, and for how many seconds what was warmed is shown as it was seen last; a store on this disk has none."""
        if self._disk is None or self._offline is None:
            return {}
        return {
            "disk_cache_bytes": self._disk.held,
            "disk_cache_cap": self._disk.size,
            "disk_hits": self._disk.hits,
            "disk_misses": self._disk.misses,
            "offline_seconds": self._offline.away,
        }


def _summary(timings: Timings) -> dict[str, Any]:
    failed: dict[str, dict[str, int]] = {}
    for (name, reason), count in timings.failures.items():
        failed.setdefault(name, {})[reason] = count
    return {
        name: {"count": histogram.count, "seconds": round(histogram.seconds, 6), "failed": failed.get(name, {})}
        for name, histogram in timings.durations.items()
    }


def _resident() -> int:
    """The daemon's memory, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
