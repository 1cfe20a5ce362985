"""Writes on a condition, on every store (S9): over one version, or where nothing is; and what a server makes of the condition."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from collections.abc import Callable

import pytest
import trio

from storemount.errors import AlreadyExists, Changed, MissingStore, StoreMountError, TimedOut, Unavailable
from storemount.stores import remote
from storemount.stores import s3 as s3_module
from storemount.stores.base import EMPTY, Artifact, Source
from tests.stores.conftest import ENGINES, SourceMaker, Subject, make_subject, s3_store
from tests.support.faults import error, faulty_server, response, scripted
from tests.support.servers import S3Server

LARGE = 20 * 1024 * 1024 + 12345
SIZES = [pytest.param(100, id="one-request"), pytest.param(LARGE, id="in-parts")]
KEPT = Artifact("key", '"e"', 5, 0)

sizes = pytest.mark.parametrize("size", SIZES)
engines = pytest.mark.parametrize("engine", ENGINES)


def content(size: int, seed: bytes = b"ours") -> bytes:
    return hashlib.shake_256(seed).digest(size)


async def current(subject: Subject, key: str) -> Artifact | None:
    return (await subject.store.stat(key)).artifact


async def refused(subject: Subject, kind: type[StoreMountError], key: str, ours: Source, **condition: object) -> None:
    """The write fails with `kind`, changes nothing in the store, leaves nothing there, and keeps its source."""
    before = subject.outside.list()
    with pytest.raises(kind):
        await subject.store.write(key, ours, **condition)  # type: ignore[arg-type]
    assert subject.outside.list() == before
    assert not subject.bucket or subject.bucket.uploads() == []
    assert os.stat(ours.path).st_size == ours.size


@sizes
async def test_S9_over_the_version_that_is_there(subject: Subject, source: SourceMaker, size: int) -> None:
    made = await subject.store.write("d/f", source(b"base"))
    for seed in (b"first", b"second"):
        ours = content(size, seed)
        made = await subject.store.write("d/f", source(ours), over=made)
        assert made.size == size
        assert subject.outside.get("d/f") == ours
        assert await current(subject, "d/f") == made


@sizes
async def test_S9_over_a_version_that_a_listing_showed(subject: Subject, source: SourceMaker, size: int) -> None:
    subject.outside.put("d/f", content(size, b"theirs"))
    (row,) = [row async for page in subject.store.list("d/") for row in page]
    await subject.store.write("d/f", source(b"ours"), over=row.artifact)
    assert subject.outside.get("d/f") == b"ours"


@sizes
async def test_S9_a_version_that_was_replaced_is_not_written_over(subject: Subject, source: SourceMaker, size: int) -> None:
    base = await subject.store.write("f", source(b"base"))
    subject.outside.put("f", b"theirs")
    await refused(subject, Changed, "f", source(content(size)), over=base)
    assert subject.outside.get("f") == b"theirs"


@sizes
async def test_S9_a_version_that_was_deleted_is_not_written_over(subject: Subject, source: SourceMaker, size: int) -> None:
    base = await subject.store.write("f", source(b"base"))
    subject.outside.delete("f")
    await refused(subject, Changed, "f", source(content(size)), over=base)
    await refused(subject, Changed, "no/such/folder", source(content(size)), over=base)


@sizes
async def test_S9_what_should_be_new_is_written_where_nothing_is(subject: Subject, source: SourceMaker, size: int) -> None:
    made = await subject.store.write("d/f", source(content(size)), absent=True)
    assert subject.outside.get("d/f") == content(size)
    assert await current(subject, "d/f") == made


@sizes
async def test_S9_what_should_be_new_replaces_nothing(subject: Subject, source: SourceMaker, size: int) -> None:
    subject.outside.put("f", b"theirs")
    await refused(subject, AlreadyExists, "f", source(content(size)), absent=True)
    assert subject.outside.get("f") == b"theirs"


async def test_S9_our_own_bytes_stand_in_the_way_of_a_second_try(subject: Subject, source: SourceMaker) -> None:
    """When the reply was lost. Only the caller, who knows the bytes, can tell."""
    base = await subject.store.write("f", source(b"base"))
    await subject.store.write("f", source(b"ours"), over=base)
    await refused(subject, Changed, "f", source(b"ours"), over=base)
    await subject.store.write("new", source(b"ours"), absent=True)
    await refused(subject, AlreadyExists, "new", source(b"ours"), absent=True)


async def test_S9_a_condition_is_about_this_very_key(subject: Subject, source: SourceMaker) -> None:
    subject.needs_any_key()
    subject.outside.put("d/f2", b"another")
    subject.outside.put("d/f/x" if subject.flat else "d/e/x", b"below")
    await subject.store.write("d/f", source(b"ours"), absent=True)
    assert subject.outside.get("d/f") == b"ours"


async def test_S9_directories_can_be_new_too(subject: Subject, source: SourceMaker) -> None:
    await subject.store.write("d/", EMPTY, absent=True)
    with pytest.raises(AlreadyExists):
        await subject.store.write("d/", EMPTY, absent=True)
    await subject.store.write("d/", EMPTY)
    await subject.store.write("d/f", source(b"ours"), absent=True)
    assert [row.name for row in [row async for page in subject.store.list("d/") for row in page] if row.name] == ["f"]


@pytest.mark.parametrize("key", ["a//b", " lead", "ünï"])
async def test_S9_conditions_on_keys_that_not_every_client_takes(s3: Subject, source: SourceMaker, key: str) -> None:
    made = await s3.store.write(key, source(b"one"), absent=True)
    await refused(s3, AlreadyExists, key, source(b"two"), absent=True)
    await s3.store.write(key, source(b"two"), over=made)
    await refused(s3, Changed, key, source(b"three"), over=made)


async def test_S9_both_conditions_at_once_have_no_meaning(subject: Subject, source: SourceMaker) -> None:
    base = await subject.store.write("f", source(b"base"))
    with pytest.raises(ValueError, match="where nothing is"):
        await subject.store.write("f", source(b"ours"), over=base, absent=True)


@pytest.mark.parametrize("absent", [True, False], ids=["absent", "over"])
async def test_S9_what_another_wrote_during_the_upload_stays(
    s3: Subject, source: SourceMaker, absent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = None if absent else await s3.store.write("f", source(b"base"))
    sending, written = threading.Event(), threading.Event()

    def read_later(source: Source, start: int, stop: int) -> bytes:
        sending.set()
        assert written.wait(30)
        return content(LARGE)[start:stop]

    monkeypatch.setattr(s3_module, "read_part", read_later)
    async with trio.open_nursery() as nursery:

        async def upload() -> None:
            with pytest.raises(AlreadyExists if absent else Changed):
                await s3.store.write("f", source(content(LARGE)), over=base, absent=absent)

        nursery.start_soon(upload)
        await trio.to_thread.run_sync(sending.wait, 30)
        await trio.to_thread.run_sync(s3.outside.put, "f", b"theirs")
        written.set()
    assert s3.outside.get("f") == b"theirs"
    assert s3.bucket is not None and s3.bucket.uploads() == []


@pytest.mark.parametrize("absent", [True, False], ids=["absent", "over"])
async def test_S9_any_file_system_is_asked_again_before_the_move(
    request: pytest.FixtureRequest, source: SourceMaker, absent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    custom = make_subject("custom", request)
    base = None if absent else await custom.store.write("f", source(b"base"))

    def read_late(ours: Source, start: int, stop: int) -> bytes:
        custom.outside.put("f", b"theirs, in time")
        return b"ours"

    monkeypatch.setattr(remote, "read_part", read_late)
    with pytest.raises(AlreadyExists if absent else Changed):
        await custom.store.write("f", source(b"ours"), over=base, absent=absent)
    assert custom.outside.get("f") == b"theirs, in time"
    assert custom.outside.list() == {"f": 15}
    await custom.store.aclose()


# What servers make of a condition. Each answers the requests of one write of "key"; `requests` are the heads of those it got.


class Script:
    """A bucket that holds version "e" of "key" (None: nothing), and answers a PUT as it is told."""

    def __init__(self, put: Callable[[str], bytes], heads: tuple[str | None, ...] = ('"e"',)) -> None:
        self._put = put
        self._heads = itertools.chain(heads, itertools.repeat(heads[-1]))
        self.puts: list[str] = []

    def __call__(self, head: str) -> bytes:
        if head.startswith("PUT "):
            self.puts.append(_condition(head))
            return self._put(self.puts[-1])
        if head.startswith("HEAD "):
            held = next(self._heads)
            return response("404 Not Found") if held is None else response("200 OK", etag=held)
        return response("200 OK", b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")

    async def write(self, engine: str, ours: Source, **condition: object) -> Artifact:
        with faulty_server(scripted(self)) as endpoint:
            store = s3_store(S3Server(endpoint), "s3://bucket", engine)
            try:
                return await store.write("key", ours, **condition)  # type: ignore[arg-type]
            finally:
                await store.aclose()


def _condition(head: str) -> str:
    found = [line for line in head.split("\r\n") if line.lower().startswith(("if-match:", "if-none-match:"))]
    return found[0].partition(":")[2].strip() if found else ""


def refuse(code: str, status: str) -> bytes:
    return response(status, error(code))


@engines
async def test_S9_a_server_that_knows_etags_only_without_quotes(engine: str, source: SourceMaker) -> None:
    """As Ceph's radosgw 16."""
    script = Script(lambda tag: response("200 OK", etag='"new"') if tag == "e" else refuse("PreconditionFailed", "412 Precondition Failed"))
    made = await script.write(engine, source(b"hello"), over=KEPT)
    assert made.version == '"new"'
    assert script.puts == ['"e"', "e"]


