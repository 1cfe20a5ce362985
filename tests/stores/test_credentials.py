"""Where the keys of a bucket come from, and that new ones are used before and after they expire (S14)."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import trio
import trio.testing

from storemount.errors import Denied, Expired, TimedOut, Unreachable, Unrecognised, refused_for_good
from storemount.stores.base import ArtifactStore
from storemount.stores.credentials import AGAIN, PAUSE, SKEW, Credentials, Found, Keys, ambient, by_reference
from storemount.stores.deadline import Deadlined
from storemount.stores.flavors import StoreSpec, open_store
from tests.stores.conftest import ENGINES, SourceMaker
from tests.support.aws import CONTAINER, Vault, nowhere, only_saying, only_with, vault
from tests.support.faults import faulty_server, refusal, refused_address, silence
from tests.support.proxy import Proxy, proxy_to
from tests.support.readme import told
from tests.support.servers import REGION, BucketClient, S3Server

SECRET = "role-secret"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without any credentials."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in nowhere(str(tmp_path)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def role() -> Iterator[Vault]:
    with vault() as made:
        yield made


@pytest.fixture
def on_an_instance(monkeypatch: pytest.MonkeyPatch, role: Vault) -> Vault:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", role.endpoint)
    return role


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[Proxy]:
    with proxy_to(s3_server.endpoint) as relay:
        yield relay


@asynccontextmanager
async def opened(bucket: BucketClient, proxy: Proxy, engine: str, **attributes: str) -> AsyncIterator[ArtifactStore]:
    attributes = {"endpoint": proxy.endpoint, "region": REGION, **attributes}
    store = open_store(StoreSpec("test", "s3", bucket.uri, attributes), engine=engine, deadline=10.0)
    try:
        yield store
    finally:
        await store.aclose()


def configure(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)


# where they come from


def test_instance_metadata(on_an_instance: Vault) -> None:
    keys = ambient(None)().keys
    assert (keys.key, keys.token) == ("key-1", on_an_instance.token)


def test_container_metadata(role: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", role.endpoint + CONTAINER)
    assert ambient(None)().keys.token == role.token


def test_single_sign_on(role: Vault, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    start = "https://example.awsapps.com/start"
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", role.endpoint)
    configure(
        tmp_path,
        f"[profile work]\nsso_start_url={start}\nsso_region=eu-west-1\nsso_account_id=123456789012\nsso_role_name=r\nregion=eu-west-3\n",
    )
    cache = tmp_path / ".aws/sso/cache"
    cache.mkdir(parents=True)
    token = {"startUrl": start, "region": "eu-west-1", "accessToken": "portal", "expiresAt": "2099-01-01T00:00:00Z"}
    (cache / f"{hashlib.sha1(start.encode()).hexdigest()}.json").write_text(json.dumps(token))
    # botocore looks for its home when it is imported.
    script = "from storemount.stores.credentials import ambient; keys = ambient('work')().keys; print(keys.token, keys.region)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [role.token, "eu-west-3"]


def test_a_single_sign_on_that_has_run_out_is_expired(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    account = "sso_account_id=123456789012\nsso_role_name=r\n"
    configure(tmp_path, f"[profile work]\nsso_start_url=https://absent.example.org/start\nsso_region=eu-west-1\n{account}")
    with pytest.raises(Expired, match=r"Token for https://absent\.example\.org/start does not exist") as caught:
        ambient("work")()
    assert told("Error loading SSO Token", str(caught.value))


def test_web_identity(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "identity").write_text("a signed statement")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "identity"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/worker")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", s3_server.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    found = ambient(None)()
    assert found.keys.token and found.keys.region == REGION
    assert found.due(7200) and not found.due(60)


def test_a_process_and_what_its_profile_says_of_the_store(tmp_path: Path) -> None:
    told = json.dumps({"Version": 1, "AccessKeyId": "from-process", "SecretAccessKey": SECRET})
    (tmp_path / "told.json").write_text(told)
    command = f"{sys.executable} -c \"print(open('{tmp_path}/told.json').read())\""
    configure(tmp_path, f"[profile mine]\ncredential_process={command}\nregion=eu-west-3\nendpoint_url=http://127.0.0.1:1\n")
    keys = ambient("mine")().keys
    assert (keys.key, keys.region, keys.endpoint) == ("from-process", "eu-west-3", "http://127.0.0.1:1")
    assert SECRET not in repr(keys)


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    found = ambient(None)()
    assert found.keys.key == "from-environment"
    assert not found.due(SKEW)


@pytest.mark.parametrize("profile", [None, "absent"])
def test_none_at_all_is_told_and_may_pass(profile: str | None) -> None:
    with pytest.raises(Expired, match="credentials") as caught:
        ambient(profile)()
    assert isinstance(caught.value, Denied) and not refused_for_good(caught.value)


def test_a_service_that_is_down_is_no_refusal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "identity").write_text("a signed statement")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "identity"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/worker")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with refused_address() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", endpoint)
        with pytest.raises(Unreachable):
            ambient(None)()


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    look = by_reference({"key": "k", "secret": f"file:{tmp_path}/secret"})
    with pytest.raises(Expired, match=r"secret, which the attribute secret names: No such file"):
        look()
    for secret in ("one", "two"):
        (tmp_path / "secret").write_text(secret + "\n")
        assert look().keys == Keys("k", secret)


# when they are looked for


class Looks:
    """Keys that live for `life` seconds of trio's clock; each look gives others."""

    def __init__(self, life: float) -> None:
        self.life = life
        self.count = 0
        self.broken = False

    def look(self) -> Found:
        if self.broken:
            raise Expired("broken")
        self.count += 1
        end = trio.from_thread.run_sync(trio.current_time) + self.life
        return Found(Keys(f"key-{self.count}", SECRET), lambda seconds: trio.current_time() + seconds >= end)


