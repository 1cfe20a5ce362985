"""What storemount makes of a user's class that hangs, fails, contradicts itself or can only half of it."""

from __future__ import annotations

import copy
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, ClassVar

import pytest
import trio

from storemount.errors import (
    AlreadyExists,
    Changed,
    Corrupt,
    Denied,
    ExitCode,
    IsADirectory,
    MissingStore,
    NoSpace,
    ReadOnly,
    Refusal,
    StoreMountError,
    TimedOut,
    Unavailable,
    Unreachable,
    Unsupported,
    errno_of,
)
from storemount.stores.base import Artifact, ArtifactStore
from storemount.stores.flavors import StoreSpec, open_store
from storemount.stores.flavors.user import UserFlavor
from storemount.stores.user.copies import Copies
from storemount.stores.user.source import ClassSource
from tests.stores.conftest import SourceMaker
from tests.support.readme import told
from tests.support.shelf import AsyncShelf, Bag, Shelf

SECRET = "hunter2-and-more"
RELEASED = threading.Event()
INSIDE: list[str] = []
"""Calls that hang, or have."""


def hang() -> None:
    INSIDE.append(threading.current_thread().name)
    RELEASED.wait(60)


class Hanging(Shelf):
    FLAVOR = "hanging"
    CALLS_AT_ONCE = 2

    def stat(self, path: str) -> os.stat_result:
        if path.endswith("/hang"):
            hang()
        return super().stat(path)


class HangingToo(AsyncShelf):
    FLAVOR = "hanging-too"

    async def stat(self, path: str) -> os.stat_result:
        if path.endswith("/hang"):
            hang()
        return await super().stat(path)


class NeverMade(Shelf):
    FLAVOR = "never-made"

    def __init__(self, path: str, base: str) -> None:
        hang()


class Picky(Shelf):
    FLAVOR = "picky"

    def __init__(self, path: str, base: str, api_token: str) -> None:
        raise ValueError(f"no such token: {api_token}")


class Absent(Shelf):
    """Takes a failure for an answer, as many do: while nobody answers, there is nothing. `AWAY`: for so many calls more."""

    FLAVOR = "absent"
    AWAY: ClassVar[list[int]] = [0]

    def _there(self) -> bool:
        self.AWAY[0] -= 1
        return self.AWAY[0] < 0

    def listdir(self, path: str) -> list[str]:
        return super().listdir(path) if self._there() else []

    def exists(self, path: str) -> bool:
        return self._there() and super().exists(path)

    def isdir(self, path: str) -> bool:
        return self._there() and super().isdir(path)


class Remote(Shelf):
    FLAVOR = "remote"

    def __init__(self, path: str, base: str) -> None:
        raise ConnectionRefusedError("nobody listens")


class Failing(Shelf):
    FLAVOR = "failing"
    ERROR: ClassVar[list[BaseException]] = []

    def stat(self, path: str) -> os.stat_result:
        if self.ERROR and ".storemount" not in path:
            raise copy.copy(self.ERROR[0])
        return super().stat(path)


class ReadOnlyShelf(Shelf):
    FLAVOR = "read-only"

    def open(self, path: str, mode: str = "r") -> IO[Any]:
        if mode != "rb":
            raise PermissionError("this shelf is for looking only")
        return super().open(path, mode)

    makedirs = mkdir = lambda self, path: None


class Mover(Shelf):
    """`rename` as `shutil.move` has it: into a directory that is there, and a copy that is another version."""

    FLAVOR = "mover"

    def rename(self, src: str, dst: str) -> None:
        shutil.copytree(self.real(src), self.real(dst)) if self.isdir(src) else shutil.copyfile(
            self.real(src), os.path.join(self.real(dst), os.path.basename(src)) if self.isdir(dst) else self.real(dst)
        )
        self.rmtree(src) if self.isdir(src) else self.remove(src)


class Counted(Bag):
    FLAVOR = "counted"
    OPENS: ClassVar[list[str]] = []

    def open(self, path: bytes, mode: str = "r") -> Any:
        self.OPENS.append(mode)
        return super().open(path, mode)


class Texter(Shelf):
    FLAVOR = "texter"

    def open(self, path: str, mode: str = "r") -> IO[Any]:
        return super().open(path, mode if mode != "rb" or ".storemount" in path else "r")


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    RELEASED.clear()
    INSIDE.clear()
    Failing.ERROR.clear()
    yield
    RELEASED.set()


