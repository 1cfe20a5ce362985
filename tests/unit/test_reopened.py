"""A store whose credentials end is opened again before they do (S14)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime

import pytest
import trio
from trio.testing import MockClock

from storemount.errors import ExitCode, NotFound, Refusal, TimedOut
from storemount.stores.base import EMPTY
from storemount.stores.deadline import Deadlined
from storemount.stores.reopened import AGAIN, AHEAD, Lease, Reopened
from tests.support.faulty import FaultyStore, PromptMemoryStore
from tests.support.readme import told

HOUR = 3600.0


def moment(seconds: float) -> datetime:
    """On the wall clock of these tests, which is trio's."""
    return datetime.fromtimestamp(seconds, UTC)


class Closing(FaultyStore):
    """Says whether it was closed."""

    closed = False

    async def aclose(self) -> None:
        self.closed = True
        await super().aclose()


class Issuer:
    """Gives stores whose credentials last for so long, and keeps them."""

    def __init__(self, *lifetimes: float | None) -> None:
        self._lifetimes = list(lifetimes)
        self.given: list[Closing] = []
        self.times: list[float] = []
        self.refusing = False

    def lease(self) -> Lease:
        lifetime = self._lifetimes.pop(0)
        self.given.append(Closing(PromptMemoryStore()))
        return Lease(self.given[-1], None if lifetime is None else moment(trio.current_time() + lifetime))

    async def renew(self) -> Lease:
        self.times.append(trio.current_time())
        if self.refusing:
            raise Refusal(ExitCode.STORE_UNREACHABLE, "nobody is there")
        return self.lease()

    def open(self) -> Reopened:
        return Reopened(self.lease(), self.renew, now=trio.current_time)


@pytest.fixture
async def running(nursery: trio.Nursery) -> AsyncIterator[Callable[[Issuer], Reopened]]:
    def start(issuer: Issuer) -> Reopened:
        reopened = issuer.open()
        nursery.start_soon(reopened.run)
        return reopened

    yield start


async def _stat(store: Reopened) -> None:
    with pytest.raises(NotFound):
        await store.stat("absent")


async def _list(store: Reopened) -> None:
    async with aclosing(store.list("")) as pages:
        async for _ in pages:
            pass


CALLS: dict[str, Callable[[Reopened], Awaitable[object]]] = {
    "check": lambda store: store.check(),
    "stat": _stat,
    "list": _list,
    "write": lambda store: store.write("f", EMPTY),
    "sweep": lambda store: store.sweep("f"),
    "delete": lambda store: store.delete(["f"]),
    "capacity": lambda store: store.capacity(),
}


@pytest.mark.parametrize("verb", CALLS)
async def test_S14_every_verb_goes_to_the_store_with_the_latest_credentials(
    clock: MockClock, running: Callable[[Issuer], Reopened], verb: str
) -> None:
    issuer = Issuer(HOUR, None)
    store = running(issuer)
    await CALLS[verb](store)
    await trio.sleep(HOUR)
    await CALLS[verb](store)
    assert [each.count()[verb] for each in issuer.given] == [1, 1]


async def test_S14_new_credentials_are_asked_for_in_time_and_once(clock: MockClock, running: Callable[[Issuer], Reopened]) -> None:
    started = trio.current_time()
    issuer = Issuer(HOUR, HOUR, None)
    running(issuer)
    await trio.sleep(10 * HOUR)
    assert [round(time - started) for time in issuer.times] == [HOUR - AHEAD, 2 * (HOUR - AHEAD)]


async def test_S14_credentials_that_last_less_than_that_are_renewed_at_half_time(
    clock: MockClock, running: Callable[[Issuer], Reopened]
) -> None:
    started = trio.current_time()
    issuer = Issuer(60, 60, 60, None)
    running(issuer)
    await trio.sleep(HOUR)
    assert [round(time - started) for time in issuer.times] == [0, 30, 60]


async def test_S4_a_verb_ends_on_the_store_that_it_began_with_which_is_closed_then(
    clock: MockClock, running: Callable[[Issuer], Reopened], nursery: trio.Nursery
) -> None:
    issuer = Issuer(HOUR, None)
    store = running(issuer)
    gate = issuer.given[0].hold("write")
    nursery.start_soon(store.write, "f", EMPTY)
    await gate.wait_reached()
    await trio.sleep(HOUR)
    assert len(issuer.given) == 2
    assert not issuer.given[0].closed
    gate.open()
    await trio.sleep(1)
    assert issuer.given[0].closed
    assert not issuer.given[1].closed


async def test_S14_until_there_are_new_ones_it_asks_again_and_verbs_wait(
    clock: MockClock, running: Callable[[Issuer], Reopened], caplog: pytest.LogCaptureFixture
) -> None:
    started = trio.current_time()
    issuer = Issuer(HOUR, None)
    issuer.refusing = True
    store = running(issuer)
    await trio.sleep(HOUR - 1)
    await store.check()
    assert [round(time - started) for time in issuer.times[:3]] == [HOUR - AHEAD + AGAIN * number for number in range(3)]
    assert told("no new credentials, trying again", caplog.text) and "nobody is there" in caplog.text
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    await trio.sleep(2)
    with pytest.raises(TimedOut):
        await Deadlined(store, 20).check()
    issuer.refusing = False
    await Deadlined(store, AGAIN + 20).check()
    assert [each.count()["check"] for each in issuer.given] == [1, 1]