@engines
async def test_S9_a_server_that_says_that_it_knows_no_conditions(engine: str, source: SourceMaker) -> None:
    script = Script(lambda tag: refuse("NotImplemented", "501 Not Implemented") if tag else response("200 OK", etag='"new"'))
    assert (await script.write(engine, source(b"hello"), over=KEPT)).version == '"new"'
    assert script.puts == ['"e"', ""]


@engines
async def test_S9_a_server_that_ignores_conditions_is_asked_before(engine: str, source: SourceMaker) -> None:
    ignoring = Script(lambda tag: response("200 OK"), heads=('"theirs"',))
    with pytest.raises(Changed):
        await ignoring.write(engine, source(b"hello"), over=KEPT)
    with pytest.raises(AlreadyExists):
        await ignoring.write(engine, source(b"hello"), absent=True)
    assert ignoring.puts == []


@engines
@pytest.mark.parametrize(
    ("status", "code", "heads"),
    [
        pytest.param("412 Precondition Failed", "PreconditionFailed", ('"e"', '"theirs"'), id="replaced"),
        pytest.param("412 Precondition Failed", "PreconditionFailed", ('"e"', None), id="deleted"),
        pytest.param("404 Not Found", "NoSuchKey", ('"e"', None), id="deleted-and-not-found"),
    ],
)
async def test_S9_what_changes_after_the_look_is_seen_by_the_server(
    engine: str, status: str, code: str, heads: tuple[str | None, ...], source: SourceMaker
) -> None:
    """Also what a write leaves there itself, when its reply is lost and the client library tries again."""
    script = Script(lambda tag: refuse(code, status), heads)
    with pytest.raises(Changed):
        await script.write(engine, source(b"hello"), over=KEPT)
    assert script.puts == ['"e"']


