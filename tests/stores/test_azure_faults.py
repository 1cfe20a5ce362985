"""How the Azure engines take a store that fails (S3, S14): the right name for each failure, within the deadline, and never wrong data."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from storemount.errors import (
    Changed,
    Corrupt,
    Denied,
    Expired,
    InvalidName,
    MissingStore,
    StoreMountError,
    TimedOut,
    Unavailable,
    Unreachable,
    Unrecognised,
)
from storemount.stores.base import EMPTY, Artifact, ArtifactStore
from storemount.stores.flavors import StoreSpec, open_store
from tests.stores.conftest import ENGINES, SourceMaker, azure_store
from tests.stores.test_faults import ARTIFACT, WRITTEN, each, failures, kinds
from tests.support.azurite import ACCOUNT, AzureServer, azurite
from tests.support.faults import (
    Treatment,
    answer,
    azure_refusal,
    faulty_server,
    garbage,
    refused_address,
    reset,
    response,
    scripted,
    silence,
)

RANGE = "Content-Range: bytes 0-4/5\r\n"
KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
VERBS = ("check", "stat", "list", "read", "write", "over", "absent", "delete", "copy")
"""All but `sweep`, which has nothing to ask."""

engines = pytest.mark.parametrize("engine", ENGINES)


@asynccontextmanager
async def opened(endpoint: str, engine: str, deadline: float) -> AsyncIterator[ArtifactStore]:
    store = azure_store(AzureServer(f"{endpoint}/{ACCOUNT}", KEY), "az://bucket", engine, deadline=deadline)
    try:
        yield store
    finally:
        await store.aclose()


@engines
async def test_s14_a_silent_azure_times_out_within_the_deadline(engine: str, source: SourceMaker) -> None:
    with faulty_server(silence) as endpoint:
        async with opened(endpoint, engine, 2.0) as store:
            with trio.fail_after(6):  # the deadline, and the first import of a client on a busy machine
                found = await failures(store, source, *VERBS)
    assert kinds(found) == each(TimedOut, *VERBS)


@engines
async def test_s14_an_azure_that_is_down_is_unreachable(engine: str, source: SourceMaker) -> None:
    with refused_address() as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            with trio.fail_after(10):
                found = await failures(store, source, *VERBS)
    assert kinds(found) == each(Unreachable, *VERBS)


@engines
@pytest.mark.parametrize(
    ("treat", "expected"),
    [
        pytest.param(azure_refusal("503 Server Busy", "ServerBusy"), Unavailable, id="server-busy"),
        pytest.param(azure_refusal("500 Internal Server Error", "InternalError"), Unavailable, id="internal-error"),
        pytest.param(azure_refusal("500 Internal Server Error", "OperationTimedOut"), TimedOut, id="timed-out"),
        pytest.param(azure_refusal("429 Too Many Requests", "TooManyRequests"), Unavailable, id="throttled"),
        pytest.param(reset, Unavailable, id="reset"),
        pytest.param(azure_refusal("403 Forbidden", "AuthenticationFailed"), Unrecognised, id="wrong-key"),
        pytest.param(azure_refusal("403 Forbidden", "AuthorizationPermissionMismatch"), Denied, id="not-allowed"),
        pytest.param(azure_refusal("401 Unauthorized", "InvalidAuthenticationInfo"), Expired, id="expired-token"),
        pytest.param(azure_refusal("412 Precondition Failed", "LeaseIdMissing"), Unavailable, id="leased"),
    ],
)
async def test_s3_a_failure_of_azure_has_its_name(
    engine: str, treat: Treatment, expected: type[StoreMountError], source: SourceMaker
) -> None:
    with faulty_server(treat) as endpoint:
        async with opened(endpoint, engine, 10.0) as store:
            found = await failures(store, source, *VERBS)
    assert kinds(found) == each(expected, *VERBS)
    assert not any(KEY in str(error) for error in found.values())


@engines
@pytest.mark.parametrize("code", ["ContainerNotFound", "ContainerBeingDeleted"])
async def test_s3_no_such_container_is_a_missing_store(engine: str, code: str, source: SourceMaker) -> None:
    verbs = tuple(verb for verb in VERBS if verb != "delete")
    with faulty_server(azure_refusal("404 Not Found", code)) as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            found = await failures(store, source, *verbs)
    assert kinds(found) == each(MissingStore, *verbs)


@engines
async def test_s3_a_listing_that_azure_does_not_find_is_a_missing_store(engine: str, source: SourceMaker) -> None:
    """As something in front of the store answers while the store itself restarts."""
    verbs = ("check", "stat", "list")
    with faulty_server(answer("404 Not Found", b"default backend - 404")) as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            found = await failures(store, source, *verbs)
    assert kinds(found) == each(MissingStore, *verbs)


@engines
@pytest.mark.parametrize("key", ["a", "a//b", "d/"])
async def test_a_name_that_azure_cannot_find_its_way_to(engine: str, key: str, source: SourceMaker) -> None:
    """A write never ends in "not found", which would be tried again for ever."""
    with faulty_server(azure_refusal("404 Not Found", "BlobNotFound")) as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            with pytest.raises(InvalidName):
                await store.write(key, EMPTY if key.endswith("/") else source(b"hello"))


@engines
@pytest.mark.parametrize(
    ("treat", "expected"),
    [
        pytest.param(answer("206 Partial Content", b"he", length=5, lines=RANGE), Corrupt, id="cut-short"),
        pytest.param(answer("206 Partial Content", b"he", lines=RANGE), Corrupt, id="too-short"),
        pytest.param(answer("200 OK", b"hello world"), Corrupt, id="range-ignored"),
        pytest.param(azure_refusal("416 Requested Range Not Satisfiable", "InvalidRange"), Corrupt, id="no-such-range"),
        pytest.param(azure_refusal("404 Not Found", "BlobNotFound"), Changed, id="gone"),
        pytest.param(azure_refusal("412 Precondition Failed", "ConditionNotMet"), Changed, id="replaced"),
    ],
)
async def test_s4_what_is_not_the_asked_bytes_of_a_blob_is_never_data(
    engine: str, treat: Treatment, expected: type[StoreMountError]
) -> None:
    with faulty_server(treat) as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            with pytest.raises(expected):
                await store.read(ARTIFACT, 0, 5)


@engines
@pytest.mark.parametrize(
    "treat", [garbage, answer("200 OK", b"<!doctype html><html><head><meta name=a><p>Log in</html>")], ids=["noise", "html"]
)
async def test_s3_nonsense_is_never_an_absent_blob(engine: str, treat: Treatment, source: SourceMaker) -> None:
    with faulty_server(treat) as endpoint:
        async with opened(endpoint, engine, 10.0) as store:
            found = await failures(store, source, "stat", "list", "read")
    assert len(found) == 3
    assert all(isinstance(error, Unavailable | Corrupt) for error in found.values()), kinds(found)


@engines
async def test_credentials_that_azure_refuses_are_denied(engine: str, azure_server: AzureServer, source: SourceMaker) -> None:
    forged = {"account_name": ACCOUNT, "endpoint": azure_server.endpoint}
    forged["sas_token"] = "?sv=2024-11-04&ss=b&srt=sco&sp=rwdlac&se=2120-01-01T00:00:00Z&sig=c2lnbmF0dXJl"
    wrong = AzureServer(azure_server.endpoint, KEY).attributes()
    for attributes in (forged, wrong):
        store = open_store(StoreSpec("test", "azure", "abfs://container", attributes), engine=engine)
        found = await failures(store, source, *VERBS)
        assert kinds(found) == each(Denied, *VERBS)
        assert not any("sig=" in str(error) or KEY in str(error) for error in found.values())
        await store.aclose()


@engines
async def test_s6_an_azure_that_dies_in_the_middle_of_an_upload(engine: str, source: SourceMaker) -> None:
    big = source(b"x" * WRITTEN)
    with azurite() as server, server.client("container") as container:
        container.create()
        store = azure_store(server, container.uri, engine, deadline=4.0)

        async def upload() -> None:
            with pytest.raises(Unavailable):
                await store.write("big", big)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload)
            while not await trio.to_thread.run_sync(container.blocks, "big"):
                assert container.list() == {}, "the upload ended before the server could be killed"
            server.kill()
        await store.aclose()


@engines
async def test_a_read_from_azure_is_given_up_at_once(engine: str) -> None:
    with faulty_server(silence) as endpoint:
        async with opened(endpoint, engine, 30.0) as store:
            with trio.move_on_after(0.5) as scope, trio.fail_after(10):
                await store.read(ARTIFACT, 0, 5)
    assert scope.cancelled_caught


class SlowCopy:
    """A container whose copies are made in their own time: each HEAD of the copy tells the next of `states`."""

    def __init__(self, *states: str) -> None:
        self._states = iter(states)
        self.requests: list[str] = []

    def _state(self) -> str:
        if "PUT abort" in self.requests:
            return "aborted"
        return next(self._states)

    def __call__(self, head: str) -> bytes:
        line = head.partition("\r\n")[0]
        self.requests.append(line.partition(" ")[0] + (" abort" if "comp=copy" in line else ""))
        if line.startswith("HEAD "):
            return response("200 OK", lines=f"x-ms-copy-id: one\r\nx-ms-copy-status: {self._state()}\r\nx-ms-blob-type: BlockBlob\r\n")
        if line.startswith("PUT ") and "comp=copy" not in line:
            return response("202 Accepted", lines="x-ms-copy-id: one\r\nx-ms-copy-status: pending\r\n")
        return response("204 No Content" if "comp=copy" in line else "202 Accepted")


async def copied(slow: SlowCopy, engine: str) -> Artifact:
    with faulty_server(scripted(slow)) as endpoint:
        async with opened(endpoint, engine, 6.0) as store:
            return await store.copy(ARTIFACT, "other")


@engines
async def test_a_copy_that_takes_its_time_is_waited_for(engine: str) -> None:
    slow = SlowCopy("pending", "pending", "success")
    assert (await copied(slow, engine)).key == "other"
    assert slow.requests == ["PUT", "HEAD", "HEAD", "HEAD"]


@engines
async def test_s6_a_copy_that_fails_leaves_no_empty_blob(engine: str) -> None:
    slow = SlowCopy("pending", "failed")
    with pytest.raises(Unavailable, match="ended as failed"):
        await copied(slow, engine)
    assert slow.requests == ["PUT", "HEAD", "HEAD", "PUT abort", "HEAD", "DELETE"]


@engines
async def test_s6_a_copy_that_is_given_up_leaves_no_empty_blob(engine: str) -> None:
    slow = SlowCopy(*["pending"] * 1000)
    with trio.move_on_after(1):
        await copied(slow, engine)
    assert slow.requests[-3:] == ["PUT abort", "HEAD", "DELETE"]
