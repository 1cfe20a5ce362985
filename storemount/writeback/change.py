"""Changes: the rows of the journal.

What it is: what one change of the store is about, and how far it is.
What it is not: the order of the changes (`order`), or what is done with them (`journal`).
Invariant: only `journal` and `order` move a change from one state to another.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import trio

from storemount.errors import Unreachable
from storemount.names.nodes import Node
from storemount.stores.base import Artifact
from storemount.writeback.staging import Layer, StagedFile


class Kind(enum.Enum):
    PUT = "put"
    DELETE = "delete"
    MOVE = "move"
    MKDIR = "mkdir"
    RMDIR = "rmdir"
    ANNOTATE = "annotate"


REMOVALS = (Kind.DELETE, Kind.RMDIR)


class State(enum.Enum):
    """REFUSED: the store will not have it; it stays, for somebody to try it again, and what depends on it waits (S16)."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    CANCELLED = "cancelled"


class Applied(enum.Enum):
    """What came of an attempt that did not fail. AGAIN: the row has changed, and is to be tried as it is now."""

    DONE = "done"
    AGAIN = "again"


@dataclass(slots=True, eq=False)
class Change:
    """A row. `key` and `to` are directory keys without the trailing slash where the change is about a directory.

    due: when it may start (trio time). artifact: what a delete or a move takes away. hides: the directory and the name under which the
    store still has what this change takes away. displaced: nodes that lose their object by it. staged: what a put has promised,
    held; layers: how that was when it was promised. safe: the promise before it, and its layers, until this one survives a power cut.
    earlier: older puts of the same file that this one has taken the place of; the store may have got them all the same.
    shelved: rows that this put has made needless, once it survives a power cut; until: the put that a shelved row is kept for.
    exclusive: nothing may have this key yet. moved: the bytes of a directory are under their new keys; clearing: old keys to be deleted,
    as far as that is known. doubtful: the store may have it
    already, though nobody said so (a daemon died over it). synced: the promised bytes survive a power cut. written: the ledger's count when
    the row was written down last. turn: set at the end of every
    attempt. after, before: what it waits for, and what waits for it.
    """

    id: int
    kind: Kind
    key: str
    node: Node
    due: float
    to: str | None = None
    artifact: Artifact | None = None
    hides: tuple[Node, str] | None = None
    displaced: list[Node] = field(default_factory=list)
    state: State = State.WAITING
    tries: int = 0
    error: Exception | None = None
    staged: StagedFile | None = None
    layers: tuple[Layer, ...] = ()
    safe: tuple[StagedFile, tuple[Layer, ...]] | None = None
    earlier: list[Change] = field(default_factory=list)
    shelved: list[Change] = field(default_factory=list)
    until: Change | None = None
    exclusive: bool = False
    moved: bool = False
    clearing: list[str] = field(default_factory=list)
    doubtful: bool = False
    synced: bool = False
    written: int = 0
    turn: trio.Event = field(default_factory=trio.Event)
    born: float = field(default_factory=trio.current_time)
    after: set[Change] = field(default_factory=set)
    before: set[Change] = field(default_factory=set)

    @property
    def keys(self) -> tuple[str, ...]:
        """What it touches. A symbolic link's key says more than its name, which it shares with a file that was there before, or comes
        after it: it touches both."""
        keys = (self.key,) if self.to is None else (self.key, self.to)
        suffix = self.node.suffix
        return (*keys, *(key.removesuffix(suffix) for key in keys)) if suffix else keys

    @property
    def made_of(self) -> tuple[Layer, ...]:
        """What the promised content is made up of; below that, where the store may have an older state, all that ours may have been."""
        assert self.staged is not None
        needed = self.staged.layers
        older = [file for file in self.staged.chain[len(needed) :] if not file.taken] if self.doubtful else []
        return tuple(file.layer for file in (*needed, *older))

    @property
    def finished(self) -> bool:
        return self.state in (State.DONE, State.CANCELLED)

    @property
    def size(self) -> int:
        """Bytes that a put has promised; its staged file may have more by now, which are not."""
        return self.layers[0].size if self.layers else 0

    @property
    def to_go(self) -> int:
        """Bytes of its file that are not under way to the store yet."""
        if self.staged is None:
            return 0
        return max(self.staged.size - (self.staged.sent if self.state is State.RUNNING else 0), 0)

    @property
    def uncertain(self) -> bool:
        """Whether the store may have it already: an attempt failed without saying how far it came."""
        return self.doubtful or self.tries > 0 or self.state is State.RUNNING

    @property
    def may_be_done(self) -> bool:
        """Whether the store may have done it already, so that what is there now may be somebody else's: a daemon has died over it, or an
        attempt has failed after it was sent."""
        return self.doubtful or (self.tries > 0 and not isinstance(self.error, Unreachable))

    @property
    def first(self) -> Change:
        """What has to end before this can: itself, or the oldest of those that it waits for."""
        change = self
        while change.after:
            change = min(change.after, key=lambda earlier: earlier.id)
        return change

    @property
    def why_stuck(self) -> Exception | None:
        """The last failure of this change, or of the one that it waits for."""
        return self.first.error if self.error is None else self.error
