"""Condition: what must be true of a key for a write to happen (S9).

What it is: the two conditions of `ArtifactStore.write` as one value, and the comparison with what a store holds.
What it is not: a guarantee; how close the comparison is to the write is each store's own matter.
Invariants: at most one of the two is given. What fails it is `Changed` for `over` and `AlreadyExists` for `absent`, in every store.
"""

from __future__ import annotations

from dataclasses import dataclass

from storemount.errors import AlreadyExists, Changed
from storemount.stores.base import Artifact


@dataclass(frozen=True, slots=True)
class Condition:
    """`over`: the key holds exactly this version. `absent`: nothing has the key."""

    over: Artifact | None = None
    absent: bool = False

    def __post_init__(self) -> None:
        if self.absent and self.over is not None:
            raise ValueError("a write is over a version, or where nothing is")

    @property
    def given(self) -> bool:
        return self.absent or self.over is not None

    def check(self, key: str, held: Artifact | None) -> None:
        """Raises what `write` promises when `held` (None: nothing) is what the store has under `key`, and should not be."""
        if self.absent and held is not None:
            raise AlreadyExists(key)
        if self.over is not None and (held is None or held.version != self.over.version):
            raise Changed(key)


ALWAYS = Condition()
"""The last writer wins."""
