"""What was warmed is shown while the store is away, and nothing else is (S14, S3)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from storemount.errors import Denied, ExitCode, Expired, NotFound, Refusal, TimedOut, Unavailable, Unreachable
from storemount.stores.base import EMPTY, Child, Meta
from storemount.stores.local import LocalStore
from storemount.stores.offline import PROBE, RESPITE, Offline
from storemount.stores.snapshot import Snapshot
from tests.support.faulty import FaultyStore, PromptMemoryStore
from tests.support.readme import told

AWAY = Unreachable("nobody there")


class Subject:
    """An `Offline` over a store in memory with `warm/f`, `warm/d/g` and `cold/h`, of which `warm/` was warmed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faulty = FaultyStore(PromptMemoryStore())
        self.snapshot = Snapshot.opened(path)
        self.store = Offline(self.faulty, self.snapshot)

    async def fill(self) -> None:
        for key in ("warm/f", "warm/d/g", "cold/h"):
            await self.faulty.inner.write(key, EMPTY)
        await self.store.warm_name("warm")
        for folder in ("warm/", "warm/d/"):
            await self.store.warm(folder)
        self.faulty.forget()

    def fail(self) -> None:
        for verb in ("stat", "list", "write", "delete", "rename"):
            self.faulty.fail(verb, AWAY, times=1000)

    async def names(self, prefix: str, *, recursive: bool = False) -> list[str]:
        async with aclosing(self.store.list(prefix, recursive=recursive)) as pages:
            return sorted([row.name + ("" if row.artifact else "/") async for page in pages for row in page])


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Subject]:
    subject = Subject(tmp_path / "store.warm")
    yield subject
    subject.snapshot.close()


@pytest.fixture
async def subject(made: Subject) -> Subject:
    await made.fill()
    return made


async def test_S14_what_was_warmed_is_shown_as_it_was_seen_last(subject: Subject, caplog: pytest.LogCaptureFixture) -> None:
    before = await subject.store.stat("warm/f")
    subject.fail()
    assert await subject.names("warm/") == ["d/", "f"]
    assert await subject.store.stat("warm/f") == before
    assert await subject.store.stat("warm/d") == Child("d", None)
    assert await subject.names("warm/d/") == ["g"]
    assert [record.message for record in caplog.records if told("what was warmed of it is shown as it was seen last", record.message)]
    assert len(caplog.records) == 1, "one line for an outage"


@pytest.mark.parametrize("key", ["cold/h", "warm/absent", "warm/d/absent", "absent"])
async def test_S3_what_was_not_warmed_is_an_error_and_never_absent(subject: Subject, key: str) -> None:
    subject.fail()
    with pytest.raises(Unreachable):
        await subject.store.stat(key)


@pytest.mark.parametrize(("prefix", "recursive"), [("cold/", False), ("", False), ("warm/absent/", False), ("warm/", True)])
async def test_S3_a_listing_that_was_not_warmed_is_an_error_and_never_empty(subject: Subject, prefix: str, recursive: bool) -> None:
    """That of the root has only the row on the way to what was warmed; one of a whole tree is not kept."""
    subject.fail()
    with pytest.raises(Unreachable):
        await subject.names(prefix, recursive=recursive)


async def test_S3_a_listing_that_breaks_off_is_an_error(subject: Subject) -> None:
    """Rows were given out already, and what is kept may be another state than theirs."""
    for number in range(1500):
        await subject.faulty.inner.write(f"warm/many-{number:04}", EMPTY)
    seen = 0
    with pytest.raises(Unreachable):
        async with aclosing(subject.store.list("warm/")) as pages:
            async for page in pages:
                seen += len(page)
                subject.fail()
    assert seen == 1000
    assert await subject.names("warm/") == ["d/", "f"], "half a listing was not kept"


async def test_S14_a_store_that_is_away_is_not_asked_for_each_name(clock: MockClock, subject: Subject) -> None:
    subject.fail()
    await subject.names("warm/")
    assert subject.faulty.count() == {"list": 1}
    for _ in range(10):
        await subject.store.stat("warm/f")
        await subject.names("warm/")
    assert subject.faulty.count() == {"list": 1}
    await trio.sleep(RESPITE)
    await subject.store.stat("warm/f")
    assert subject.faulty.count() == {"list": 1, "stat": 1}


