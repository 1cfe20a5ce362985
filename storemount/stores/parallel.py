"""Several requests at once, with failures as plain exceptions.

What it is: the two shapes of concurrency that the engines need.
What it is not: a task queue; nothing outlives the call.
Invariants: whoever fails first is what the caller sees, never a group; when a call here ends, all that it started has ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import trio
from outcome import Error, Outcome, Value

from storemount.stores.base import Artifact, Child

T = TypeVar("T")


async def for_each(items: Iterable[T], limit: int, call: Callable[[T], Awaitable[object]]) -> None:
    """`call` for every item, at most `limit` at a time. The first failure cancels the others and is raised."""
    failures: list[Exception] = []
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            try:
                await call(item)
            except Exception as error:
                failures.append(error)
                nursery.cancel_scope.cancel()
                return

    async with trio.open_nursery() as nursery:
        for _ in range(limit):
            nursery.start_soon(work)
    if failures:
        raise failures[0]


async def resolve(key: str, head: Callable[[str], Awaitable[Artifact | None]], probe: Callable[[str], Awaitable[bool]]) -> Child:
    """What has this key in a flat store, in one round trip: a directory when `probe` finds anything below it, or `head` an object that
    stands for a directory (None); else the file.

    A failure of the probe counts first: it comes from a listing, which says more than a HEAD can (a missing bucket, an expired token)."""
    found: list[Outcome[Artifact | None]] = []

    async def look() -> None:
        try:
            found.append(Value(await head(key)))
        except Exception as error:
            found.append(Error(error))

    below: Outcome[bool]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        try:
            below = Value(await probe(key))
        except Exception as error:
            below = Error(error)
        if isinstance(below, Error) or below.value:
            nursery.cancel_scope.cancel()
    name = key.rpartition("/")[2]
    return Child(name, None) if below.unwrap() else Child(name, found[0].unwrap())
