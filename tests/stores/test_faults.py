"""How the S3 engines take a store that fails (S3, S14): the right name for each failure, within the deadline, and never wrong data."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager

import pytest
import trio

from storemount.errors import (
    Changed,
    Corrupt,
    Denied,
    Invalid,
    MissingStore,
    NoSpace,
    NotFound,
    StoreMountError,
    TimedOut,
    Unavailable,
    Unreachable,
)
from storemount.stores.base import Artifact, ArtifactStore
from storemount.stores.flavors import StoreSpec, open_store
from tests.stores.conftest import ENGINES, SourceMaker, s3_store
from tests.support.faults import Treatment, answer, faulty_server, garbage, refusal, refused_address, reset, silence
from tests.support.servers import REGION, S3Server, guarded_moto_server, moto_server

ARTIFACT = Artifact("key", '"e"', 5, 0)
VERBS = ["check", "stat", "list", "read", "write", "delete", "copy"]
WRITTEN = 3 * 20 * 1024 * 1024

Verb = Callable[[], Awaitable[object]]


@asynccontextmanager
async def opened(endpoint: str, engine: str, deadline: float) -> AsyncIterator[ArtifactStore]:
    store = s3_store(S3Server(endpoint), "s3://bucket", engine, deadline=deadline)
    try:
        yield store
    finally:
        await store.aclose()


def verb(store: ArtifactStore, name: str, source: SourceMaker) -> Verb:
    async def listed() -> None:
        async with aclosing(store.list("")) as pages:
            async for _ in pages:
                return

    calls: dict[str, Verb] = {
        "check": store.check,
        "stat": lambda: store.stat("key"),
        "list": listed,
        "read": lambda: store.read(ARTIFACT, 0, 5),
        "write": lambda: store.write("key", source(b"hello")),
        "delete": lambda: store.delete(["key"]),
        "copy": lambda: store.copy(ARTIFACT, "other"),
    }
    return calls[name]


async def failure(call: Verb) -> StoreMountError:
    with pytest.raises(StoreMountError) as caught:
        await call()
    return caught.value


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", VERBS)
async def test_s14_a_silent_store_times_out_within_the_deadline(engine: str, name: str, source: SourceMaker) -> None:
    with faulty_server(silence) as endpoint:
        async with opened(endpoint, engine, 1.0) as store:
            with trio.fail_after(4):  # the deadline, and the first import of a client on a busy machine
                error = await failure(verb(store, name, source))
    assert type(error) is TimedOut


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", VERBS)
async def test_s14_a_store_that_is_down_is_unreachable(engine: str, name: str, source: SourceMaker) -> None:
    with refused_address() as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            with trio.fail_after(8):
                error = await failure(verb(store, name, source))
    assert type(error) is Unreachable


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize(
    ("treat", "expected"),
    [
        pytest.param(refusal("503 Slow Down", "SlowDown"), Unavailable, id="slow-down"),
        pytest.param(refusal("500 Internal Server Error", "InternalError"), Unavailable, id="internal-error"),
        pytest.param(reset, Unavailable, id="reset"),
        pytest.param(refusal("403 Forbidden", "AccessDenied"), Denied, id="access-denied"),
        pytest.param(refusal("400 Bad Request", "ExpiredToken"), Denied, id="expired-token"),
        pytest.param(refusal("400 Bad Request", "QuotaExceeded"), NoSpace, id="quota"),
    ],
)
async def test_s3_a_failure_has_its_name(
    engine: str, name: str, treat: Treatment, expected: type[StoreMountError], source: SourceMaker
) -> None:
    with faulty_server(treat) as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            error = await failure(verb(store, name, source))
    assert type(error) is expected


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["check", "stat", "list", "read", "write", "copy"])
async def test_s3_no_such_bucket_is_a_missing_store(engine: str, name: str, source: SourceMaker) -> None:
    with faulty_server(refusal("404 Not Found", "NoSuchBucket")) as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            error = await failure(verb(store, name, source))
    assert type(error) is MissingStore


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("treat", "expected"),
    [
        pytest.param(answer("206 Partial Content", b"he", length=5), Corrupt, id="cut-short"),
        pytest.param(answer("206 Partial Content", b"he"), Corrupt, id="too-short"),
        pytest.param(answer("200 OK", b"hello world"), Corrupt, id="range-ignored"),
        pytest.param(refusal("416 Requested Range Not Satisfiable", "InvalidRange"), Corrupt, id="no-such-range"),
        pytest.param(refusal("404 Not Found", "NoSuchKey"), Changed, id="gone"),
        pytest.param(refusal("412 Precondition Failed", "PreconditionFailed"), Changed, id="replaced"),
    ],
)
async def test_s4_what_is_not_the_asked_bytes_is_never_data(engine: str, treat: Treatment, expected: type[StoreMountError]) -> None:
    with faulty_server(treat) as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            with pytest.raises(expected):
                await store.read(ARTIFACT, 0, 5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["stat", "list", "read"])
@pytest.mark.parametrize(
    "treat", [garbage, answer("200 OK", b"<!doctype html><html><head><meta name=a><p>Log in</html>")], ids=["noise", "html"]
)
async def test_s3_nonsense_is_never_an_absent_file(engine: str, name: str, treat: Treatment, source: SourceMaker) -> None:
    with faulty_server(treat) as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            error = await failure(verb(store, name, source))
    assert not isinstance(error, NotFound)
    assert isinstance(error, (Unavailable, Corrupt))


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_bucket_in_another_region_is_said_so(engine: str) -> None:
    with faulty_server(refusal("400 Bad Request", "AuthorizationHeaderMalformed")) as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            with pytest.raises(Invalid, match="region"):
                await store.check()


@pytest.fixture(scope="module")
def guarded() -> Iterator[S3Server]:
    with guarded_moto_server() as server:
        with server.client("bucket") as bucket:
            bucket.create()
        yield server


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", VERBS)
async def test_refused_credentials_are_denied(engine: str, name: str, guarded: S3Server, source: SourceMaker) -> None:
    for server in (S3Server(guarded.endpoint, guarded.key, "wrong"), S3Server(guarded.endpoint, "unknown", guarded.secret)):
        store = s3_store(server, "s3://bucket", engine)
        error = await failure(verb(store, name, source))
        assert type(error) is Denied
        assert server.secret not in str(error)
        await store.aclose()


@pytest.mark.parametrize("engine", ENGINES)
async def test_accepted_credentials_work(engine: str, guarded: S3Server, source: SourceMaker) -> None:
    """Without a listing: moto computes another signature for the slash in OpenDAL's query (AWS and Ceph do not)."""
    store = s3_store(guarded, "s3://bucket", engine)
    made = await store.write("key", source(b"hello"))
    assert bytes(await store.read(made, 1, 5)) == b"ello"
    await store.aclose()


