"""The credentials of Google Cloud Storage: every place they come from, and what replaces them while a store is open (S14)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.exceptions import RefreshError, TransportError

from storemount.errors import Denied, Expired, Unavailable, Unreachable
from storemount.stores.flavors import StoreSpec, open_store
from storemount.stores.gcserrors import translate
from tests.stores.conftest import GCS
from tests.support.faults import faulty_server, response, told_as_json, whole

engines = pytest.mark.parametrize("engine", [name.removeprefix("gcs-") for name in GCS])


# One server is both the store and what gives tokens out.


@pytest.fixture(scope="module")
def key() -> str:
    private = rsa.generate_private_key(65537, 2048)
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()


class Google:
    """Gives out the tokens t1, t2, ..., each for so many seconds, and takes only those from `good` on."""

    def __init__(self, good: int, seconds: int = 3600) -> None:
        self.good, self.given, self.seconds = good, 0, seconds
        self.seen: list[str] = []

    def __call__(self, head: str) -> bytes:
        if head.startswith("POST /token"):
            self.given += 1
            return told_as_json({"access_token": f"t{self.given}", "expires_in": self.seconds, "token_type": "Bearer"})
        self.seen.append(head.lower().partition("authorization: bearer ")[2].partition("\r\n")[0])
        if int(self.seen[-1].removeprefix("ya29.").removeprefix("t")) < self.good:
            return response("401 Unauthorized")
        return told_as_json({"items": []})


@pytest.fixture
def google() -> Iterator[Callable[[Google], str]]:
    servers = []

    def start(script: Google) -> str:
        servers.append(faulty_server(whole(script)))
        return servers[-1].__enter__()

    yield start
    for server in servers:
        server.__exit__(None, None, None)


def account(endpoint: str, key: str) -> str:
    told = {"type": "service_account", "client_email": "tester@example.org", "private_key": key, "token_uri": f"{endpoint}/token"}
    return json.dumps(told)


@engines
@pytest.mark.parametrize("form", ["object", "file", "ambient"])
async def test_credentials_in_every_place(
    engine: str, form: str, google: Callable[[Google], str], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Google(good=1)
    endpoint = google(script)
    attributes = {"endpoint": endpoint, "token": account(endpoint, key)}
    if form != "object":
        (tmp_path / "key.json").write_text(attributes.pop("token"))
        if form == "file":
            attributes["token"] = str(tmp_path / "key.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    store = open_store(StoreSpec("test", "gcp", "gs://bucket", attributes), engine=engine, deadline=5.0)
    await store.check()
    await store.check()
    await store.aclose()
    assert (script.given, script.seen) == (1, ["t1", "t1"])


@engines
async def test_a_token_that_is_about_to_end_is_replaced_in_place(engine: str, google: Callable[[Google], str], key: str) -> None:
    script = Google(good=1, seconds=60)
    endpoint = google(script)
    spec = StoreSpec("test", "gcp", "gs://bucket", {"endpoint": endpoint, "token": account(endpoint, key)})
    store = open_store(spec, engine=engine, deadline=5.0)
    await store.check()
    await store.check()
    await store.aclose()
    assert script.seen == ["t1", "t2"]


@engines
async def test_S14_a_token_that_is_not_taken_any_more_is_replaced_in_place(engine: str, google: Callable[[Google], str], key: str) -> None:
    script = Google(good=1)
    endpoint = google(script)
    spec = StoreSpec("test", "gcp", "gs://bucket", {"endpoint": endpoint, "token": account(endpoint, key)})
    store = open_store(spec, engine=engine, deadline=5.0)
    await store.check()
    script.good = 2
    await store.check()
    await store.check()
    assert (script.given, script.seen) == (2, ["t1", "t1", "t2", "t2"])
    script.good = 9
    with pytest.raises(Expired, match="the credentials have expired; renew them"):
        await store.check()
    assert script.seen[-2:] == ["t2", "t3"], "what a login could mend is not tried again and again"
    await store.aclose()


@engines
async def test_an_access_token_by_itself_is_taken_until_it_ends(engine: str, google: Callable[[Google], str]) -> None:
    script = Google(good=1)
    spec = StoreSpec("test", "gcp", "gs://bucket", {"endpoint": google(script), "token": "ya29.1"})
    store = open_store(spec, engine=engine, deadline=5.0)
    await store.check()
    script.good = 2
    for _ in range(2):
        with pytest.raises(Expired) as caught:
            await store.check()
    await store.aclose()
    assert (script.given, set(script.seen)) == (0, {"ya29.1"})
    assert "ya29" not in str(caught.value)


@engines
async def test_an_access_token_in_a_file_is_read_again(engine: str, google: Callable[[Google], str], tmp_path: Path) -> None:
    """As `gcloud auth print-access-token` writes it, every now and then."""
    script = Google(good=1)
    (tmp_path / "token").write_text("ya29.1\n")
    spec = StoreSpec("test", "gcp", "gs://bucket", {"endpoint": google(script), "token": str(tmp_path / "token")})
    store = open_store(spec, engine=engine, deadline=5.0)
    await store.check()
    script.good = 2
    with pytest.raises(Expired):
        await store.check()
    (tmp_path / "token").write_text("ya29.2\n")
    await store.check()
    await store.aclose()
    assert script.seen[-1] == "ya29.2"


@engines
async def test_credentials_that_google_refuses_have_expired_until_somebody_logs_in(
    engine: str, google: Callable[[Google], str], key: str, tmp_path: Path
) -> None:
    """What is said of a login that was revoked, or has run out; the file that the next login writes is read."""
    refusing = whole(lambda head: response("400 Bad Request", json.dumps({"error": "invalid_grant"}).encode()))
    with faulty_server(refusing) as refused:
        endpoint = google(Google(good=1))
        (tmp_path / "login.json").write_text(account(refused, key))
        spec = StoreSpec("test", "gcp", "gs://bucket", {"endpoint": endpoint, "token": str(tmp_path / "login.json")})
        store = open_store(spec, engine=engine, deadline=5.0)
        with pytest.raises(Expired, match="invalid_grant"):
            await store.check()
        (tmp_path / "login.json").write_text(account(endpoint, key))
        await store.check()
        await store.aclose()


@pytest.mark.parametrize("content", ["{ half of", "[1]", '{"type": "service_account"}', "a secret"])
async def test_a_file_that_turns_into_something_else_is_waited_for(
    content: str, google: Callable[[Google], str], key: str, tmp_path: Path
) -> None:
    """Whoever writes it anew may be half-way: one line, without what is in it, and no "no" for good."""
    endpoint = google(Google(good=1, seconds=60))
    file = tmp_path / "key.json"
    file.write_text(account(endpoint, key))
    store = open_store(StoreSpec("test", "gcp", "gs://bucket", {"endpoint": endpoint, "token": str(file)}), deadline=5.0)
    file.write_text(content)
    with pytest.raises(Expired) as caught:
        await store.check()
    assert f"{file} is not what Google gives out (" in str(caught.value) and content not in str(caught.value)
    file.write_text(account(endpoint, key))
    await store.check()
    await store.aclose()


async def test_what_google_says_of_a_key_is_told_in_its_words_alone(key: str) -> None:
    told = json.dumps({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}).encode()
    with faulty_server(whole(lambda head: response("400 Bad Request", told))) as refused:
        store = open_store(StoreSpec("test", "gcp", "gs://bucket", {"endpoint": refused, "token": account(refused, key)}), deadline=5.0)
        with pytest.raises(Expired) as caught:
            await store.check()
        await store.aclose()
    assert str(caught.value) == "the credentials: invalid_grant: Invalid JWT Signature."


@engines
async def test_what_the_credentials_may_not_do_is_denied(engine: str) -> None:
    with faulty_server(whole(lambda head: response("403 Forbidden"))) as endpoint:
        store = open_store(StoreSpec("test", "gcp", "gs://bucket", {"endpoint": endpoint, "token": "anon"}), engine=engine, deadline=5.0)
        with pytest.raises(Denied) as caught:
            await store.check()
        await store.aclose()
    assert not isinstance(caught.value, Expired)


def test_a_token_server_that_fails_says_nothing_of_the_credentials() -> None:
    """google-auth tries for seconds before it says so; here only what it says."""
    assert type(translate(RefreshError("internal_failure", retryable=True), "x")) is Unavailable
    assert type(translate(RefreshError("invalid_grant"), "x")) is Expired
    assert type(translate(TransportError("no route"), "x")) is Unreachable


async def test_no_credentials_anywhere_have_to_come_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing"))
    store = open_store(StoreSpec("test", "gcp", "gs://bucket", {"endpoint": "http://127.0.0.1:1"}), deadline=5.0)
    with pytest.raises(Expired):
        await store.check()
    await store.aclose()