async def test_many_tasks_wait_for_one_look(autojump_clock: trio.testing.MockClock) -> None:
    looks = Looks(3600)
    credentials = Credentials(looks.look)
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(credentials.obtain)
    assert looks.count == 1


async def test_they_are_replaced_before_they_expire(mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture) -> None:
    looks = Looks(3600)
    credentials = Credentials(looks.look)
    assert (await credentials.obtain()).key == "key-1"
    mock_clock.jump(3600 - SKEW - 1)
    assert (await credentials.obtain()).key == "key-1"
    mock_clock.jump(2)
    looks.broken = True
    assert (await credentials.obtain()).key == "key-1", "they still work, and are used until they do not"
    assert told("the credentials expire soon", caplog.text)
    looks.broken = False
    assert (await credentials.obtain()).key == "key-1", "and nobody is asked all the time"
    mock_clock.jump(PAUSE)
    assert (await credentials.obtain()).key == "key-2"


async def test_a_failed_look_is_not_repeated_at_once(mock_clock: trio.testing.MockClock) -> None:
    looks = Looks(3600)
    looks.broken = True
    credentials = Credentials(looks.look)
    with pytest.raises(Expired):
        await credentials.obtain()
    looks.broken = False
    with pytest.raises(Expired):
        await credentials.obtain()
    mock_clock.jump(AGAIN)
    assert (await credentials.obtain()).key == "key-1"


# in use


@pytest.mark.parametrize("engine", ENGINES)
async def test_S14_an_expired_token_is_renewed_and_the_request_done_again(
    engine: str, bucket: BucketClient, proxy: Proxy, on_an_instance: Vault, source: SourceMaker
) -> None:
    """Each verb meets an expired token of its own, and none fails."""
    role = on_an_instance
    proxy.become(only_with(proxy, role))
    bucket.put("key", b"hello")
    async with opened(bucket, proxy, engine) as store:
        await store.check()
        artifact = (await store.stat("key")).artifact
        assert artifact is not None
        verbs: dict[str, Callable[[], object]] = {
            "read": lambda: store.read(artifact, 0, 5),
            "write": lambda: store.write("written", source(b"x" * 100)),
            "over": lambda: store.write("key", source(b"HELLO"), over=artifact),
            "stat": lambda: store.stat("written"),
            "sweep": lambda: store.sweep("key"),
            "delete": lambda: store.delete(["written"]),
        }
        for number, (name, verb) in enumerate(verbs.items(), 1):
            role.rotate()
            with trio.fail_after(10):
                await verb()  # type: ignore[misc]
            assert role.given == number + 1, name
        role.rotate()
        assert [row.name async for page in store.list("") for row in page] == ["key"]
    assert bucket.get("key") == b"HELLO"