@pytest.mark.parametrize("engine", ENGINES)
async def test_no_credentials_at_all_is_denied(engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with refused_address() as endpoint:
        store = open_store(StoreSpec("test", "s3", "s3://bucket", {"endpoint": endpoint, "region": REGION}), engine=engine)
        with pytest.raises(Denied):
            await store.check()
        await store.aclose()


@pytest.mark.parametrize("engine", ENGINES)
async def test_s6_a_server_that_dies_in_the_middle_of_an_upload(engine: str, source: SourceMaker, caplog: pytest.LogCaptureFixture) -> None:
    big = source(b"x" * WRITTEN)
    errors: list[StoreMountError] = []
    with moto_server() as server, server.client("bucket") as bucket:
        bucket.create()
        store = s3_store(server, "s3://bucket", engine, deadline=4.0)

        async def upload() -> None:
            errors.append(await failure(lambda: store.write("big", big)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload)
            while not await trio.to_thread.run_sync(bucket.uploads):
                assert bucket.list() == {}, "the upload ended before the server could be killed"
            server.kill()
        await store.aclose()
    assert isinstance(errors[0], Unavailable)
    assert "left in the store" in caplog.text


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_read_is_given_up_at_once(engine: str) -> None:
    with faulty_server(silence) as endpoint:
        async with opened(endpoint, engine, 30.0) as store:
            with trio.move_on_after(0.5) as scope, trio.fail_after(10):
                await store.read(ARTIFACT, 0, 5)
    assert scope.cancelled_caught


async def test_waiting_for_a_listing_stops_nobody() -> None:
    """S14: no engine keeps the interpreter's lock while it waits. The server that is waited for answers from this very process."""
    held = answer(
        "200 OK",
        b'<?xml version="1.0"?><ListBucketResult><Name>b</Name><Prefix></Prefix><IsTruncated>false</IsTruncated></ListBucketResult>',
    )

    def slow(connection: socket.socket) -> None:
        sum(range(1_000_000))
        held(connection)

    with faulty_server(slow) as endpoint:
        async with opened(endpoint, "native", 2.0) as store:
            await store.check()
