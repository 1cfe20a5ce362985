"""The model test with power cuts: the disk is set back to the last sync of the journal, and the store has gone on.

What it is: random programs, kills and cuts over stores that are slow, that answer late, and that fail; what is there after a cut is what
was there at the time of that sync, whole (S7).
What it is not: a real disk (tests/crash), or syncs by the clock: they come when the programs' steps or the uploads ask for one.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyfuse3 import FUSEError
from trio.testing import MockClock

from storemount.errors import StoreMountError
from storemount.stores.base import ArtifactStore
from storemount.writeback.ledger import Ledger
from tests.model.driver import TRIES, Driver, Step
from tests.model.reference import Reference
from tests.model.test_model import BYTE, REMOUNT, VERBS, _broken, _compare, _late, _local, _prompt, _slow, shape
from tests.support.bare import BareMount, bare_mount, close_descriptors, shown
from tests.support.forgetful import ForgetfulDisk

T = TypeVar("T")
SYNC, CUT = "sync", "cut"
LINKS = ("symlink", "readlink", "touch")
ALL = (*VERBS, *LINKS, *VERBS, *LINKS, SYNC, SYNC, CUT, CUT, REMOUNT)
STEPS = st.lists(st.builds(Step, st.sampled_from(ALL), BYTE, BYTE, BYTE), min_size=10, max_size=60)


@pytest.fixture(autouse=True, scope="module")
def no_threads() -> Iterator[None]:
    """Nobody does anything between the syncing of the bytes and that of the journal: a cut leaves the state of one moment."""

    async def at_once(work: Callable[..., T], *args: object, **_: object) -> T:
        return work(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio.to_thread, "run_sync", at_once)
        yield


class History:
    """The states of the reference while the last step was done in which the journal was synced."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self.exact = True
        self._step = self._synced = [copy.deepcopy(reference)]

    def note(self, *, begins: bool = False) -> None:
        """The reference is as the mount is, or was before what is being done; `begins`: a step."""
        if begins:
            self._step = []
        self._step.append(copy.deepcopy(self._reference))

    def synced(self, ledger: Ledger) -> None:
        self._synced = self._step
        self.exact = not _unsynced(ledger)

    def die(self) -> list[Reference]:
        """What there may be after a cut: what was there, and closed, at the time of the last sync."""
        states = copy.deepcopy(self._synced)
        for state in states:
            state.die()
        return states

    def take(self, there: dict[str, bytes], states: Sequence[Reference]) -> None:
        """The reference is what the mount shows after a cut: one of these."""
        state = next((state for state in reversed(states) if shape(state) == there), None)
        assert state is not None, f"{there} is none of {[shape(state) for state in states]}"
        self._reference.root = state.root
        self.note(begins=True)
        self._synced = self._step


def _unsynced(ledger: Ledger) -> list[tuple[int]]:
    return ledger._database.execute("SELECT id FROM changes WHERE kind = 'put' AND synced = 0").fetchall()


async def _run(store: ArtifactStore, folder: Path, steps: Sequence[Step], *, ttl: float) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
    reference = Reference()
    history = History(reference)
    with pytest.MonkeyPatch.context() as patch:
        disk = ForgetfulDisk(folder / "one", folder / "kept", patch, history.synced)
        driver: Driver | None = None
        waiting = [*steps]
        while waiting:
            async with bare_mount(store, folder / "one", ttl=ttl) as m:
                driver = driver or Driver(m, reference, note=history.note)
                driver.follow(m)
                ends = await _live(m, driver, history, waiting)
                if ends is None:
                    await driver.close_all()
                    await _compare(m, reference, folder / "two")
            # A sync that only just came may be that of one file, with promises beside it that no state of the reference is without.
            if ends is not None and ends.verb == CUT and history.exact:
                disk.cut()
                states = history.die()
                async with bare_mount(store, folder / "one", ttl=ttl) as m:
                    history.take(await _patiently(lambda: shown(m)), states)


async def _live(m: BareMount, driver: Driver, history: History, waiting: list[Step]) -> Step | None:
    """What one daemon does; the step that ends it."""
    while waiting:
        step = waiting.pop(0)
        history.note(begins=True)
        if step.verb == SYNC or (step.verb == CUT and (step.one % 2 or not history.exact)):
            await _patiently(m.mount.durability.now)
        if step.verb in (CUT, REMOUNT):
            return step
        if step.verb != SYNC:
            await driver.do(step)
    return None


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """The store may fail."""
    for _ in range(TRIES):
        with suppress(FUSEError, StoreMountError):
            return await ask()
        await trio.lowlevel.checkpoint()
    return await ask()


@pytest.mark.parametrize("make", [_prompt, _slow, _late, _broken, _local])
@settings(max_examples=30, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
@given(steps=STEPS)
def test_S7_after_a_power_cut_the_mount_is_what_it_was_when_the_journal_was_synced(
    make: Callable[[Path], ArtifactStore], steps: Sequence[Step]
) -> None:
    with TemporaryDirectory() as folder:
        try:
            trio.run(lambda: _run(make(Path(folder)), Path(folder), steps, ttl=10.0), clock=MockClock(autojump_threshold=0))
        finally:
            close_descriptors(Path(folder))
