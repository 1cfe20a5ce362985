"""What only Google Cloud Storage has: sessions, rewrites, batches, credentials, and its way to fail (S3, S14). The protocol itself is
shown in `test_contract` and `test_conditions`."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from storemount.errors import (
    AlreadyExists,
    Changed,
    Corrupt,
    Denied,
    Expired,
    Invalid,
    MissingStore,
    StoreMountError,
    TimedOut,
    Unavailable,
    Unreachable,
)
from storemount.stores import gcs as gcs_module
from storemount.stores.base import EMPTY, Artifact, ArtifactStore, Meta, Source
from storemount.stores.gcsbatch import batch_body, outcomes
from storemount.stores.parts import read_part
from tests.stores.conftest import GCS, SourceMaker, Subject, gcs_store
from tests.support.faults import (
    Treatment,
    answer,
    faulty_server,
    garbage,
    refused_address,
    reset,
    response,
    scripted,
    silence,
    told_as_json,
    whole,
)
from tests.support.gcs import GcsBucket, GcsServer, gcs_server
from tests.support.proxy import Proxy, proxy_to

LARGE = 40 * 1024 * 1024
KEPT = Artifact("key", "7", 5, 0)
RESOURCE = {"name": "key", "generation": "8", "size": "5", "updated": "2026-11-23T10:00:00.5Z"}
VERBS = ["check", "stat", "list", "read", "write", "over", "absent", "delete", "copy"]

engines = pytest.mark.parametrize("engine", [name.removeprefix("gcs-") for name in GCS])


def bucket_of(subject: Subject) -> GcsBucket:
    assert isinstance(subject.outside, GcsBucket)
    return subject.outside


async def test_s2_hostile_keys_can_be_addressed(gcs: Subject, source: SourceMaker) -> None:
    for key in ("a//b", "a/../c", "./d", "ctrl\x01", "//", "..", ".", "/"):
        made = await gcs.store.write(key, source(key.encode()))
        assert gcs.outside.get(key) == key.encode()
        assert bytes(await gcs.store.read(made, 0, made.size)) == key.encode()
    await gcs.store.delete(list(gcs.outside.list()))
    assert gcs.outside.list() == {}


async def test_S12_metadata_goes_with_the_write_and_the_copy_in_the_names_of_gcsfuse(gcs: Subject, source: SourceMaker) -> None:
    made = await gcs.store.write("f", source(b"x", Meta(mtime_ns=1_700_000_000_123_456_789, mode=0o100750)))
    await gcs.store.copy(made, "g")
    for key in ("f", "g"):
        assert bucket_of(gcs).metadata(key) == {
            "goog-reserved-file-mtime": "1700000000",
            "gcsfuse_mtime": "2023-11-14T22:13:20.123456789Z",
            "goog-reserved-posix-mode": "750",
        }


async def test_S6_a_cancelled_upload_leaves_nothing(gcs: Subject, source: SourceMaker) -> None:
    bucket, big = bucket_of(gcs), source(b"x" * LARGE)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gcs.store.write, "big", big)
            while not await trio.to_thread.run_sync(bucket.uploads):
                assert bucket.list() == {}, "the upload ended before it could be cancelled"
            scope.cancel()
    assert bucket.uploads() == []
    assert bucket.list() in ({}, {"big": big.size})


@pytest.mark.parametrize("absent", [True, False], ids=["absent", "over"])
async def test_S9_what_another_wrote_during_the_upload_stays(
    gcs: Subject, source: SourceMaker, absent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server itself compares, when the last part has come."""
    base = None if absent else await gcs.store.write("f", source(b"base"))

    def read_late(ours: Source, start: int, stop: int) -> bytes:
        gcs.outside.put("f", b"theirs")
        return read_part(ours, start, stop)

    monkeypatch.setattr(gcs_module, "read_part", read_late)
    with pytest.raises(AlreadyExists if absent else Changed):
        await gcs.store.write("f", source(b"x" * LARGE), over=base, absent=absent)
    assert gcs.outside.get("f") == b"theirs"
    assert bucket_of(gcs).uploads() == []


