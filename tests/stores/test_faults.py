"""How the S3 engines take a store that fails (S3, S14): the right name for each failure, within the deadline, and never wrong data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager

import pytest
import trio

from storemount.errors import (
    Changed,
    Corrupt,
    Denied,
    Expired,
    Invalid,
    InvalidName,
    MissingStore,
    NoSpace,
    NotADirectory,
    StoreMountError,
    TimedOut,
    Unavailable,
    Unreachable,
    Unrecognised,
)
from storemount.stores.base import Artifact, ArtifactStore
from storemount.stores.flavors import StoreSpec, open_store
from tests.stores.conftest import ENGINES, SourceMaker, s3_store
from tests.support.faults import (
    Treatment,
    answer,
    error,
    faulty_server,
    garbage,
    refusal,
    refused_address,
    reset,
    response,
    scripted,
    silence,
)
from tests.support.readme import told
from tests.support.servers import REGION, S3Server, guarded_moto_server, moto_server

ARTIFACT = Artifact("key", '"e"', 5, 0)
VERBS = ["check", "stat", "list", "read", "write", "over", "absent", "sweep", "delete", "copy"]
WRITTEN = 3 * 20 * 1024 * 1024

Verb = Callable[[], Awaitable[object]]


@asynccontextmanager
async def opened(endpoint: str, engine: str, deadline: float) -> AsyncIterator[ArtifactStore]:
    store = s3_store(S3Server(endpoint), "s3://bucket", engine, deadline=deadline)
    try:
        yield store
    finally:
        await store.aclose()


def calls(store: ArtifactStore, source: SourceMaker) -> dict[str, Verb]:
    """Every verb of the store, ready to be called."""

    async def listed() -> None:
        async with aclosing(store.list("")) as pages:
            async for _ in pages:
                return

    return {
        "check": store.check,
        "stat": lambda: store.stat("key"),
        "list": listed,
        "read": lambda: store.read(ARTIFACT, 0, 5),
        "write": lambda: store.write("key", source(b"hello")),
        "over": lambda: store.write("key", source(b"hello"), over=ARTIFACT),
        "absent": lambda: store.write("key", source(b"hello"), absent=True),
        "sweep": lambda: store.sweep("key"),
        "delete": lambda: store.delete(["key"]),
        "copy": lambda: store.copy(ARTIFACT, "other"),
    }


async def failures(store: ArtifactStore, source: SourceMaker, *verbs: str) -> dict[str, StoreMountError]:
    """How each of the verbs fails; all are called at once, because some clients take their time to try again."""
    found: dict[str, StoreMountError] = {}

    async def call(name: str, verb: Verb) -> None:
        with pytest.raises(StoreMountError) as caught:
            await verb()
        found[name] = caught.value

    async with trio.open_nursery() as nursery:
        for name, verb in calls(store, source).items():
            if name in (verbs or VERBS):
                nursery.start_soon(call, name, verb)
    return found


def kinds(found: dict[str, StoreMountError]) -> dict[str, str]:
    return {name: type(error).__name__ for name, error in found.items()}


def each(kind: type[StoreMountError], *verbs: str) -> dict[str, str]:
    return dict.fromkeys(verbs or VERBS, kind.__name__)


@pytest.mark.parametrize("engine", ENGINES)
async def test_s14_a_silent_store_times_out_within_the_deadline(engine: str, source: SourceMaker) -> None:
    with faulty_server(silence) as endpoint:
        async with opened(endpoint, engine, 2.0) as store:
            with trio.fail_after(6):  # the deadline, and the first import of a client on a busy machine
                found = await failures(store, source)
    assert kinds(found) == each(TimedOut)


@pytest.mark.parametrize("engine", ENGINES)
async def test_s14_a_store_that_is_down_is_unreachable(engine: str, source: SourceMaker) -> None:
    with refused_address() as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            with trio.fail_after(10):
                found = await failures(store, source)
    assert kinds(found) == each(Unreachable)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("treat", "expected"),
    [
        pytest.param(refusal("503 Slow Down", "SlowDown"), Unavailable, id="slow-down"),
        pytest.param(refusal("500 Internal Server Error", "InternalError"), Unavailable, id="internal-error"),
        pytest.param(reset, Unavailable, id="reset"),
        pytest.param(refusal("403 Forbidden", "AccessDenied"), Denied, id="access-denied"),
        pytest.param(refusal("400 Bad Request", "ExpiredToken"), Expired, id="expired-token"),
        pytest.param(refusal("400 Bad Request", "QuotaExceeded"), NoSpace, id="quota"),
        pytest.param(refusal("409 Conflict", "ObjectParentIsFile"), NotADirectory, id="below-a-file"),
    ],
)
async def test_s3_a_failure_has_its_name(engine: str, treat: Treatment, expected: type[StoreMountError], source: SourceMaker) -> None:
    with faulty_server(treat) as endpoint:
        async with opened(endpoint, engine, 10.0) as store:
            found = await failures(store, source)
    assert kinds(found) == each(expected)


@pytest.mark.parametrize("engine", ENGINES)
async def test_s3_no_such_bucket_is_a_missing_store(engine: str, source: SourceMaker) -> None:
    verbs = ("check", "stat", "list", "read", "write", "over", "absent", "sweep", "copy")
    with faulty_server(refusal("404 Not Found", "NoSuchBucket")) as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            found = await failures(store, source, *verbs)
    assert kinds(found) == each(MissingStore, *verbs)


@pytest.mark.parametrize("engine", ENGINES)
async def test_s3_a_listing_that_is_not_found_is_a_missing_store_and_never_an_empty_one(engine: str, source: SourceMaker) -> None:
    """As something in front of the store answers while the store itself restarts."""
    verbs = ("check", "stat", "list")
    with faulty_server(answer("404 Not Found", b"default backend - 404")) as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            found = await failures(store, source, *verbs)
    assert kinds(found) == each(MissingStore, *verbs)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("key", ["a", "a//b", "d/"])
async def test_a_name_that_the_server_cannot_find_its_way_to(engine: str, key: str, source: SourceMaker) -> None:
    """A write never ends in "not found", which would be tried again for ever."""
    with faulty_server(refusal("404 Not Found", "NoSuchKey")) as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            with pytest.raises(InvalidName):
                await store.write(key, source(b"" if key.endswith("/") else b"hello"))


@pytest.mark.parametrize("engine", ENGINES)
async def test_s2_a_name_that_is_not_text_is_refused(engine: str, source: SourceMaker) -> None:
    with refused_address() as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            with pytest.raises(InvalidName):
                await store.write("latin-\udce9", source(b"hello"))


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
@pytest.mark.parametrize(
    "treat", [garbage, answer("200 OK", b"<!doctype html><html><head><meta name=a><p>Log in</html>")], ids=["noise", "html"]
)
async def test_s3_nonsense_is_never_an_absent_file(engine: str, treat: Treatment, source: SourceMaker) -> None:
    with faulty_server(treat) as endpoint:
        async with opened(endpoint, engine, 10.0) as store:
            found = await failures(store, source, "stat", "list", "read")
    assert len(found) == 3
    assert all(isinstance(error, (Unavailable, Corrupt)) for error in found.values()), kinds(found)


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_region_that_a_bucket_is_in_is_named(engine: str) -> None:
    body = error("AuthorizationHeaderMalformed").replace(b"</Message>", b"</Message><Region>eu-central-1</Region>")
    answered = response("400 Bad Request", body).replace(b"Content-Type", b"x-amz-bucket-region: eu-central-1\r\nContent-Type")
    with faulty_server(scripted(lambda head: answered)) as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            with pytest.raises(Invalid, check=lambda error: told("the bucket is in the region", str(error))):
                await store.check()


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_region_that_only_the_words_of_the_refusal_name(engine: str) -> None:
    """As AWS has it: OpenDAL leaves out the field beside them."""
    said = b"The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'"
    body = error("AuthorizationHeaderMalformed").replace(b"no</Message>", said + b"</Message><Region>eu-central-1</Region>")
    with faulty_server(answer("400 Bad Request", body)) as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            with pytest.raises(Invalid, check=lambda error: told("the bucket is in the region", str(error))):
                await store.check()


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
async def test_refused_credentials_are_denied(engine: str, guarded: S3Server, source: SourceMaker) -> None:
    for server in (S3Server(guarded.endpoint, guarded.key, "wrong-secret"), S3Server(guarded.endpoint, "unknown", guarded.secret)):
        store = s3_store(server, "s3://bucket", engine)
        found = await failures(store, source)
        assert kinds(found) == each(Unrecognised)
        assert not any(server.secret in str(error) for error in found.values())
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
        with pytest.raises(Denied, check=lambda error: told("no credentials were found", str(error))):
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
            with pytest.raises(StoreMountError) as caught:
                await store.write("big", big)
            errors.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload)
            while not await trio.to_thread.run_sync(bucket.uploads):
                assert bucket.list() == {}, "the upload ended before the server could be killed"
            server.kill()
        await store.aclose()
    assert isinstance(errors[0], Unavailable)
    assert told("may be left in the store", caplog.text) if engine == "native" else told("is left in the store", caplog.text)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_read_is_given_up_at_once(engine: str) -> None:
    with faulty_server(silence) as endpoint:
        async with opened(endpoint, engine, 30.0) as store:
            with trio.move_on_after(0.5) as scope, trio.fail_after(10):
                await store.read(ARTIFACT, 0, 5)
    assert scope.cancelled_caught


@pytest.mark.parametrize("engine", ENGINES)
async def test_waiting_for_a_listing_stops_nobody(engine: str) -> None:
    """S14: no engine keeps the interpreter's lock while it waits; the server that is waited for lives in this very process."""
    empty = (
        b'<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><Prefix></Prefix><IsTruncated>false</IsTruncated></ListBucketResult>'
    )
    with faulty_server(answer("200 OK", empty)) as endpoint:
        async with opened(endpoint, engine, 3.0) as store:
            await store.check()
            assert [page async for page in store.list("")] == []
