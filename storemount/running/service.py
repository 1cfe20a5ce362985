"""A mount as a service: what its manager is told, and when.

What it is: readiness, one line of status every few seconds, the watchdog's food, and more time while a stop gets on.
What it is not: the protocol (`notify`), or the stop itself (`daemon`).
Invariants:
- The watchdog is fed by a question that goes through the kernel to this mount and is answered from memory, asked in a thread of its own:
  a store that hangs starves nobody, and a mount that hangs does not hang us. While the mount is being taken away, the loop speaks for it.
- A stop gets more time as long as something arrives in the store, or is on its way there for the first time. Without any of that the
  manager's own patience counts.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import trio

from storemount.assembly import Mount
from storemount.config import MIB
from storemount.running.notify import Notifier
from storemount.writeback.change import State

PULSE = 5.0
"""Seconds between two lines of status."""

EXTENSION = 60.0
"""Seconds that a start or a stop asks for at a time."""

PROBE = "user.storemount.uri"

log = logging.getLogger(__name__)


class Service:
    """Of one mount. `online`: whether the store has answered yet."""

    def __init__(self, notifier: Notifier, mount: Mount, mountpoint: str, online: Callable[[], bool]) -> None:
        self._notifier = notifier
        self._mount = mount
        self._mountpoint = mountpoint
        self._stopping = False
        self._up = trio.Event()
        self._seen = (trio.current_time(), 0, 0)
        self._thread = trio.CapacityLimiter(1)
        self._online = online

    def mounted(self) -> None:
        """The mount answers, or has its new settings."""
        self._up.set()
        self._notifier.ready(self._line())

    def reloading(self) -> None:
        self._notifier.reloading()

    def stopping(self) -> None:
        """From now on the queue is all that is waited for. More than once is as good as once."""
        if not self._stopping:
            self._stopping = True
            self._notifier.stopping()
            self._notifier.extend(EXTENSION)

    async def run(self) -> None:
        """Keep the manager informed, from the first answer of the mount on, until cancelled."""
        await self._up.wait()
        if self._notifier.is_heard:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell)
                if self._notifier.watchdog is not None:
                    nursery.start_soon(self._feed, self._notifier.watchdog / 3)

    async def _tell(self) -> None:
        while True:
            await trio.sleep(PULSE)
            if self._stopping and self._gets_on():
                self._notifier.extend(EXTENSION)
            self._notifier.status(self._line())

    def _line(self) -> str:
        """`mounted on /mnt/artifacts: 12 changes to go (3 MiB staged), 4.0 changes/s and 1.5 MiB/s into the store`."""
        now, worker = trio.current_time(), self._mount.worker
        (then, finished, sent), self._seen = self._seen, (now, worker.finished, worker.sent)
        seconds = max(now - then, 1.0)
        left = len(self._mount.journal)
        state = "saving what is left of" if self._stopping else "mounted on"
        queue = f"{left} changes to go ({self._mount.room.taken / MIB:.1f} MiB staged)" if left else "everything is in the store"
        rates = f"{(worker.finished - finished) / seconds:.1f} changes/s, {(worker.sent - sent) / MIB / seconds:.1f} MiB/s into the store"
        return f"{state} {self._mountpoint}: {queue}, {rates}" + ("" if self._online() else "; the store has not answered yet")

    def _gets_on(self) -> bool:
        """Whether a row has ended since the last line, or one is under way that has not failed."""
        arrived = self._mount.worker.finished > self._seen[1]
        return arrived or any(change.state is State.RUNNING and not change.tries for change in self._mount.journal)

    async def _feed(self, interval: float) -> None:
        while True:
            if self._stopping or await self._answers():
                self._notifier.alive()
            await trio.sleep(interval)

    async def _answers(self) -> bool:
        try:
            await trio.to_thread.run_sync(os.getxattr, self._mountpoint, PROBE, abandon_on_cancel=True, limiter=self._thread)
        except OSError as error:
            log.info("%s did not answer: %s", self._mountpoint, error)
            return False
        return True
