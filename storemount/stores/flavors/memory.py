"""The flavor `memory`: nothing but memory.

What it is: its opening.
What it is not: the store (`stores.memory`).
"""

from __future__ import annotations

from storemount.stores.base import ArtifactStore
from storemount.stores.flavors.spec import MEMORY, Flavor, StoreSpec


def _check(spec: StoreSpec) -> str:
    return spec.path.strip()


def _open(spec: StoreSpec, engine: str, deadline: float) -> ArtifactStore:
    from storemount.stores.memory import MemoryStore

    return MemoryStore(spec.path)


FLAVOR = Flavor("memory", ("memory://",), (), (MEMORY,), "nothing but memory, for trying things out; gone with the mount", _check, _open)
