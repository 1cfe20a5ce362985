"""The journal's order, folding and waiting (S7, S10, S16), as its docstring states them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from storemount.errors import Denied, Unavailable
from storemount.tree import Node, Tree
from storemount.writeback.journal import Change, Journal, Kind, State


class Rows:
    """A journal without a worker, and a tree to hang its rows on."""

    def __init__(self) -> None:
        self.woken = 0
        self.journal = Journal(self._wake)
        self.tree = Tree(real_directories=False)

    def _wake(self) -> None:
        self.woken += 1

    def node(self, path: str) -> Node:
        node = self.tree.root
        for name in path.split("/"):
            assert node.folder is not None
            node = node.folder.children.get(name) or self.tree.add(node, name, directory=True)
        return node

    def add(self, kind: Kind, key: str, to: str | None = None) -> Change:
        return self.journal.add(kind, self.node(key), key, to=to, target=self.tree.root if to else None)

    def ready(self) -> set[Change]:
        """Everything that may start now; it is started."""
        found = set()
        for puts in (True, False):
            while isinstance(change := self.journal.next(puts=puts), Change):
                self.journal.start(change)
                found.add(change)
        return found


async def test_changes_of_one_key_go_one_after_the_other() -> None:
    rows = Rows()
    first, second, other = rows.add(Kind.DELETE, "a"), rows.add(Kind.PUT, "a"), rows.add(Kind.PUT, "b")
    assert rows.ready() == {first, other}
    rows.journal.finish(first)
    assert rows.ready() == {second}


@pytest.mark.parametrize(
    ("earlier", "later", "waits"),
    [
        ((Kind.MKDIR, "d"), (Kind.PUT, "d/f"), True),
        ((Kind.PUT, "d/f"), (Kind.MKDIR, "d"), False),
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
        made.journal.finish(done)
    assert all(change.state is State.DONE for change in changes)
    assert not len(made.journal)


async def test_closes_fold_into_the_put_that_has_not_started(clock: MockClock) -> None:
    rows = Rows()
    node = rows.node("f")
    first = rows.journal.put(node, 0.5)
    assert rows.journal.put(node, 0.5) is first
    await trio.sleep(1)
    assert rows.ready() == {first}
    second = rows.journal.put(node, 0.5)
    assert second is not first
    assert rows.journal.put(node, 0.5) is second
    assert node.pending == 2


async def test_a_put_starts_no_earlier_than_its_last_delay(clock: MockClock) -> None:
    rows = Rows()
    node = rows.node("f")
    put = rows.journal.put(node, 1.0)
    await trio.sleep(0.9)
    rows.journal.put(node, 1.0)
    await trio.sleep(0.9)
    assert rows.ready() == set()
    assert rows.journal.next(puts=True) == pytest.approx(put.due)
    await trio.sleep(0.2)
    assert rows.ready() == {put}


async def test_rekey_takes_along_what_waits_below(clock: MockClock) -> None:
    rows = Rows()
    move = rows.add(Kind.MOVE, "d", "x")
    put, deleted, beside = rows.add(Kind.PUT, "d/f"), rows.add(Kind.DELETE, "d/e/g"), rows.add(Kind.PUT, "dd")
    assert rows.ready() == {move, beside}
    rows.journal.rekey("d", "x")
    rows.journal.finish(move)
    assert (put.key, deleted.key, beside.key) == ("x/f", "x/e/g", "dd")
    assert rows.journal.under("d") == []
    assert rows.ready() == {put, deleted}


async def test_S10_after_a_rekey_a_later_change_of_an_enclosing_directory_still_waits() -> None:
    rows = Rows()
    inner, put, outer = rows.add(Kind.MOVE, "a/d", "a/e"), rows.add(Kind.PUT, "a/d/f"), rows.add(Kind.MOVE, "a", "c")
    assert rows.ready() == {inner}
    rows.journal.rekey("a/d", "a/e")
    rows.journal.finish(inner)
    assert rows.ready() == {put}
    rows.journal.finish(put)
    assert rows.ready() == {outer}


async def test_cancel_lets_those_who_wait_go_on() -> None:
    rows = Rows()
    first, second = rows.add(Kind.PUT, "f"), rows.add(Kind.DELETE, "f")
    rows.journal.cancel(first)
    assert first.state is State.CANCELLED
    assert rows.ready() == {second}


async def test_S7_settle_waits_for_all_that_is_at_or_below_and_for_nothing_else(clock: MockClock) -> None:
    rows = Rows()
    inside = [rows.add(Kind.PUT, "d"), rows.add(Kind.PUT, "d/f"), rows.add(Kind.MOVE, "x", "d/y")]
    rows.add(Kind.PUT, "other")
    settled = trio.Event()

    async def settle() -> None:
        await rows.journal.settle("d", 10)
        settled.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(settle)
        for change in inside:
            await trio.sleep(1)
            assert not settled.is_set()
            rows.journal.finish(change)
        await trio.sleep(1)
        assert settled.is_set()
    assert len(rows.journal) == 1


async def test_S16_settle_raises_a_refusal_at_once_and_a_passing_failure_when_patience_ends(clock: MockClock) -> None:
    rows = Rows()
    put = rows.add(Kind.PUT, "f")

    async def fail(error: Exception, every: float) -> None:
        while True:
            await trio.sleep(every)
            rows.journal.start(put)
            rows.journal.postpone(put, error, 0)

    for error, least, most in ((Unavailable("503"), 20, 24), (Denied("no"), 0, 4)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, error, 3)
            started = trio.current_time()
            with pytest.raises(type(error)):
                await rows.journal.settle("f", 20)
            nursery.cancel_scope.cancel()
        assert least <= trio.current_time() - started <= most


async def test_S16_a_row_that_succeeds_on_a_later_try_is_no_failure(clock: MockClock) -> None:
    rows = Rows()
    put = rows.add(Kind.PUT, "f")

    async def recover() -> None:
        rows.journal.start(put)
        rows.journal.postpone(put, Unavailable("503"), 5)
        await trio.sleep(5)
        rows.journal.start(put)
        rows.journal.finish(put)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(recover)
        await rows.journal.settle("f", 20)


async def test_wait_raises_what_the_row_failed_with() -> None:
    rows = Rows()
    made = rows.add(Kind.MKDIR, "d")
    rows.journal.finish(made, Denied("no"))
    with pytest.raises(Denied):
        await rows.journal.wait(made)
    assert rows.node("d").pending == 0


async def test_a_row_applied_by_its_maker_must_have_nothing_before_it_and_holds_back_what_comes_after() -> None:
    rows = Rows()
    rows.add(Kind.PUT, "d/f")
    assert rows.journal.begin(Kind.RMDIR, rows.node("d"), "d") is None
    direct = rows.journal.begin(Kind.DELETE, rows.node("g"), "g")
    assert direct is not None
    later = rows.add(Kind.PUT, "g")
    assert later not in rows.ready()
    rows.journal.finish(direct)
    assert later in rows.ready()


async def test_moving_is_known_for_both_ends_and_all_below() -> None:
    rows = Rows()
    assert rows.journal.moving("d/e") is None
    move = rows.add(Kind.MOVE, "d", "x")
    assert rows.journal.moving("d") is rows.journal.moving("d/e/f") is rows.journal.moving("x/y") is move
    assert rows.journal.moving("dd") is rows.journal.moving("") is None
    rows.journal.finish(move)
    assert rows.journal.moving("d") is None
