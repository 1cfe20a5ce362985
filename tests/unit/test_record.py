"""What is written down of a change, and read back by another daemon (S7): every field, for any names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from storemount.errors import Denied
from storemount.names.nodes import Attributes, Node
from storemount.names.tree import Tree
from storemount.stores.base import Artifact, Meta
from storemount.writeback.change import Change, Kind, State
from storemount.writeback.journal import Journal
from storemount.writeback.ledger import Ledger, Row
from storemount.writeback.record import Record, Told, told
from storemount.writeback.staging import Layer
from tests.unit.rows import Files, Rows

NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: not {0, ord("/")} & set(name)).map(os.fsdecode)
KEYS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
NUMBERS = st.integers(0, 2**62)
XATTRS = st.none() | st.dictionaries(st.binary(max_size=20), st.binary(max_size=20), max_size=3)
METAS = st.builds(
    Meta,
    mode=st.none() | st.integers(0, 0o177777),
    uid=st.none() | NUMBERS,
    gid=st.none() | NUMBERS,
    mtime_ns=st.none() | st.integers(-(2**62), 2**62),
    xattrs=XATTRS,
)
ARTIFACTS = st.builds(Artifact, KEYS, st.text(max_size=20), NUMBERS, st.integers(-(2**62), 2**62), st.none() | METAS)
ATTRIBUTES = st.builds(
    Attributes,
    mode=st.none() | st.integers(0, 0o7777),
    uid=st.none() | NUMBERS,
    gid=st.none() | NUMBERS,
    atime_ns=st.none() | NUMBERS,
    mtime_ns=st.none() | st.integers(-(2**62), 2**62),
    ctime_ns=st.none() | NUMBERS,
    xattrs=XATTRS,
)
LAYERS = st.lists(
    st.builds(Layer, NUMBERS, NUMBERS, NUMBERS, st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3).map(tuple), st.booleans()), max_size=3
).map(tuple)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """Any row: of a file, a directory or a symbolic link."""
    node = Node(draw(st.integers(1, 2**62)), None, "name", artifact=draw(st.none() | ARTIFACTS), covers=draw(st.booleans()))
    node.attributes = draw(st.none() | ATTRIBUTES)
    if draw(st.booleans()):
        node.folder = Tree(real_directories=False).root.folder
    elif draw(st.booleans()):
        node.target = b"target"
        node.suffix = draw(st.sampled_from(["", ".link"]))
    kind, key = draw(st.sampled_from(Kind)), draw(KEYS)
    change = Change(
        draw(st.integers(1, 2**62)), kind, key, node, 0.0, to=draw(st.none() | KEYS), artifact=draw(st.none() | ARTIFACTS), born=0.0
    )
    change.hides = (node, key) if draw(st.booleans()) else None
    change.moved = draw(st.booleans())
    change.exclusive, change.synced, change.layers = draw(st.booleans()), draw(st.booleans()), draw(LAYERS)
    if draw(st.booleans()):
        change.state, change.error = State.REFUSED, Denied(draw(st.text(min_size=1, max_size=20)))
    return change


def _expected(change: Change) -> Told:
    node = change.node
    return Told(
        ino=node.ino,
        to=change.to,
        artifact=change.artifact,
        hides=change.hides is not None,
        directory=node.folder is not None,
        unborn=node.folder is not None and node.folder.unborn,
        symlink=node.target is not None,
        suffix=node.suffix,
        done=False,
        until=None,
        refused=str(change.error) if change.state is State.REFUSED else None,
        exclusive=change.exclusive,
        moved=change.moved,
        base=node.artifact,
        covers=node.covers,
        layers=change.layers,
        safe=(),
        attributes=node.attributes if node.attributes != Attributes() else None,
    )


def _exact(artifact: Artifact | None) -> object:
    """With what artifacts are not compared by."""
    return artifact and (artifact, artifact.mtime_ns, artifact.meta)


@given(change=changes())
async def test_S7_every_field_of_a_row_comes_back(change: Change) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        ledger = Ledger(path, store="store", boot="boot")
        record = Record(ledger, lazy=False)
        record.write(change)
        assert record.commit()
        ledger.close()
        ledger = Ledger(path, store="store", boot="boot")
        (row,) = ledger.rows
        ledger.close()
    expected, found = _expected(change), told(row)
    assert (row.id, row.kind, row.key, row.synced) == (change.id, change.kind.value, change.key, change.synced)
    assert found == expected
    assert (_exact(found.artifact), _exact(found.base)) == (_exact(expected.artifact), _exact(expected.base))


@pytest.mark.parametrize(
    "detail", [{}, {"ino": 1, "layers": [{"number": 1}]}, {"ino": 1, "artifact": {"colour": "red"}}, {"ino": 1, "layers": 7}]
)
def test_S16_what_a_record_did_not_write_is_an_error_and_not_a_guess(detail: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="row 5 of the journal cannot be read"):
        told(Row(5, "put", "key", detail))


# what is done and not safe yet


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "journal.sqlite", store="store", boot="boot")
    yield ledger
    ledger.close()


def _kept(path: Path) -> list[tuple[str, bool]]:
    ledger = Ledger(path, store="store", boot="boot")
    try:
        return [(row.key, told(row).done) for row in ledger.rows]
    finally:
        ledger.close()


def _journal(record: Record, rows: Rows) -> Journal:
    rows.journal = Journal(lambda: None, record)
    return rows.journal


@pytest.mark.parametrize("taken", [False, True])
async def test_S7_a_put_into_a_store_that_is_not_durable_by_itself_is_kept_as_done_until_it_is(
    tmp_path: Path, ledger: Ledger, taken: bool
) -> None:
    """`taken`: the store has taken the staged file itself; else the file stays, for a power cut may leave nothing else."""
    staging = tmp_path / "staging"
    staging.mkdir()
    rows, record = Rows(), Record(ledger, lazy=True)
    journal = _journal(record, rows)
    put, made = Files(rows, staging).put("f"), rows.add(Kind.MKDIR, "d")
    journal.commit()
    assert put.staged is not None
    if taken:
        os.rename(put.staged.path, tmp_path / "object")
    for change in (put, made):
        journal.start(change)
    journal.finish([put, made])
    journal.commit()
    assert _kept(tmp_path / "journal.sqlite") == [("f", True)]
    assert record.done == [put.id]
    assert len(os.listdir(staging)) == (0 if taken else 1)
    journal.release(record.forget(record.done))
    journal.commit()
    assert _kept(tmp_path / "journal.sqlite") == []
    assert record.done == []
    assert len(os.listdir(staging)) == (0 if taken else 1), "a power cut may bring the row back"
    ledger.sync()
    journal.tidy()
    assert os.listdir(staging) == []


@pytest.mark.parametrize("lazy", [False, True])
async def test_S7_what_waited_for_a_row_is_behind_until_a_power_cut_cannot_bring_that_row_back(
    tmp_path: Path, ledger: Ledger, lazy: bool
) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    rows, record = Rows(), Record(ledger, lazy=lazy)
    journal = _journal(record, rows)
    put = Files(rows, staging).put("f")
    moved, other = rows.add(Kind.MOVE, "f", "g"), rows.add(Kind.MKDIR, "d")
    journal.commit()
    ledger.sync()
    journal.start(put)
    journal.finish([put])
    journal.commit()
    assert (record.behind(moved), record.behind(other)) == (True, False)
    if lazy:
        ledger.sync()
        assert record.behind(moved), "the object itself may not be on the disk yet"
        journal.release(record.forget(record.done))
        journal.commit()
    ledger.sync()
    assert not record.behind(moved)


async def test_a_put_that_was_taken_back_or_whose_store_is_durable_is_erased(tmp_path: Path, ledger: Ledger) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    for lazy, ending in ((True, State.CANCELLED), (False, State.DONE)):
        rows, record = Rows(), Record(ledger, lazy=lazy)
        journal = _journal(record, rows)
        put = Files(rows, staging).put("f")
        journal.commit()
        if ending is State.DONE:
            journal.start(put)
            journal.finish([put])
        else:
            journal.cancel(put)
        journal.commit()
        await trio.lowlevel.checkpoint()
        assert (_kept(tmp_path / "journal.sqlite"), record.done) == ([], [])
        ledger.sync()
        journal.tidy()
        assert os.listdir(staging) == []