@asynccontextmanager
async def opened(cls: type, folder: Path, *, deadline: float = 10.0, read_only: bool = False, **more: str) -> AsyncIterator[ArtifactStore]:
    flavor = UserFlavor.of(ClassSource(f"{cls.__module__}.{cls.__name__}")).flavor()
    if issubclass(cls, Bag):
        spec = StoreSpec("test", flavor.name, f"bag://{folder}", {}, flavor, read_only)
    else:
        spec = StoreSpec("test", flavor.name, "shelf://test", {"base": str(folder), **more}, flavor, read_only)
    store = open_store(spec, deadline=deadline)
    try:
        yield store
    finally:
        with trio.fail_after(5):
            await store.aclose()


@pytest.mark.parametrize("cls", [Hanging, HangingToo])
async def test_S14_a_method_that_hangs_times_out_and_takes_no_more_threads_than_it_may(cls: type, tmp_path: Path) -> None:
    (tmp_path / "fine").touch()
    async with opened(cls, tmp_path, deadline=0.4) as store:
        await store.stat("fine")

        async def look() -> None:
            with trio.fail_after(5), pytest.raises(TimedOut):
                await store.stat("hang")

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(look)
        assert len(INSIDE) <= 2
        RELEASED.set()


async def test_S14_one_place_is_left_when_one_call_hangs(tmp_path: Path) -> None:
    (tmp_path / "fine").touch()
    async with opened(Hanging, tmp_path, deadline=0.4) as store:
        with pytest.raises(TimedOut, match="hang"):
            await store.stat("hang")
        await store.stat("fine")


async def test_S14_a_class_that_hangs_while_it_is_made_times_out(tmp_path: Path) -> None:
    async with opened(NeverMade, tmp_path, deadline=0.3) as store:
        with trio.fail_after(5), pytest.raises(TimedOut):
            await store.check()


async def test_S14_a_class_that_cannot_be_made_for_want_of_a_connection_is_out_of_reach(tmp_path: Path) -> None:
    async with opened(Remote, tmp_path) as store:
        with pytest.raises(Unreachable, match="nobody listens"):
            await store.check()


@pytest.mark.parametrize("calls", range(3, 7))
async def test_S3_a_root_that_was_out_of_sight_for_a_moment_stays(tmp_path: Path, calls: int) -> None:
    """Only the trial removes a root that it has made."""
    (tmp_path / "there").touch()
    async with opened(Absent, tmp_path) as store:
        await store.check()
        Absent.AWAY[0] = calls
        with pytest.raises(MissingStore):
            await store.check()
    assert os.listdir(tmp_path) == ["there"]


async def test_a_class_that_cannot_be_made_is_a_bad_configuration_without_its_secret(tmp_path: Path) -> None:
    async with opened(Picky, tmp_path, api_token=SECRET) as store:
        with pytest.raises(Refusal, match=r"ValueError: no such token: \*\*\*") as caught:
            await store.check()
    assert caught.value.code is ExitCode.BAD_CONFIGURATION


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError(13, "no"), Denied),
        (TimeoutError("slow"), TimedOut),
        (ConnectionRefusedError(111, "refused"), Unreachable),
        (OSError(28, "No space left"), NoSpace),
        (OSError(30, "Read-only file system"), ReadOnly),
        (NotImplementedError("stat"), Unsupported),
        (FileNotFoundError("they say"), Unavailable),
        (SystemExit(3), Unavailable),
        (StopIteration(), Unavailable),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_S3_each_failure_has_its_name_and_none_means_absent(
    error: BaseException, kind: type[StoreMountError], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "there").touch()
    async with opened(Failing, tmp_path) as store:
        Failing.ERROR.append(error)
        with pytest.raises(kind) as caught:
            await store.stat("there")
        assert errno_of(caught.value)
    assert not caplog.records or isinstance(error, StopIteration)


async def test_what_has_no_name_is_told_in_the_class_words_with_one_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "there").touch()
    async with opened(Failing, tmp_path, api_token=SECRET) as store:
        Failing.ERROR.append(RuntimeError(f"quota\nof {SECRET} is used up"))
        for _ in range(3):
            with pytest.raises(Unavailable, match=r"there: quota of \*\*\* is used up"):
                await store.stat("there")
    (record,) = caplog.records
    assert told("raised what has no name in storemount", record.message) and "raise copy.copy(self.ERROR[0])" in record.message
    assert SECRET not in record.message


LIMITS: list[tuple[type, set[str]]] = [
    (AsyncShelf, set()),
    (Shelf, {"S6"}),
    (Mover, {"S10"}),
    (Bag, {"S6", "S10", "S11", "whole"}),
    (ReadOnlyShelf, {"S5"}),
]


@pytest.mark.parametrize(("cls", "limits"), LIMITS, ids=lambda value: value.__name__ if isinstance(value, type) else "")
async def test_what_a_class_cannot_do_is_found_out_and_nothing_is_left(cls: type, limits: set[str], tmp_path: Path) -> None:
    async with opened(cls, tmp_path) as store:
        await store.check()
        told = "; ".join(store.traits.limits)
        assert {word for word in ("S4", "S5", "S6", "S10", "S11", "whole") if word in told} == limits, told
        assert store.traits.rename is (limits <= {"S6"})
        assert [row async for page in store.list("") for row in page] == []
    assert os.listdir(tmp_path) == []