async def test_S14_an_upload_goes_on_where_its_connection_broke(
    google_bucket: GcsBucket, source: SourceMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[int] = []
    data = bytes(range(256)) * (LARGE // 256)
    with proxy_to(google_bucket.server.endpoint) as proxy:

        def read_and_cut(ours: Source, start: int, stop: int) -> bytes:
            starts.append(start)
            if len(starts) == 2:
                proxy.become(_cut_twice(proxy))
            return read_part(ours, start, stop)

        monkeypatch.setattr(gcs_module, "read_part", read_and_cut)
        store = gcs_store(GcsServer(proxy.endpoint), google_bucket.uri, "fsspec")
        # The address of a session is the server's own.
        await store.write("big", source(data))
        await store.aclose()
    assert google_bucket.get("big") == data
    assert starts == [0, 16 * 1024**2, 16 * 1024**2, 32 * 1024**2]
    assert google_bucket.uploads() == []


def _cut_twice(proxy: Proxy) -> Treatment:
    """Once for aiohttp, which sends again by itself, and once for the store."""
    left = iter([True, True])

    def treat(connection: socket.socket) -> None:
        if next(left, False):
            connection.recv(1000)
        else:
            proxy.forward(connection)

    return treat


async def test_an_upload_that_does_not_get_on_is_given_up(source: SourceMaker) -> None:
    def reply(head: str) -> bytes:
        if head.startswith("POST "):
            return _head("200 OK", Location=f"http://{head.partition('Host: ')[2].partition(chr(13))[0]}/session?x=1")
        return _head("499 Cancelled" if head.startswith("DELETE ") else "308 Resume Incomplete")

    with faulty_server(whole(reply)) as endpoint:
        store = gcs_store(GcsServer(endpoint), "gs://bucket", "fsspec")
        with pytest.raises(Unavailable, match="does not get beyond 0 bytes"):
            await store.write("big", source(b"x" * (17 * 1024**2)))
        await store.aclose()


async def test_a_copy_in_steps(source: SourceMaker) -> None:
    """As between storage classes; and S4: of the version that was asked for."""
    asked: list[str] = []

    def reply(head: str) -> bytes:
        asked.append(head.partition(" HTTP")[0])
        done = "rewriteToken=go-on" in head
        return told_as_json({"done": True, "resource": RESOURCE} if done else {"done": False, "rewriteToken": "go-on"})

    with faulty_server(scripted(reply)) as endpoint:
        store = gcs_store(GcsServer(endpoint), "gs://bucket", "fsspec")
        copied = await store.copy(KEPT, "new")
        await store.aclose()
    assert (copied.key, copied.version) == ("new", "8")
    assert len(asked) == 2 and all("sourceGeneration=7" in line for line in asked)


@engines
async def test_a_long_listing_follows_every_page(engine: str) -> None:
    with gcs_server(environ={"GCS_PAGE": "100"}) as server:
        bucket = GcsBucket(server, "many").create()
        for number in range(250):
            bucket.put(f"d/{number:05}")
        store = gcs_store(server, "gs://many", engine)
        pages = [page async for page in store.list("d/")]
        assert [row.name for page in pages for row in page] == [f"{number:05}" for number in range(250)]
        await store.delete([f"d/{number:05}" for number in range(249)])
        assert list(bucket.list()) == ["d/00249"]
        await store.aclose()


def test_answers_of_a_batch_are_told_by_their_numbers() -> None:
    body = batch_body("b", ["/storage/v1/b/x/o/a", "/storage/v1/b/x/o/b"])
    assert body.count(b"Content-ID: <storemount+") == 2 and body.endswith(b"--b--\r\n")
    part = "--b\r\nContent-Type: application/http\r\nContent-ID: <response-storemount+{}>\r\n\r\nHTTP/1.1 {}\r\n\r\n{{}}\r\n"
    answered = part.format(11, "503 Backend Error") + part.format(0, "204 No Content") + "--b--"
    assert outcomes(answered.encode()) == {11: 503, 0: 204}


async def test_what_a_batch_could_not_delete_is_asked_for_alone() -> None:
    alone: list[str] = []

    def reply(head: str) -> bytes:
        if head.startswith("DELETE "):
            alone.append(head.partition(" HTTP")[0].rpartition("/")[2])
            return response("204 No Content")
        part = "--b\r\nContent-Type: application/http\r\nContent-ID: <response-storemount+{}>\r\n\r\nHTTP/1.1 {}\r\n\r\n\r\n"
        body = "".join(part.format(number, "503 Backend Error" if number == 1 else "204 No Content") for number in range(2))
        return response("200 OK", (body + "--b--").encode())

    with faulty_server(whole(reply)) as endpoint:
        store = gcs_store(GcsServer(endpoint), "gs://bucket", "fsspec")
        await store.delete(["a", "b", "c"])
        await store.aclose()
    assert sorted(alone) == ["b", "c"]


@engines
async def test_a_prefix_is_a_root(engine: str, google_bucket: GcsBucket, source: SourceMaker) -> None:
    google_bucket.put("pre/fix-not/x", b"outside")
    google_bucket.put("pre/fix/")
    store = gcs_store(google_bucket.server, google_bucket.uri.replace("gs:", "gcs:") + "/pre/fix/", engine)
    assert store.uri == google_bucket.uri + "/pre/fix"
    await store.check()
    made = await store.write("a/b", source(b"inside"))
    await store.copy(made, "a//c")
    assert sorted([row.name async for page in store.list("") for row in page]) == ["", "a"]
    assert set(google_bucket.list()) == {"pre/fix-not/x", "pre/fix/", "pre/fix/a/b", "pre/fix/a//c"}
    await store.delete(["a/b", "a//c"])
    assert set(google_bucket.list()) == {"pre/fix-not/x", "pre/fix/"}
    await store.aclose()


@engines
async def test_S3_a_missing_bucket_is_not_a_missing_key(engine: str, google_server: GcsServer, source: SourceMaker) -> None:
    store = gcs_store(google_server, "gs://never-made", engine)
    artifact = Artifact("key", "1", 5, 0)
    calls: list[Callable[[], Awaitable[Any]]] = [
        store.check,
        lambda: store.stat("key"),
        lambda: anext(store.list("")),
        lambda: store.write("key", source(b"x")),
        lambda: store.write("key", source(b"x"), over=artifact),
        lambda: store.write("d/", EMPTY),
        lambda: store.write("key", source(b"x" * LARGE)),
        lambda: store.read(artifact, 0, 5),
        lambda: store.copy(artifact, "new"),
    ]
    if engine == "fsspec":
        # OpenDAL takes every "not found" for a delete that has nothing to do.
        calls.append(lambda: store.delete(["key"]))
    for call in calls:
        with pytest.raises(MissingStore):
            await call()
    await store.aclose()


async def do(store: ArtifactStore, verb: str, source: SourceMaker) -> None:
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "check": store.check,
        "stat": lambda: store.stat("key"),
        "list": lambda: anext(store.list("d/")),
        "read": lambda: store.read(KEPT, 0, 5),
        "write": lambda: store.write("key", source(b"hello")),
        "over": lambda: store.write("key", source(b"hello"), over=KEPT),
        "absent": lambda: store.write("key", source(b"hello"), absent=True),
        "delete": lambda: store.delete(["key"]),
        "copy": lambda: store.copy(KEPT, "new"),
    }
    await calls[verb]()


async def fails(treatment: Treatment, verb: str, source: SourceMaker, engine: str, *, deadline: float = 5.0) -> StoreMountError:
    with faulty_server(treatment) as endpoint:
        store = gcs_store(GcsServer(endpoint), "gs://bucket", engine, deadline=deadline)
        try:
            with pytest.raises(StoreMountError) as caught:
                await do(store, verb, source)
        finally:
            await store.aclose()
    return caught.value


@engines
@pytest.mark.parametrize("verb", VERBS)
async def test_S14_silence_ends_with_the_deadline(engine: str, verb: str, source: SourceMaker) -> None:
    with trio.fail_after(5):
        assert type(await fails(silence, verb, source, engine, deadline=0.5)) is TimedOut


@engines
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("treatment", "kind"),
    [
        pytest.param(reset, Unavailable, id="reset"),
        pytest.param(garbage, Corrupt, id="garbage"),
        pytest.param(answer("401 Unauthorized"), Expired, id="401"),
        pytest.param(answer("403 Forbidden"), Denied, id="403"),
        pytest.param(answer("400 Bad Request"), Invalid, id="400"),
        pytest.param(answer("409 Conflict"), Unavailable, id="409"),
        pytest.param(answer("429 Too Many Requests"), Unavailable, id="429"),
        pytest.param(answer("503 Service Unavailable"), Unavailable, id="503"),
    ],
)
async def test_S3_every_failure_has_its_name(
    engine: str, verb: str, treatment: Treatment, kind: type[StoreMountError], source: SourceMaker
) -> None:
    assert type(await fails(treatment, verb, source, engine)) is kind


@engines
async def test_too_many_requests_is_no_matter_of_credentials(engine: str, source: SourceMaker) -> None:
    """As documented: rateLimitExceeded comes with 429, and with 403 too."""
    told = {"error": {"code": 403, "message": "Too fast", "errors": [{"reason": "rateLimitExceeded", "message": "Too fast"}]}}
    treatment = answer("403 Forbidden", json.dumps(told).encode())
    assert type(await fails(treatment, "read", source, engine)) is Unavailable


@engines
@pytest.mark.parametrize("verb", ["check", "stat", "list", "read", "write", "copy"])
async def test_an_answer_that_is_none_is_corrupt(engine: str, verb: str, source: SourceMaker) -> None:
    assert type(await fails(answer("200 OK", b"<html>hello</html>"), verb, source, engine)) is Corrupt


@engines
@pytest.mark.parametrize("verb", VERBS)
async def test_S14_nobody_there_is_unreachable(engine: str, verb: str, source: SourceMaker) -> None:
    with refused_address() as address:
        store = gcs_store(GcsServer(address), "gs://bucket", engine, deadline=5.0)
        with pytest.raises(Unreachable):
            await do(store, verb, source)
        await store.aclose()


def _head(status: str, **headers: str) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