@pytest.mark.parametrize("engine", ENGINES)
async def test_S14_many_requests_that_meet_an_expired_token_ask_for_one(
    engine: str, bucket: BucketClient, proxy: Proxy, on_an_instance: Vault, source: SourceMaker
) -> None:
    role = on_an_instance
    proxy.become(only_with(proxy, role))
    async with opened(bucket, proxy, engine) as store:
        await store.check()
        role.rotate()
        async with trio.open_nursery() as nursery:
            for number in range(16):
                nursery.start_soon(store.write, f"key-{number}", source(b"data"))
    assert len(bucket.list()) == 16
    assert role.given == 2


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_token_given_as_a_file_is_read_again(engine: str, bucket: BucketClient, proxy: Proxy, role: Vault, tmp_path: Path) -> None:
    proxy.become(only_with(proxy, role))
    (tmp_path / "token").write_text("an old one")
    async with opened(bucket, proxy, engine, key="k", secret=SECRET, token=f"file:{tmp_path}/token") as store:
        with pytest.raises(Expired, match="the credentials have expired; renew them") as caught:
            await store.check()
        assert SECRET not in str(caught.value)
        (tmp_path / "token").write_text(role.token + "\n")
        await trio.sleep(AGAIN)
        await store.check()


@pytest.mark.parametrize("engine", ENGINES)
async def test_S14_keys_that_were_withdrawn(engine: str, bucket: BucketClient, proxy: Proxy, source: SourceMaker, tmp_path: Path) -> None:
    """Keys that the server has never known are a no. Those that it knew are waited for: the next ones stand in their file some day."""
    keys = tmp_path / "key"
    keys.write_text("first")

    def know(key: str) -> None:
        proxy.become(only_saying(proxy, lambda: f"Credential={key}/", refusal("403 Forbidden", "InvalidAccessKeyId")))

    async with opened(bucket, proxy, engine, key=f"file:{keys}", secret=SECRET) as store:
        know("second")
        with pytest.raises(Unrecognised, match="InvalidAccessKeyId") as caught:
            await store.check()
        assert refused_for_good(caught.value)
        know("first")
        await store.check()
        know("second")
        with pytest.raises(Expired, match=r"key: the credentials have expired; renew them .*\(InvalidAccessKeyId\)") as late:
            await store.write("key", source(b"hello"))
        assert not refused_for_good(late.value)
        keys.write_text("second")
        await trio.sleep(AGAIN)
        await store.write("key", source(b"hello"))
        know("third")
        keys.write_text("third")
        await trio.sleep(AGAIN)
        assert [row.name async for page in store.list("") for row in page] == ["key"]
    assert bucket.get("key") == b"hello"


@pytest.mark.parametrize("engine", ENGINES)
async def test_S14_a_look_that_hangs_ends_with_the_deadline(
    engine: str, bucket: BucketClient, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty_server(silence) as endpoint:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint + CONTAINER)
        async with opened(bucket, proxy, engine) as store:
            with pytest.raises(TimedOut), trio.fail_after(5):
                await Deadlined(store, 1.0).check()


async def test_keys_that_live_shortly_are_renewed_in_time(bucket: BucketClient, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    with vault(timedelta(seconds=2)) as role:
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", role.endpoint)
        async with opened(bucket, proxy, "native") as store:
            await store.check()
            role.rotate()
            proxy.become(only_with(proxy, role))
            await trio.sleep(2.1)
            await store.check()
    assert role.number == 2