async def test_a_class_that_takes_no_files_says_so_and_can_be_read(tmp_path: Path, source: SourceMaker) -> None:
    (tmp_path / "there").write_bytes(b"to be seen")
    async with opened(ReadOnlyShelf, tmp_path) as store:
        await store.check()
        assert store.traits.limits == ("nothing can be written (S5): this shelf is for looking only",)
        there = (await store.stat("there")).artifact
        assert there is not None and await store.read(there, 3, 5) == b"be"
        for call in (store.write("new", source(b"x")), store.copy(there, "new"), store.write("d/", source(b""))):
            with pytest.raises(ReadOnly, match="for looking only"):
                await call


async def test_who_only_reads_lets_the_class_alone(tmp_path: Path) -> None:
    os.utime(tmp_path, (1, 1))
    async with opened(Shelf, tmp_path, read_only=True) as store:
        await store.check()
        assert store.traits.limits == ()
    assert os.stat(tmp_path).st_mtime == 1


async def test_S4_a_file_that_cannot_seek_is_fetched_once(tmp_path: Path, source: SourceMaker) -> None:
    async with opened(Counted, tmp_path) as store:
        made = await store.write("f", source(bytes(range(200))))
        Counted.OPENS.clear()
        for start in range(10, 200, 10):
            assert await store.read(made, start, start + 5) == bytes(range(start, start + 5))
        assert Counted.OPENS == ["rb"]
        again = await store.write("f", source(b"another version"))
        assert await store.read(made, 10, 12) == bytes([10, 11])
        await store.write("f", source(b"a third one, of course"))
        with pytest.raises(Changed):
            await store.read(again, 10, 12)


async def test_S6_a_directory_in_the_way_of_a_file_stays_as_it_is(tmp_path: Path, source: SourceMaker) -> None:
    """Some renames would move the file into it."""
    (tmp_path / "root/d").mkdir(parents=True)
    async with opened(Mover, tmp_path / "root") as store:
        with pytest.raises(IsADirectory):
            await store.write("d", source(b"ours"))
        with pytest.raises(AlreadyExists):
            await store.write("d", source(b"ours"), absent=True)
    assert [(folders, files) for _, folders, files in os.walk(tmp_path / "root")] == [(["d"], []), ([], [])]


async def test_text_for_bytes_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"text")
    async with opened(Texter, tmp_path) as store:
        there = (await store.stat("there")).artifact
        assert there is not None
        with pytest.raises(Corrupt, match="gives text"):
            await store.read(there, 0, 4)


async def test_S3_a_root_that_goes_is_a_missing_store_and_is_never_made(tmp_path: Path, source: SourceMaker) -> None:
    (tmp_path / "root").mkdir()
    async with opened(Shelf, tmp_path / "root") as store:
        await store.check()
        (tmp_path / "root").rmdir()
        calls: list[Callable[[], Any]] = [
            store.check,
            lambda: store.stat("key"),
            lambda: store.write("d/f", source(b"x")),
            lambda: store.write("d/", source(b"")),
            lambda: store.write("f", source(b"x")),
        ]
        for call in calls:
            with pytest.raises(MissingStore):
                await call()
    assert os.listdir(tmp_path) == [name for name in os.listdir(tmp_path) if name.startswith("source")]


async def test_S10_directories_move_whole_where_the_class_can(tmp_path: Path) -> None:
    (tmp_path / "old/inner").mkdir(parents=True)
    (tmp_path / "old/inner/f").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    async with opened(AsyncShelf, tmp_path) as store:
        await store.check()
        await store.rename("old/", "empty/")
        await store.rename("empty/", "not/yet/")
        with pytest.raises(IsADirectory):
            await store.rename("not/", "not/")
    assert (tmp_path / "not/yet/inner/f").read_bytes() == b"x"


async def test_S15_copies_have_a_cap() -> None:
    fetched: list[str] = []

    async def fetch(artifact: Artifact, target: Any) -> int:
        fetched.append(artifact.key)
        return int(target.write(b"x" * artifact.size))

    one, two, three = (Artifact(key, "v", 40, 0) for key in ("one", "two", "three"))
    copies = Copies(fetch, most=100)
    for each in (one, two, one, three, one, two):
        assert await copies.read(each, 0, 3) == b"xxx"
    assert fetched == ["one", "two", "three", "two"]
    with pytest.raises(Corrupt):
        await Copies(lambda artifact, target: fetch(replace(artifact, size=1), target)).read(one, 0, 3)
    copies.close()