async def test_S14_when_it_answers_again_its_answer_counts(clock: MockClock, subject: Subject, caplog: pytest.LogCaptureFixture) -> None:
    subject.fail()
    await subject.names("warm/")
    assert subject.store.since is not None
    await subject.faulty.inner.write("warm/new", EMPTY)
    await subject.faulty.inner.delete(["warm/f"])
    subject.faulty.heal()
    await trio.sleep(RESPITE)
    with caplog.at_level("INFO"):
        assert await subject.names("warm/") == ["d/", "new"]
    assert subject.store.since is None
    assert [record.message for record in caplog.records if record.message.startswith("the store answers again, after 5")]
    subject.fail()
    assert await subject.names("warm/") == ["d/", "new"], "and is what is kept"


async def test_S14_a_name_that_has_gone_is_not_shown_in_the_next_outage(subject: Subject) -> None:
    await subject.faulty.inner.delete(["warm/f"])
    with pytest.raises(NotFound):
        await subject.store.stat("warm/f")
    subject.fail()
    with pytest.raises(Unreachable):
        await subject.store.stat("warm/f")
    assert await subject.names("warm/") == ["d/"]


async def test_a_refusal_is_no_outage(subject: Subject) -> None:
    subject.faulty.fail("stat", Denied("no"))
    subject.faulty.fail("list", Denied("no"))
    for act in (lambda: subject.store.stat("warm/f"), lambda: subject.names("warm/")):
        with pytest.raises(Denied):
            await act()
    assert subject.store.since is None


async def test_an_outage_where_nothing_is_warm_is_counted_without_a_word(
    clock: MockClock, made: Subject, caplog: pytest.LogCaptureFixture
) -> None:
    made.fail()
    with pytest.raises(Unreachable):
        await made.store.stat("f")
    await trio.sleep(10)
    assert 10 <= made.store.away < 11 and not caplog.records


async def test_uploads_and_reads_tell_of_an_outage_too(clock: MockClock, subject: Subject) -> None:
    artifact = await subject.faulty.inner.describe("warm/f")
    asked = (("write", lambda: subject.store.write("f", EMPTY)), ("read", lambda: subject.store.read(artifact, 0, 0)))
    for verb, ask in asked:
        subject.faulty.fail(verb, AWAY)
        with pytest.raises(Unreachable):
            await ask()
        assert subject.store.since is not None
        await write(subject.store)
        assert subject.store.since is None
    subject.faulty.fail("write", Unavailable("503"))
    with pytest.raises(Unavailable):
        await subject.store.write("f", EMPTY)
    assert subject.store.since is None, "it may be about that key alone"


