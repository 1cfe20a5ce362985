"""Leases: a store whose credentials end, and which its name gives others for (S14).

What it is: the opening of such a store, and of the same store with what its name means later.
What it is not: the replacing itself (`stores.reopened`), or the place that the credentials come from (`zenml`).
Invariant: a name that has come to mean another store is a Refusal, never a store with other files.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import trio

from storemount.errors import ExitCode, Refusal
from storemount.stores.base import ArtifactStore
from storemount.stores.flavors import StoreSpec
from storemount.stores.reopened import Lease, Reopened
from storemount.zenml.definition import Renewal, Resolved

log = logging.getLogger(__name__)

Open = Callable[[StoreSpec], ArtifactStore]


def leased(spec: StoreSpec, renewal: Renewal, opened: Open) -> Reopened:
    """The store of `spec`; whoever asks for it runs its `run`."""
    return Reopened(Lease(opened(spec), renewal.expires), partial(_renewed, spec, renewal.resolve, opened))


async def _renewed(before: StoreSpec, resolve: Callable[[], Resolved], opened: Open) -> Lease:
    """The same store with other credentials. Raises Refusal, also when its name has come to mean another one."""
    resolved = await trio.to_thread.run_sync(resolve, abandon_on_cancel=True)
    spec = resolved.spec
    if (spec.flavor, spec.path) != (before.flavor, before.path):
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"store {spec.name!r} is another one now, at {spec.path}; mount it again")
    lease = Lease(opened(spec), resolved.expires)
    log.info("new credentials for %s until %s", spec.path, resolved.expires)
    return lease
