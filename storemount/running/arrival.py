"""The store's first answer: asked for before the mount, or, where that was allowed, waited for while the mount already serves.

What it is: the question at the start, and the waiting of a mount that starts offline.
What it is not: a judgement of later outages; those are the requests' own (S14).
Invariants: a wrong configuration, a missing bucket and refused credentials end a start in either case, as far as the store can be asked. A
mount that starts offline knows of the store what its journal and its kept metadata say, and claims nothing more: what it cannot know is an
error, never an empty directory (S3).
"""

from __future__ import annotations

import logging

import trio

from storemount.errors import Refusal, StoreMountError, may_pass
from storemount.running.notify import Notifier
from storemount.stores.base import ArtifactStore
from storemount.stores.flavors import StoreSpec
from storemount.stores.uri import without_password
from storemount.writeback.recovery import Recovery

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
EXTENSION = 60.0
"""Seconds more that the service manager is asked for with each try."""

log = logging.getLogger(__name__)


class Arrival:
    """may_wait: whether the mount may start before the store answers. online: whether it has answered."""

    def __init__(self, store: ArtifactStore, spec: StoreSpec, notifier: Notifier, *, may_wait: bool) -> None:
        self._store = store
        self._spec = spec
        self._notifier = notifier
        self._where = without_password(spec.path)
        self._may_wait = may_wait
        self.online = False

    async def first(self) -> None:
        """Raises what the store raises, but for what may pass when the mount may wait."""
        try:
            await self._check()
        except StoreMountError as error:
            if not (self._may_wait and may_pass(error)):
                raise
            log.warning("%s does not answer (%s); mounting all the same, and waiting for it", self._where, error)

    async def confirmed(self, recovery: Recovery) -> None:
        """Where the journal cannot be read without the store (a file was on its way and renamed when the last daemon died), a mount has to
        wait for it after all: nobody may see that file as an empty one. Raises what the store raises, but for what may pass."""
        pause = FIRST_PAUSE
        while True:
            try:
                await recovery.confirm()
                return
            except StoreMountError as error:
                if not (self._may_wait and may_pass(error)):
                    raise
                log.warning("the journal needs an answer of %s before it can be mounted (%s)", self._where, error)
            self._notifier.status(f"waiting for {self._where}, which the journal needs an answer of")
            self._notifier.extend(EXTENSION)
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def later(self) -> None:
        """Ask until the store answers. A refusal then is said once; each program hears of it where it matters (S16)."""
        pause = FIRST_PAUSE
        while not self.online:
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            try:
                await self._check()
            except (StoreMountError, Refusal) as error:
                if not may_pass(error):
                    log.error("%s has answered: %s; mend that, and mount it again", self._where, error)
                    return
            else:
                log.info("%s answers", self._where)

    async def _check(self) -> None:
        await self._store.check()
        self.online = True
        for limit in self._store.traits.limits:
            log.warning("%s: %s", self._spec.name, limit)
