"""Lines of the README's troubleshooting table that only a fault of storemount, or somebody in its folders, brings about (S16)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from storemount.errors import Unreachable
from storemount.running.arrival import Arrival
from storemount.running.notify import Notifier
from storemount.stores.flavors import StoreSpec
from storemount.writeback.recovery import Recovery
from tests.support.bare import bare_mount, fails, put_object, shown, staged_files
from tests.support.faulty import FaultyStore
from tests.support.readme import told

EIO = 5


async def test_a_failure_without_a_name_is_an_error_and_has_its_traceback_in_the_log(
    clock: MockClock, store: FaultyStore, staging: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await put_object(store, "f", b"1", staging)
    async with bare_mount(store, staging) as m:
        store.fail("stat", ValueError("a bug"), times=1)
        with fails(EIO):
            await m.exists("f")
        assert await m.exists("f")
    (record,) = caplog.records
    assert told("failed in a way nobody named", record.message) and record.exc_info


async def test_S7_a_staged_file_that_somebody_has_removed_is_named_by_the_next_mount(
    clock: MockClock, store: FaultyStore, staging: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bare_mount(store, staging) as m:
        store.hold("write", times=1000)
        await m.put("lost", b"1")
        await m.put("kept", b"2")
    store.heal()
    os.unlink(staging / min(staged_files(staging)))
    async with bare_mount(store, staging) as m:
        assert await shown(m) == {"kept": b"2"}
        await m.settle()
    (record,) = caplog.records
    assert told("any more, and the store never got it", record.message) and "'lost'" in record.message


class Unsure:
    """A journal that cannot be read without the store, which is asked so often until it answers."""

    def __init__(self, store: FaultyStore) -> None:
        self._store = store

    async def confirm(self) -> None:
        await self._store.check()


async def test_S7_a_journal_that_needs_the_stores_answer_waits_for_it(
    clock: MockClock, store: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    arrival = Arrival(store, StoreSpec("s", "memory", "memory://", {}), Notifier(), may_wait=True)
    store.fail("check", Unreachable("nobody is there"), times=2)
    began = trio.current_time()
    await arrival.confirmed(cast(Recovery, Unsure(store)))
    assert trio.current_time() - began == 3.0
    assert told("before it can be mounted", caplog.text) and len(caplog.records) == 2
