"""Durability: when what was promised survives a power cut (S7).

What it is: the grouped syncing of staged files and of the journal, at most a second after the promise, or before it is given.
What it is not: what survives the daemon's death: a commit alone does that.
Invariants: the bytes of a row reach the disk before the row is marked as synced; one that is not marked is not believed after a power cut.
One group is synced at a time; whoever comes meanwhile shares the next one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import trio

from storemount.disk import sync_file_system
from storemount.errors import StoreMountError
from storemount.writeback.change import Change, Kind
from storemount.writeback.journal import Journal
from storemount.writeback.ledger import Ledger
from storemount.writeback.record import Record
from storemount.writeback.staging import StagedFile

PERIOD = 0.4
"""Seconds between two groups. A group is a wait for the disk, and a power cut loses what came after the last one."""

SLOW = 1.0
"""Seconds after which a group is late."""

ONE_BY_ONE = 16
"""Up to so many files are synced each by itself; for more the whole file system is, in one go."""

log = logging.getLogger(__name__)


class Durability:
    """Of what `journal` promises, with staged files in `folder`. `immediate`: a promise is given only once it survives a power cut.
    `sync_store`: has what puts have left in the store survive one."""

    def __init__(
        self,
        journal: Journal,
        record: Record,
        ledger: Ledger,
        folder: Path,
        sync_store: Callable[[], Awaitable[None]],
        *,
        immediate: bool,
    ) -> None:
        self.immediate = immediate
        self._journal = journal
        self._record = record
        self._ledger = ledger
        self._folder = folder
        self._sync_store = sync_store
        self._turn = trio.Lock()
        self._store_turn = trio.Lock()

    async def run(self) -> None:
        """Sync a group again and again, until cancelled; and the store by itself, which may be away."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._again_and_again, self.local)
            nursery.start_soon(self._again_and_again, self._store)

    async def _again_and_again(self, sync: Callable[[], Awaitable[None]]) -> None:
        while True:
            await trio.sleep(PERIOD)
            began = trio.current_time()
            try:
                await sync()
                if trio.current_time() - began > SLOW:
                    log.info("the disk took %.1f s to make safe what was closed meanwhile", trio.current_time() - began)
            except (OSError, StoreMountError) as error:
                log.error("what was closed is not safe from a power cut yet: %s", error)

    async def before(self, change: Change) -> None:
        """Wait until a power cut cannot have the journal forget this row. Raises OSError.

        Nothing is done in the store before that: a journal that is behind its store would do older changes once more, over newer ones."""
        if self._record.behind(change) or (change.kind is Kind.PUT and not change.synced):
            await self.now()

    async def now(self) -> None:
        """All that was promised, and all that has arrived, before this call survives a power cut when it returns. Raises OSError, and what
        the store raises; what is on this disk is safe in either case."""
        try:
            await self._store()
        finally:
            await self.local()

    async def local(self) -> None:
        """All that was promised before this call survives a power cut when it returns. Raises OSError."""
        async with self._turn:
            self._journal.commit()
            rows = [change for change in self._journal if change.kind is Kind.PUT and not change.synced]
            if not rows and not self._ledger.unsynced:
                return
            promised = [(change, change.layers) for change in rows]
            files = [layer.hold() for change in rows if change.staged is not None for layer in change.staged.layers]
            try:
                await trio.to_thread.run_sync(_sync, files, self._folder)
            finally:
                for file in files:
                    file.drop()
            self._mark([change for change, layers in promised if change.layers is layers and not change.finished])
            await trio.to_thread.run_sync(self._ledger.sync)
            self._journal.tidy()

    async def _store(self) -> None:
        """What puts have left in the store is made safe, before their rows are forgotten."""
        async with self._store_turn:
            if done := self._record.done:
                await self._sync_store()
                self._journal.release(self._record.forget(done))

    async def rewritten(self, change: Change) -> None:
        """More bytes of a frozen file are there than its row says: have it say so, once they survive a power cut. Raises OSError."""
        assert change.staged is not None
        await trio.to_thread.run_sync(_sync, change.staged.layers, self._folder)
        self._journal.rewritten(change)
        self._journal.commit()
        # The store is about to lose what the older row stands on.
        await trio.to_thread.run_sync(self._ledger.sync)
        self._journal.tidy()

    def _mark(self, rows: Sequence[Change]) -> None:
        self._journal.commit()  # A row that got another number meanwhile is there under it.
        self._ledger.mark_synced([change.id for change in rows])
        # Only now: what there was before it is not needed any more.
        for change in rows:
            self._journal.secured(change)


def _sync(files: Sequence[StagedFile], folder: Path) -> None:
    """The bytes of these files and their names."""
    if len(files) > ONE_BY_ONE:
        sync_file_system(folder)
        return
    for file in files:
        os.fdatasync(file.fd)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
