"""Records: a change of the journal as a row of the ledger, and back.

What it is: the form in which everything that a change needs is kept (JSON), so that another daemon can go on with it.
What it is not: the database (`ledger`), or the tree that the rows are read back into (`recovery`).
Invariant: what `told` reads is what `_detail` wrote; a field that is missing has the value it had before it was thought of.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from storemount.names.nodes import Attributes
from storemount.stores.base import Artifact
from storemount.stores.metadata import meta_in, meta_out, xattrs_in, xattrs_out
from storemount.writeback.change import Change, Kind, State
from storemount.writeback.ledger import Ledger, Row
from storemount.writeback.staging import Layer, StagedFile


class Record:
    """The journal's book, in `ledger`. `lazy`: what a put has left in the store does not survive a power cut by itself; its row is kept
    until `forget`, marked as done, which says enough to a daemon that follows one that died.

    A power cut that brings a row back must not find what was done after it: so what waited for a row is behind until that row has gone for
    good. Of several changes of one place at most one is ever done twice."""

    def __init__(self, ledger: Ledger, *, lazy: bool) -> None:
        self._ledger = ledger
        self._lazy = lazy
        self._done: dict[int, _Done] = {}
        self._awaiting: Counter[Change] = Counter()

    @property
    def written(self) -> int:
        return self._ledger.written

    @property
    def safe(self) -> int:
        return self._ledger.safe

    def behind(self, change: Change) -> bool:
        """Whether a power cut could make us forget this row, or bring back one that it waited for."""
        return self._ledger.safe < change.written or change in self._awaiting

    def write(self, change: Change) -> None:
        self._ledger.write(Row(change.id, change.kind.value, change.key, _detail(change), change.synced))
        change.written = self._ledger.written

    def erase(self, change: Change) -> None:
        if self._lazy and change.kind is Kind.PUT and change.state is State.DONE:
            staged = change.staged
            # The store has mostly taken the file itself; a copy's origin is all there is after a power cut.
            held = staged.hold() if staged is not None and os.path.exists(staged.path) else None
            self._done[change.id] = _Done(held, tuple(change.before))
            self._awaiting.update(change.before)
            self.write(change)
        else:
            self._ledger.erase(change.id)
            for later in change.before:
                later.written = self._ledger.written

    def commit(self) -> bool:
        return self._ledger.commit()

    @property
    def done(self) -> list[int]:
        """The rows that are done, and kept until their objects are safe."""
        return list(self._done)

    def forget(self, numbers: Iterable[int]) -> list[StagedFile]:
        """The objects of these rows survive a power cut. The files that nobody needs once this does, too."""
        files = []
        for number in numbers:
            self._ledger.erase(number)
            done = self._done.pop(number)
            for later in done.before:
                later.written = self._ledger.written
                self._awaiting[later] -= 1
                if not self._awaiting[later]:
                    del self._awaiting[later]
            if done.staged is not None:
                files.append(done.staged)
        return files


@dataclass(frozen=True, slots=True)
class _Done:
    """A put that is done: its file, held, where the store has a copy of it; and the rows that waited for it."""

    staged: StagedFile | None
    before: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """What a row says beside its kind and key. `ino`: which node it was about; the same number in another row is the same node."""

    ino: int
    to: str | None
    artifact: Artifact | None
    hides: bool
    directory: bool
    unborn: bool
    symlink: bool
    suffix: str
    done: bool
    until: int | None
    refused: str | None
    exclusive: bool
    moved: bool
    base: Artifact | None
    covers: bool
    layers: tuple[Layer, ...]
    safe: tuple[Layer, ...]
    attributes: Attributes | None


def _detail(change: Change) -> dict[str, Any]:
    node = change.node
    detail: dict[str, Any] = {
        "ino": node.ino,
        "to": change.to,
        "artifact": _artifact_out(change.artifact),
        "hides": change.hides is not None,
        "directory": node.folder is not None,
        "unborn": node.folder is not None and node.folder.unborn,
        "symlink": node.target is not None,
        "suffix": node.suffix,
        "done": change.state is State.DONE,
        "until": change.until.id if change.until is not None else None,
        "refused": f"{change.error}" if change.state is State.REFUSED else None,
        "exclusive": change.exclusive,
        "moved": change.moved,
        "base": _artifact_out(node.artifact),
        "covers": node.covers,
        "layers": [asdict(layer) for layer in change.layers],
        "safe": [asdict(layer) for layer in change.safe[1]] if change.safe is not None else None,
        "attributes": _attributes_out(node.attributes),
    }
    return {name: value for name, value in detail.items() if value}


def told(row: Row) -> Told:
    """The rest of what the row says. Raises ValueError: it was not written by `Record`."""
    detail = row.detail
    try:
        return Told(
            ino=detail["ino"],
            to=detail.get("to"),
            artifact=_artifact_in(detail.get("artifact")),
            hides=detail.get("hides", False),
            directory=detail.get("directory", False),
            unborn=detail.get("unborn", False),
            symlink=detail.get("symlink", False),
            suffix=detail.get("suffix", ""),
            done=detail.get("done", False),
            until=detail.get("until"),
            refused=detail.get("refused"),
            exclusive=detail.get("exclusive", False),
            moved=detail.get("moved", False),
            base=_artifact_in(detail.get("base")),
            covers=detail.get("covers", False),
            layers=tuple(_layer_in(layer) for layer in detail.get("layers", ())),
            safe=tuple(_layer_in(layer) for layer in detail.get("safe", ())),
            attributes=_attributes_in(detail.get("attributes")),
        )
    except (TypeError, KeyError) as error:
        raise ValueError(f"row {row.id} of the journal cannot be read: {error}") from error


def _artifact_out(artifact: Artifact | None) -> dict[str, Any] | None:
    if artifact is None:
        return None
    return {
        "key": artifact.key,
        "version": artifact.version,
        "size": artifact.size,
        "mtime_ns": artifact.mtime_ns,
        "meta": meta_out(artifact.meta),
    }


def _artifact_in(told: dict[str, Any] | None) -> Artifact | None:
    return Artifact(**{**told, "meta": meta_in(told.get("meta"))}) if told else None


def _layer_in(told: dict[str, Any]) -> Layer:
    return Layer(**{**told, "extents": tuple((start, stop) for start, stop in told["extents"])})


def _attributes_out(own: Attributes | None) -> dict[str, Any] | None:
    if own is None:
        return None
    values = {field.name: getattr(own, field.name) for field in fields(own) if getattr(own, field.name) is not None}
    return {**values, "xattrs": xattrs_out(own.xattrs)} if own.xattrs is not None else values


def _attributes_in(told: dict[str, Any] | None) -> Attributes | None:
    return None if told is None else Attributes(**{**told, "xattrs": xattrs_in(told.get("xattrs"))})