@engines
async def test_S9_a_reply_that_is_lost_makes_our_own_bytes_stand_in_the_way(engine: str, source: SourceMaker) -> None:
    replies = iter([b""])
    script = Script(lambda tag: next(replies, refuse("PreconditionFailed", "412 Precondition Failed")), ('"e"', '"ours"'))
    with pytest.raises(Changed):
        await script.write(engine, source(b"hello"), over=KEPT)
    assert script.puts == ['"e"', '"e"']
    replies = iter([b""])
    script = Script(lambda tag: next(replies, refuse("PreconditionFailed", "412 Precondition Failed")), (None, '"ours"'))
    with pytest.raises(AlreadyExists):
        await script.write(engine, source(b"hello"), absent=True)
    assert script.puts == ["*", "*"]


@engines
@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
@pytest.mark.parametrize("absent", [True, False], ids=["absent", "over"])
async def test_S9_two_at_the_same_time_try_again(engine: str, code: str, absent: bool, source: SourceMaker) -> None:
    script = Script(lambda tag: refuse(code, "409 Conflict"), (None,) if absent else ('"e"',))
    with pytest.raises(Unavailable) as caught:
        await script.write(engine, source(b"hello"), over=None if absent else KEPT, absent=absent)
    assert caught.value.transient and not isinstance(caught.value, TimedOut)


@engines
async def test_S9_a_bucket_that_has_gone_is_no_conflict(engine: str, source: SourceMaker) -> None:
    """S3: the answer to a HEAD cannot tell a missing key from a missing bucket."""

    def gone(head: str) -> bytes:
        return response("404 Not Found", b"" if head.startswith("HEAD ") else error("NoSuchBucket"))

    with faulty_server(scripted(gone)) as endpoint:
        store = s3_store(S3Server(endpoint), "s3://bucket", engine)
        with pytest.raises(MissingStore):
            await store.write("key", source(b"hello"), over=KEPT)
        await store.aclose()
