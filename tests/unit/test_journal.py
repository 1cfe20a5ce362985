"""The life of the journal's rows: folding, taking back, waiting, and what is written down of it (S7, S10, S16)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from storemount.errors import Denied, Unavailable
from storemount.writeback.change import Change, Kind, State
from storemount.writeback.journal import LATEST
from tests.unit.rows import Files, Rows


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def files(rows: Rows, tmp_path: Path) -> Files:
    return Files(rows, tmp_path)


# folding


async def test_closes_fold_into_the_put_that_has_not_started(clock: MockClock, rows: Rows, files: Files) -> None:
    first = files.put("f", 0.5)
    assert files.put("f", 0.5) is first
    await trio.sleep(1)
    assert rows.ready() == {first}
    second = files.put("f", 0.5)
    assert second is not first
    assert files.put("f", 0.5) is second
    assert rows.node("f").pending == 2


async def test_a_put_starts_no_earlier_than_its_last_delay(clock: MockClock, rows: Rows, files: Files) -> None:
    put = files.put("f", 1.0)
    await trio.sleep(0.9)
    files.put("f", 1.0)
    await trio.sleep(0.9)
    assert rows.ready() == set()
    assert rows.journal.next(puts=True) == pytest.approx(put.due)
    await trio.sleep(0.2)
    assert rows.ready() == {put}


async def test_a_put_that_is_closed_again_and_again_starts_all_the_same(clock: MockClock, rows: Rows, files: Files) -> None:
    started = trio.current_time()
    put = files.put("f", 1.0)
    while rows.ready() != {put}:
        await trio.sleep(0.5)
        files.put("f", 1.0)
        assert trio.current_time() - started <= LATEST + 1


async def test_S7_an_older_content_is_let_go_only_when_the_newer_one_is_committed(rows: Rows, files: Files, tmp_path: Path) -> None:
    """Until then the disk speaks of the older one."""
    files.put("f")
    rows.journal.commit()
    files.put("f")
    assert len(os.listdir(tmp_path)) == 2
    rows.book.error = OSError(errno.ENOSPC, "full")
    with pytest.raises(OSError, match="full"):
        rows.journal.commit()
    assert len(os.listdir(tmp_path)) == 2
    rows.book.error = None
    rows.journal.commit()
    assert len(os.listdir(tmp_path)) == 1


async def test_S7_the_content_of_a_put_that_is_done_or_taken_back_is_let_go_when_that_is_committed(
    rows: Rows, files: Files, tmp_path: Path
) -> None:
    done, cancelled = files.put("done"), files.put("cancelled")
    rows.journal.commit()
    rows.journal.start(done)
    rows.journal.finish([done])
    rows.journal.cancel(cancelled)
    assert len(os.listdir(tmp_path)) == 2
    rows.journal.commit()
    assert os.listdir(tmp_path) == []


async def test_S7_power_what_is_safe_is_kept_until_the_newer_promise_is(rows: Rows, files: Files, tmp_path: Path) -> None:
    put = files.put("f")
    older = put.layers
    rows.journal.secured(put)
    for _ in range(2):
        files.put("f")
        rows.journal.commit()
        assert put.safe is not None
        assert put.safe[1] == older
        assert not put.synced
        assert len(os.listdir(tmp_path)) == 2
    rows.journal.secured(put)
    rows.journal.commit()
    assert put.safe is None
    assert len(os.listdir(tmp_path)) == 1


# what is written down


async def test_S7_every_step_of_a_row_is_written_down(rows: Rows, files: Files) -> None:
    put, made, moved = files.put("f"), rows.add(Kind.MKDIR, "d"), rows.add(Kind.MOVE, "a", "b")
    assert rows.journal.commit()
    assert rows.book.kept == {put.id: (Kind.PUT, "f"), made.id: (Kind.MKDIR, "d"), moved.id: (Kind.MOVE, "a")}
    older = put.id
    rows.journal.rekey(put, "d/f")
    rows.journal.start(made)
    rows.journal.finish([made])
    rows.journal.cancel(moved)
    assert rows.journal.commit()
    assert put.id > older
    assert rows.book.kept == {put.id: (Kind.PUT, "d/f")}
    assert not rows.journal.commit()


async def test_S7_a_row_taken_up_again_has_its_number_and_may_have_been_applied(rows: Rows) -> None:
    node = rows.node("f")
    row = Change(17, Kind.DELETE, "f", node, trio.current_time())
    rows.journal.restore(row)
    assert row.uncertain
    assert rows.journal.under("f") == [row]
    assert node.pending == 1
    assert rows.ready() == {row}


# taking back


async def test_cancel_lets_those_who_wait_go_on(rows: Rows) -> None:
    first, second = rows.add(Kind.PUT, "f"), rows.add(Kind.DELETE, "f")
    rows.journal.cancel(first)
    assert first.state is State.CANCELLED
    assert rows.ready() == {second}
    assert rows.node("f").pending == 1


async def test_S5_a_file_whose_put_was_taken_back_can_be_written_again(rows: Rows, files: Files) -> None:
    node, staged = rows.node("f"), files.staged()
    node.staged = staged
    put = rows.journal.put(node, staged, 0)
    staged.freeze()
    rows.journal.cancel(put)
    assert not staged.frozen
    staged.drop()


# where things are


async def test_S10_the_bytes_of_a_directory_that_moves_are_under_its_old_key_until_it_has_moved(rows: Rows) -> None:
    first = rows.add(Kind.MOVE, "a", "b")
    second = rows.add(Kind.MOVE, "b/c", "d")
    assert rows.journal.origin("b") == "a"
    assert rows.journal.origin("d/e") == "a/c/e"
    assert rows.journal.origin("bb") == "bb"
    first.moved = True
    assert rows.journal.origin("d/e") == "b/c/e"
    rows.journal.start(first)
    rows.journal.finish([first])
    second.moved = True
    assert rows.journal.origin("d/e") == "d/e"


async def test_moving_is_known_for_both_ends_and_all_below_while_it_runs(rows: Rows) -> None:
    assert rows.journal.moving("d/e") is None
    move = rows.add(Kind.MOVE, "d", "x")
    assert rows.journal.moving("d") is None
    rows.journal.start(move)
    assert rows.journal.moving("d") is rows.journal.moving("d/e/f") is rows.journal.moving("x/y") is move
    assert rows.journal.moving("dd") is rows.journal.moving("") is None
    rows.journal.finish([move])
    assert rows.journal.moving("d") is None


# waiting


async def test_S7_settle_waits_for_all_that_is_at_or_below_and_for_nothing_else(clock: MockClock, rows: Rows) -> None:
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
            rows.journal.finish([change])
        await trio.sleep(1)
        assert settled.is_set()
    assert len(rows.journal) == 1


async def test_S16_settle_raises_a_refusal_at_once_and_a_passing_failure_when_patience_ends(clock: MockClock, rows: Rows) -> None:
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


async def test_S16_settle_raises_what_the_row_in_front_was_refused_for(rows: Rows) -> None:
    refused = rows.add(Kind.MKDIR, "d")
    rows.add(Kind.PUT, "d/f")
    rows.journal.start(refused)
    rows.journal.refuse(refused, Denied("not yours"))
    with pytest.raises(Denied, match="not yours"):
        await rows.journal.settle("d/f", 1000)


async def test_S16_a_row_that_succeeds_on_a_later_try_is_no_failure(clock: MockClock, rows: Rows) -> None:
    put = rows.add(Kind.PUT, "f")

    async def recover() -> None:
        rows.journal.start(put)
        rows.journal.postpone(put, Unavailable("503"), 5)
        await trio.sleep(5)
        rows.journal.start(put)
        rows.journal.finish([put])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(recover)
        await rows.journal.settle("f", 20)


async def test_S16_a_refused_row_starts_only_when_somebody_says_so(clock: MockClock, rows: Rows) -> None:
    row = rows.add(Kind.DELETE, "f")
    rows.journal.start(row)
    rows.journal.refuse(row, Denied("no"))
    rows.journal.hurry(row)
    await trio.sleep(10_000)
    assert rows.ready() == set()
    rows.journal.retry(row)
    assert rows.ready() == {row}


async def test_S7_who_waits_hurries_what_is_in_front_too(clock: MockClock, rows: Rows, files: Files) -> None:
    made = rows.journal.add(Kind.MKDIR, rows.node("d"), "d", delay=100)
    put, other = files.put("d/f", 100), files.put("other", 100)
    rows.journal.hurry(put)
    assert rows.ready() == {made}
    rows.journal.finish([made])
    assert rows.ready() == {put}
    assert other.state is State.WAITING


async def test_S8_drained_is_when_all_that_is_left_was_refused_or_waits_for_such(clock: MockClock, rows: Rows) -> None:
    refused, below, other = rows.add(Kind.MKDIR, "d"), rows.add(Kind.PUT, "d/f"), rows.add(Kind.PUT, "g")
    drained = trio.Event()

    async def drain() -> None:
        await rows.journal.drained()
        drained.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        rows.journal.start(refused)
        rows.journal.refuse(refused, Denied("no"))
        await trio.sleep(1)
        assert not drained.is_set()
        rows.journal.start(other)
        rows.journal.finish([other])
        await trio.sleep(1)
        assert drained.is_set()
    assert list(rows.journal) == [refused, below]
