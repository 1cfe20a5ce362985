"""One store examined, from its description to its keys.

What it is: the order of the checks, each of which needs what the one before has shown.
What it is not: any check, or a mount.
Invariant: a failed check is a finding; only what nobody named is an exception.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import trio

from storemount.doctor.access import LAST_WORDS, Probes, bandwidth, probing, reachable, read_back, reading, removing, writing
from storemount.doctor.endpoint import clock, endpoint_of, skew
from storemount.doctor.finding import Report, fail, ok, refused
from storemount.doctor.names import names
from storemount.doctor.races import races
from storemount.errors import Refusal, StoreMountError
from storemount.stores.base import ArtifactStore
from storemount.stores.deadline import Deadlined
from storemount.stores.flavors import StoreSpec, open_store


@dataclass(frozen=True, slots=True)
class Examination:
    """Of the store behind `spec`. keys: how many are looked at for names that cannot be shown, 0 for none. read_only: write nothing."""

    spec: StoreSpec
    engine: str
    deadline: float
    read_only: bool
    keys: int
    environ: Mapping[str, str]

    def run(self, report: Report) -> None:
        """Tell `report` each finding as it comes."""
        # Before anything else, as a wrong clock is why credentials are refused.
        url = endpoint_of(self.spec, self.environ)
        ahead = skew(url) if url else None
        if ahead is not None:
            report(clock(ahead))
        try:
            store = open_store(replace(self.spec, read_only=self.read_only), engine=self.engine, deadline=self.deadline)
        except Refusal as refusal:
            report(refused("store", refusal))
            return
        trio.run(self._examine, store, report, ahead is None)

    async def _examine(self, opened: ArtifactStore, report: Report, ask_time: bool) -> None:
        store = Deadlined(opened, self.deadline)
        try:
            if await reachable(store, report):
                await self._tried(store, report, ask_time)
                if self.keys:
                    await names(store, report, most=self.keys)
        except StoreMountError as error:
            report(fail("store", f"it stopped answering as it should: {error}", "try again, and look at the server if it stays so"))
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(LAST_WORDS):
                await store.aclose()

    async def _tried(self, store: ArtifactStore, report: Report, ask_time: bool) -> None:
        """`ask_time`: the server has not told its time yet; that of the probe has to do."""
        if self.read_only:
            report(ok("writing", "not tried (--read-only)"))
            await reading(store, report)
            return
        async with probing(store, 1) as probes:
            made = await writing(store, probes, report)
            if made is None:
                await reading(store, report)
                return
            if ask_time and made.mtime_ns:
                report(clock(time.time() - made.mtime_ns / 1e9))
            if await read_back(store, probes, made, report):
                await _compared(store, probes, report)
            await removing(store, [probes.key, probes.other(0)], report)


async def _compared(store: ArtifactStore, probes: Probes, report: Report) -> None:
    try:
        await bandwidth(store, probes, report)
        await races(store, probes, report)
    except StoreMountError as error:
        report(fail("writing", f"the probe could be written once, and then not: {error}", "look at the store's quota and policies"))