async def test_S14_a_store_that_nobody_wants_anything_of_is_seen_to_be_back(
    clock: MockClock, subject: Subject, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    nursery.start_soon(subject.store.run)
    for denied in (False, True):
        subject.fail()
        subject.faulty.fail("check", AWAY, times=3)
        await subject.names("warm/")
        subject.faulty.forget()
        await trio.sleep(3.5 * PROBE)
        assert subject.store.away == 3.5 * PROBE
        assert subject.faulty.count() == {"check": 3}
        subject.faulty.heal()
        if denied:
            subject.faulty.fail("check", Denied("no"))
        await trio.sleep(PROBE)
        assert subject.store.since is None, "it says no, but it is there"
        await trio.sleep(10 * PROBE)
        assert subject.faulty.count() == {"check": 4}
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"], "one line for each outage"


@pytest.mark.parametrize("away", [False, True])
async def test_an_upload_that_takes_too_long_has_the_store_asked_whether_it_is_there(
    clock: MockClock, subject: Subject, nursery: trio.Nursery, away: bool
) -> None:
    """It may only have been too large for the line; what is looked up meanwhile is asked, and not shown as it was."""
    nursery.start_soon(subject.store.run)
    subject.faulty.fail("write", TimedOut("too slow"))
    subject.faulty.fail("check", AWAY, times=away)
    with pytest.raises(TimedOut):
        await write(subject.store)
    assert subject.store.since is None
    await trio.testing.wait_all_tasks_blocked()
    assert subject.faulty.count() == {"write": 1, "check": 1}
    assert (subject.store.since is not None) == away


async def test_credentials_that_cannot_be_had_do_not_end_an_outage(clock: MockClock, subject: Subject, nursery: trio.Nursery) -> None:
    nursery.start_soon(subject.store.run)
    subject.fail()
    await subject.names("warm/")
    subject.faulty.fail("check", Expired("the service that gives the keys is away, too"), times=2)
    await trio.sleep(2.5 * PROBE)
    assert subject.store.away == 2.5 * PROBE
    await trio.sleep(PROBE)
    assert subject.store.since is None


async def test_a_store_that_cannot_even_be_made_ends_no_mount(clock: MockClock, subject: Subject, nursery: trio.Nursery) -> None:
    nursery.start_soon(subject.store.run)
    subject.fail()
    await subject.names("warm/")
    subject.faulty.fail("check", Refusal(ExitCode.BAD_CONFIGURATION, "the class of the store cannot be made"))
    await trio.sleep(2 * PROBE)
    assert subject.store.since is None


async def test_what_asks_a_store_leaves_no_need_for_a_probe(clock: MockClock, subject: Subject, nursery: trio.Nursery) -> None:
    nursery.start_soon(subject.store.run)
    subject.fail()
    for _ in range(10):
        await subject.names("warm/")
        await trio.sleep(PROBE - 1)
    assert set(subject.faulty.count()) == {"list"}


async def write(store: Offline) -> object:
    return await store.write("warm/new", EMPTY)


async def make(store: Offline) -> object:
    return await store.write("warm/new/", EMPTY)


async def copy(store: Offline) -> object:
    return await store.copy((await store.describe("warm/f")), "warm/new")


async def annotate(store: Offline) -> object:
    return await store.annotate(await store.describe("warm/f"), Meta(mode=0o100600))


async def delete(store: Offline) -> object:
    return await store.delete(["warm/f", "cold/h"])


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (write, ["d/", "f", "new"]),
        (make, ["d/", "f", "new/"]),
        (copy, ["d/", "f", "new"]),
        (annotate, ["d/", "f"]),
        (delete, ["d/"]),
    ],
)
async def test_S14_what_this_mount_changed_is_shown_too(
    subject: Subject, change: Callable[[Offline], Awaitable[object]], names: list[str]
) -> None:
    await change(subject.store)
    subject.fail()
    assert await subject.names("warm/") == names
    for name in names:
        child = await subject.store.stat(f"warm/{name.removesuffix('/')}")
        assert (child.artifact is None) == name.endswith("/")


async def test_S14_a_directory_that_this_mount_removed_has_gone(subject: Subject) -> None:
    await subject.store.write("warm/e/", EMPTY)
    await subject.store.delete(["warm/e/"])
    subject.fail()
    assert await subject.names("warm/") == ["d/", "f"]


async def test_S14_a_change_that_fails_changes_nothing_here(subject: Subject) -> None:
    subject.fail()
    for change in (write, delete):
        with pytest.raises(Unreachable):
            await change(subject.store)
    assert await subject.names("warm/") == ["d/", "f"]


@pytest.mark.parametrize("slash", ["", "/"])
async def test_S14_a_rename_by_the_store_moves_no_rows(tmp_path: Path, slash: str) -> None:
    """The old names have gone. What is at the new ones is asked; while nobody answers, it is an error (S3)."""
    (tmp_path / "root/d/below").mkdir(parents=True)
    (tmp_path / "root/d/f").touch()
    faulty = FaultyStore(LocalStore(tmp_path / "root"))
    store = Offline(faulty, snapshot := Snapshot.opened(tmp_path / "store.warm"))
    for folder in ("", "d/", "d/below/"):
        await store.warm(folder)
    await store.rename(f"d{slash}", f"e{slash}")
    for verb in ("stat", "list"):
        faulty.fail(verb, AWAY, times=1000)
    for key in ("d", "d/f", "e", "e/f"):
        with pytest.raises(Unreachable):
            await store.stat(key)
    for prefix in ("", "d/", "d/below/", "e/"):
        with pytest.raises(Unreachable):
            async with aclosing(store.list(prefix)) as pages:
                async for _ in pages:
                    pass
    await store.aclose()
    snapshot.close()


