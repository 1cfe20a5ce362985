"""The order of changes: which has to wait for which, as `order` states it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from storemount.errors import Denied
from storemount.writeback.change import REMOVALS, Change, Kind, State
from tests.unit.rows import Rows


async def test_changes_of_one_key_go_one_after_the_other() -> None:
    rows = Rows()
    first, second, other = rows.add(Kind.DELETE, "a"), rows.add(Kind.PUT, "a"), rows.add(Kind.PUT, "b")
    assert rows.ready() == {first, other}
    rows.journal.finish([first])
    assert rows.ready() == {second}


@pytest.mark.parametrize(
    ("earlier", "later", "waits"),
    [
        ((Kind.MKDIR, "d"), (Kind.PUT, "d/f"), True),
        ((Kind.MKDIR, "d"), (Kind.MKDIR, "d/e"), True),
        ((Kind.RMDIR, "d"), (Kind.MKDIR, "d"), True),
        ((Kind.PUT, "d/f"), (Kind.MKDIR, "d"), False),
        ((Kind.PUT, "d/f"), (Kind.ANNOTATE, "d"), False),
        ((Kind.MKDIR, "d"), (Kind.ANNOTATE, "d"), True),
        ((Kind.PUT, "d/f"), (Kind.RMDIR, "d"), True),
        ((Kind.PUT, "d/e/f"), (Kind.MOVE, "d", "x"), True),
        ((Kind.MOVE, "d", "x"), (Kind.PUT, "d/e/f"), True),
        ((Kind.MOVE, "d", "x"), (Kind.PUT, "x/f"), True),
        ((Kind.PUT, "x/f"), (Kind.MOVE, "d", "x"), True),
        ((Kind.MOVE, "d", "x"), (Kind.MOVE, "x", "y"), True),
        ((Kind.MOVE, "d", "x"), (Kind.PUT, "dd/f"), False),
        ((Kind.PUT, "a/f"), (Kind.PUT, "b/f"), False),
        ((Kind.DELETE, "a/f"), (Kind.DELETE, "a/g"), False),
    ],
)
async def test_a_change_waits_for_the_key_what_encloses_it_and_what_is_below(
    earlier: tuple[Kind, str], later: tuple[Kind, str], waits: bool
) -> None:
    rows = Rows()
    first, second = rows.add(*earlier), rows.add(*later)
    assert rows.ready() == ({first} if waits else {first, second})


PATHS = st.sampled_from(["a", "b", "a/b", "a/c", "a/b/c", "b/a"])
ROWS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([Kind.PUT, Kind.DELETE, Kind.MKDIR, Kind.RMDIR]), PATHS),
        st.tuples(st.just(Kind.MOVE), PATHS, PATHS),
    ),
    max_size=12,
)


def _touches(key: str, other: str) -> bool:
    return key == other or key.startswith(other + "/") or other.startswith(key + "/")


def _must_wait(later: Change, earlier: Change) -> bool:
    """The rule, in one sentence, without any index."""
    for key in later.keys:
        for other in earlier.keys:
            below = other.startswith(key + "/")
            if _touches(key, other) and not (below and later.kind is Kind.MKDIR):
                return True
    return False


@given(rows=ROWS, pick=st.integers(0, 11))
async def test_whatever_finishes_first_no_row_starts_before_those_it_must_wait_for(rows: Sequence[tuple[Kind, str]], pick: int) -> None:
    made = Rows()
    changes = [made.add(*row) for row in rows]
    running: set[Change] = set()
    while True:
        started = made.ready()
        for change in started:
            unfinished = [other for other in changes if other.id < change.id and not other.finished]
            assert not [other for other in unfinished if _must_wait(change, other)]
        running |= started
        if not running:
            break
        done = sorted(running, key=lambda change: change.id)[pick % len(running)]
        running.remove(done)
        made.journal.finish([done])
    assert all(change.state is State.DONE for change in changes)
    assert not len(made.journal)


async def test_S10_after_a_rekey_a_row_comes_after_what_is_at_its_new_key_and_before_nothing_older() -> None:
    rows = Rows()
    put, made = rows.add(Kind.PUT, "d/f"), rows.add(Kind.MKDIR, "e")
    rows.journal.rekey(put, "e/f")
    outer = rows.add(Kind.MOVE, "e", "x")
    assert rows.journal.under("d") == []
    assert rows.ready() == {made}
    rows.journal.finish([made])
    assert rows.ready() == {put}
    rows.journal.finish([put])
    assert rows.ready() == {outer}


async def test_S10_rows_that_waited_for_a_key_go_on_when_the_row_leaves_it() -> None:
    rows = Rows()
    put, removed = rows.add(Kind.PUT, "d/f"), rows.add(Kind.RMDIR, "d")
    rows.journal.rekey(put, "e/f")
    assert rows.ready() == {put, removed}


async def test_S16_what_depends_on_a_refused_row_waits_and_all_else_goes_on() -> None:
    rows = Rows()
    refused, below, other = rows.add(Kind.MKDIR, "d"), rows.add(Kind.PUT, "d/f"), rows.add(Kind.PUT, "g")
    rows.journal.start(refused)
    rows.journal.refuse(refused, Denied("no"))
    assert rows.ready() == {other}
    assert below.first is refused
    rows.journal.retry(refused)
    assert rows.ready() == {refused}
    rows.journal.finish([refused])
    assert rows.ready() == {below}


async def test_only_the_kinds_that_are_asked_for_are_given_and_nothing_is_passed_over() -> None:
    rows = Rows()
    first, move, last = rows.add(Kind.DELETE, "a"), rows.add(Kind.MOVE, "b", "c"), rows.add(Kind.RMDIR, "d")
    given: list[Change | float] = []
    for _ in range(2):
        given.append(change := rows.journal.next(puts=False, only=REMOVALS))
        if isinstance(change, Change):
            rows.journal.start(change)
    assert given == [first, float("inf")]
    assert rows.ready() == {move, last}


async def test_a_row_is_given_once_however_often_it_was_queued(clock: MockClock) -> None:
    rows = Rows()
    row = rows.journal.add(Kind.DELETE, rows.node("f"), "f", delay=10)
    rows.journal.hurry(row)
    assert rows.ready() == {row}
    rows.journal.finish([row])
    await trio.sleep(20)
    assert rows.ready() == set()
    assert row.state is State.DONE
