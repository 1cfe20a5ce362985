"""Whether a store keeps a write's condition (S9), found out by writers that race.

What it is: some writers at once, each on the condition that it is the first; the store makes one the winner, or it knows no conditions.
What it is not: a proof: a server that has no conditions and is slow to take turns may look like one that has.
Invariants: only the probes' own keys are written. A store that does not claim to have conditions is not asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from storemount.config import KIB
from storemount.doctor.access import Probes
from storemount.doctor.finding import Report, ok, warn
from storemount.errors import AlreadyExists, Changed, StoreMountError
from storemount.stores.base import Artifact, ArtifactStore

WRITERS = 8

Write = Callable[[int], Awaitable[Artifact]]
"""Of the writer of this number."""

LOOKS = "storemount looks just before it writes, and a change by others in that moment goes unseen (S9)"
APART = "let one machine write a file at a time, or use a store that has conditional writes"


async def races(store: ArtifactStore, probes: Probes, report: Report) -> None:
    """Both conditions that a write can have. Raises what the store raises beside a lost race."""
    if not store.traits.conditional:
        report(warn("conditional writes", f"this kind of store has none: {LOOKS}", APART))
        return
    key = probes.other(0)

    async def create(number: int) -> Artifact:
        return await store.write(key, probes.source(KIB + number), absent=True)

    async def replace(number: int) -> Artifact:
        return await store.write(key, probes.source(2 * KIB + number), over=base)

    created = await _winners(create)
    base = await store.describe(key)
    replaced = await _winners(replace)
    if len(created) == len(replaced) == 1:
        report(ok("conditional writes", f"of {WRITERS} that raced, the store let one win"))
    else:
        said = f"of {WRITERS} that raced, the store let {len(created)} be the first and {len(replaced)} be the next: {LOOKS}"
        report(warn("conditional writes", said, APART))


async def _winners(write: Write) -> list[Artifact]:
    won: list[Artifact] = []
    troubles: list[StoreMountError] = []

    async def one(number: int) -> None:
        try:
            won.append(await write(number))
        except (AlreadyExists, Changed):
            pass  # That is what the condition is for.
        except StoreMountError as error:
            troubles.append(error)

    async with trio.open_nursery() as nursery:
        for number in range(WRITERS):
            nursery.start_soon(one, number)
    for trouble in troubles:
        raise trouble
    return won