async def test_S3_a_directory_that_was_emptied_and_replaced_by_a_rename_is_not_shown_empty(tmp_path: Path) -> None:
    for name in ("d", "d.tmp"):
        (tmp_path / f"root/{name}").mkdir(parents=True)
        (tmp_path / f"root/{name}/f").touch()
    faulty = FaultyStore(LocalStore(tmp_path / "root"))
    store = Offline(faulty, snapshot := Snapshot.opened(tmp_path / "store.warm"))
    for folder in ("", "d/", "d.tmp/"):
        await store.warm(folder)
    await store.delete(["d/f"])
    await store.delete(["d/"])
    await store.rename("d.tmp/", "d/")
    faulty.fail("list", AWAY, times=1000)
    with pytest.raises(Unreachable):
        async with aclosing(store.list("d/")) as pages:
            assert [page async for page in pages] == []
    await store.aclose()
    snapshot.close()


async def test_S4_a_file_that_a_rename_replaced_is_not_shown_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    for name in ("f", "f.tmp"):
        (tmp_path / "root" / name).write_text(name)
    faulty = FaultyStore(LocalStore(tmp_path / "root"))
    store = Offline(faulty, snapshot := Snapshot.opened(tmp_path / "store.warm"))
    await store.warm("")
    await store.rename("f.tmp", "f")
    faulty.fail("stat", AWAY, times=1000)
    with pytest.raises(Unreachable):
        await store.stat("f")
    await store.aclose()
    snapshot.close()


async def test_S3_a_listing_that_an_upload_overtook_does_not_hide_it(subject: Subject) -> None:
    for again in (lambda: subject.names("warm/"), lambda: subject.store.warm("warm/")):
        gate = subject.faulty.hold_reply("list")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(again)
            await gate.wait_reached()
            await write(subject.store)
            gate.open()
        subject.fail()
        assert (await subject.store.stat("warm/new")).artifact is not None
        assert await subject.names("warm/") == ["d/", "f", "new"]
        subject.faulty.heal()
        await subject.store.delete(["warm/new"])


async def test_S14_the_next_mount_shows_it_too(subject: Subject) -> None:
    subject.snapshot.close()
    subject.snapshot = Snapshot.opened(subject.path)
    subject.store = Offline(subject.faulty, subject.snapshot)
    subject.fail()
    assert await subject.names("warm/") == ["d/", "f"]
    assert (await subject.store.stat("warm")).artifact is None


async def test_a_snapshot_that_cannot_be_used_costs_a_line(subject: Subject, caplog: pytest.LogCaptureFixture) -> None:
    """As on a full disk: nobody hears of it while the store answers; in an outage it is an error, as if nothing had been warmed."""
    subject.snapshot.close()
    assert await subject.names("warm/") == ["d/", "f"]
    assert (await subject.store.stat("warm/f")).name == "f"
    subject.fail()
    for act in (lambda: subject.store.stat("warm/f"), lambda: subject.names("warm/")):
        with pytest.raises(Unreachable):
            await act()
    assert [record for record in caplog.records if told("the names of what was warmed cannot be kept or read", record.message)]


async def test_a_row_of_another_version_of_the_software_is_not_shown(subject: Subject, caplog: pytest.LogCaptureFixture) -> None:
    other = sqlite3.connect(subject.path)
    with other:
        other.execute("UPDATE rows SET meta = ? WHERE name = ?", ('{"mood": "good"}', os.fsencode("f")))
    other.close()
    subject.fail()
    with pytest.raises(Unreachable):
        await subject.store.stat("warm/f")
    assert [record.message for record in caplog.records if told("the names of what was warmed cannot be kept or read", record.message)]


async def test_a_listing_that_is_left_early_is_not_kept(subject: Subject) -> None:
    for number in range(1500):
        await subject.faulty.inner.write(f"warm/many-{number:04}", EMPTY)
    async with aclosing(subject.store.list("warm/")) as pages:
        async for _ in pages:
            break
    subject.fail()
    assert await subject.names("warm/") == ["d/", "f"]


async def test_every_failure_that_may_pass_is_an_outage(subject: Subject) -> None:
    subject.faulty.fail("stat", Unavailable("503"))
    assert (await subject.store.stat("warm/f")).name == "f"
    assert subject.store.since is not None
