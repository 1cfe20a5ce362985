"""FaultyStore: any artifact store, with a log of its requests and failures on order.

What it is: a wrapper of the same protocol; a test says which request shall be slow, fail, hang or lose its reply.
What it is not: random; every fault is asked for, and `random_delays` takes its dice from the caller.
Invariants: one entry in `requests` for each request, written when it is made (a listing: one for each page). A fault that was given
a number of times is used up by so many requests.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Self

import trio

from storemount.stores.base import Artifact, ArtifactStore, Capacity, Child, Meta, Source
from storemount.stores.conditions import Condition
from storemount.stores.memory import MemoryStore


class PromptMemoryStore(MemoryStore):
    """A memory store that uses no thread, so that nothing but the clock decides what comes first."""

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        await trio.lowlevel.checkpoint()
        return self._put(key, _content(source), Condition(over, absent), source.meta)


@dataclass(frozen=True, slots=True)
class Request:
    """A verb of the protocol and the key it was about. `start`, `stop`: the bytes that a read asked for."""

    verb: str
    key: str
    start: int = 0
    stop: int = 0


@dataclass(slots=True)
class Gate:
    """Holds requests until the test opens it. `reached` is set when the first one is there."""

    reached: trio.Event = field(default_factory=trio.Event)
    opened: trio.Event = field(default_factory=trio.Event)

    async def wait_reached(self) -> None:
        await self.reached.wait()

    async def pass_through(self) -> None:
        self.reached.set()
        await self.opened.wait()

    def open(self) -> None:
        self.opened.set()


@dataclass(slots=True)
class Fault:
    """What happens to requests of `verb` (for `key` only, when given): `seconds` of delay, a gate, an error in place of the answer.

    applied: the store does what was asked, and then comes the gate or the error (a late or lost reply).
    left: how many more requests it meets, out of those for which `dice` says yes.
    """

    verb: str
    key: str | None = None
    left: float = float("inf")
    seconds: float = 0.0
    gate: Gate | None = None
    error: Exception | None = None
    applied: bool = False
    dice: Callable[[], bool] = lambda: True

    def meets(self, request: Request) -> bool:
        return self.left > 0 and self.verb == request.verb and self.key in (None, request.key) and self.dice()


class FaultyStore:
    """`store` with faults; `inner` is the store itself. `delay()` gives the seconds that each request waits before it is sent."""

    def __init__(self, store: ArtifactStore, delay: Callable[[], float] | None = None) -> None:
        self.inner = store
        self._delay = delay
        self._faults: list[Fault] = []
        self.traits = store.traits
        self.uri = store.uri
        self.requests: list[Request] = []

    @classmethod
    def random_delays(cls, store: ArtifactStore, dice: random.Random, longest: float) -> Self:
        """Every request takes up to `longest` seconds."""
        return cls(store, lambda: dice.uniform(0, longest))

    # what a test orders

    def fail(self, verb: str, error: Exception, *, key: str | None = None, times: float = 1) -> None:
        """The next `times` requests fail, and nothing is done in the store."""
        self._faults.append(Fault(verb, key, times, error=error))

    def fail_sometimes(self, verb: str, error: Exception, dice: Callable[[], bool]) -> None:
        """Requests fail when `dice` says so."""
        self._faults.append(Fault(verb, error=error, dice=dice))

    def lose_reply(self, verb: str, error: Exception, *, key: str | None = None, times: float = 1) -> None:
        """The next `times` requests are done in the store, and the caller is told that they failed."""
        self._faults.append(Fault(verb, key, times, error=error, applied=True))

    def slow(self, verb: str, seconds: float, *, key: str | None = None, times: float = float("inf")) -> None:
        self._faults.append(Fault(verb, key, times, seconds=seconds))

    def hold(self, verb: str, *, key: str | None = None, times: float = 1) -> Gate:
        """The next `times` requests wait for the gate before they are done."""
        return self._gate(Fault(verb, key, times))

    def hold_reply(self, verb: str, *, key: str | None = None, times: float = 1) -> Gate:
        """The next `times` requests are done in the store, and their answers wait for the gate."""
        return self._gate(Fault(verb, key, times, applied=True))

    def _gate(self, fault: Fault) -> Gate:
        fault.gate = Gate()
        self._faults.append(fault)
        return fault.gate

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()

    # what a test counts

    def count(self) -> Counter[str]:
        """How many requests of each verb, since the last `forget`."""
        return Counter(request.verb for request in self.requests)

    def forget(self) -> None:
        self.requests.clear()

    # the protocol

    async def _before(self, request: Request) -> Fault | None:
        """Log it, wait and fail as ordered; the fault when its error comes after the deed."""
        self.requests.append(request)
        fault = next((fault for fault in self._faults if fault.meets(request)), None)
        await trio.sleep(self._delay() if self._delay is not None else 0)
        if fault is None:
            return None
        fault.left -= 1
        await trio.sleep(fault.seconds)
        if fault.gate is not None and not fault.applied:
            await fault.gate.pass_through()
        if fault.error is not None and not fault.applied:
            raise fault.error
        return fault

    async def check(self) -> None:
        await _after(await self._before(Request("check", "")))
        await self.inner.check()

    async def stat(self, key: str) -> Child:
        fault = await self._before(Request("stat", key))
        child = await self.inner.stat(key)
        await _after(fault)
        return child

    async def describe(self, key: str) -> Artifact:
        fault = await self._before(Request("describe", key))
        artifact = await self.inner.describe(key)
        await _after(fault)
        return artifact

    async def list(self, prefix: str, *, recursive: bool = False) -> AsyncGenerator[Sequence[Child], None]:
        fault = await self._before(Request("list", prefix))
        async with aclosing(self.inner.list(prefix, recursive=recursive)) as pages:
            async for page in pages:
                await _after(fault)
                yield page
                fault = await self._before(Request("list", prefix)) if len(page) >= 1000 else None

    async def read(self, artifact: Artifact, start: int, stop: int) -> bytes | bytearray | memoryview:
        fault = await self._before(Request("read", artifact.key, start, stop))
        data = await self.inner.read(artifact, start, stop)
        await _after(fault)
        return data

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        fault = await self._before(Request("write", key, 0, source.size))
        artifact = await self.inner.write(key, source, over=over, absent=absent)
        await _after(fault)
        return artifact

    async def sweep(self, key: str) -> None:
        fault = await self._before(Request("sweep", key))
        await self.inner.sweep(key)
        await _after(fault)

    async def annotate(self, artifact: Artifact, meta: Meta) -> Artifact:
        fault = await self._before(Request("annotate", artifact.key))
        annotated = await self.inner.annotate(artifact, meta)
        await _after(fault)
        return annotated

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        fault = await self._before(Request("copy", key))
        copied = await self.inner.copy(artifact, key)
        await _after(fault)
        return copied

    async def rename(self, key: str, to: str) -> None:
        fault = await self._before(Request("rename", key))
        await self.inner.rename(key, to)
        await _after(fault)

    async def delete(self, keys: Sequence[str]) -> None:
        fault = await self._before(Request("delete", keys[0] if len(keys) == 1 else f"{len(keys)} keys"))
        await self.inner.delete(keys)
        await _after(fault)

    def open_local(self, artifact: Artifact) -> int:
        return self.inner.open_local(artifact)

    async def sync(self, key: str) -> None:
        fault = await self._before(Request("sync", key))
        await self.inner.sync(key)
        await _after(fault)

    async def capacity(self) -> Capacity | None:
        fault = await self._before(Request("capacity", ""))
        room = await self.inner.capacity()
        await _after(fault)
        return room

    async def aclose(self) -> None:
        await self.inner.aclose()


def _content(source: Source) -> bytes:
    with open(source.path, "rb") as file:
        return file.read(source.size)


async def _after(fault: Fault | None) -> None:
    """The reply is late or lost, where that was ordered."""
    if fault is not None and fault.gate is not None:
        await fault.gate.pass_through()
    if fault is not None and fault.error is not None:
        raise fault.error
