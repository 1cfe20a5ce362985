"""The gcp flavor: what a description of a bucket may say, the one line that a wrong one gets, and where the rest comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storemount.errors import ExitCode, Refusal
from storemount.stores.flavors import FLAVORS, StoreSpec, open_store, spec_of_uri, validate
from storemount.stores.gcssettings import GOOGLE, GcsSettings

SECRET = "very-secret-value"
USER = {"type": "authorized_user", "client_id": "i", "client_secret": SECRET, "refresh_token": SECRET}


def spec(path: str = "gs://bucket", **attributes: str) -> StoreSpec:
    return StoreSpec("mine", "gcp", path, attributes)


@pytest.mark.parametrize(
    ("uri", "path"),
    [("gs://bucket", "gs://bucket"), ("gcs://bucket/pre/fix/", "gs://bucket/pre/fix"), ("GS://a.b_c-d", "gs://a.b_c-d")],
)
def test_a_uri_stands_for_a_bucket(uri: str, path: str) -> None:
    made = spec_of_uri(uri)
    assert (made.flavor, made.path) == ("gcp", path)
    assert validate(made) == made


def test_credentials_of_google_are_secret() -> None:
    assert {attribute.name for attribute in FLAVORS["gcp"].attributes if attribute.secret} == {"token"}
    assert SECRET not in repr(GcsSettings.of("gs://bucket", {"token": SECRET}))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (spec("gs://"), "write gs://bucket or gs://bucket/prefix"),
        (spec("gs://My_Bucket"), "in small letters"),
        (spec("gs://ab"), "is not a bucket"),
        (spec(f"gs://{SECRET}@bucket"), "give them as the attribute token"),
        (spec("gs://bucket/a//b"), "empty, '.' or '..' segment"),
        (spec("s3://bucket"), "use the flavor s3"),
        (spec(tokn="x"), "did you mean token"),
        (spec(endpoint="localhost:4443"), "write http://host:port"),
        (spec(token=SECRET), "neither a file here nor a JSON object"),
        (spec(token="{" + SECRET), "is not JSON"),
        (spec(token=json.dumps({"private_key": SECRET})), 'has no "type"'),
        (spec(token=json.dumps({"type": "service_account", "private_key": SECRET})), "lacks client_email, token_uri"),
        (spec(token=json.dumps({"type": SECRET})), "service_account, authorized_user"),
    ],
)
def test_a_wrong_description_of_a_bucket_is_one_line(wrong: StoreSpec, said: str) -> None:
    with pytest.raises(Refusal) as caught:
        open_store(wrong)
    assert caught.value.code is ExitCode.BAD_CONFIGURATION
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert SECRET not in caught.value.message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'["very-secret-value"]', 'has no "type"'),
        (b'{"type": "service_account", "private_key": "very-secret-value"}', "lacks client_email, token_uri"),
    ],
)
def test_a_file_without_credentials_is_seen_when_it_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "key.json").write_bytes(content)
    with pytest.raises(Refusal) as caught:
        validate(spec(token=str(tmp_path / "key.json")))
    assert f"the file that the attribute token names {said}" in caught.value.message
    assert "write token=/its/path" in caught.value.message and SECRET not in caught.value.message


def test_the_native_engine_refuses_what_it_would_ignore() -> None:
    with pytest.raises(Refusal, match="use --engine fsspec"):
        open_store(spec(requester_pays="project"), engine="native")


async def test_credentials_that_make_sense_are_taken(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text(json.dumps(USER))
    for token in ("", "anon", "cloud", "google_default", json.dumps(USER), str(tmp_path / "key.json"), "ya29.token"):
        await open_store(spec(token=token)).aclose()


@pytest.mark.parametrize(
    ("attributes", "host", "endpoint", "token"),
    [
        ({}, "", GOOGLE, ""),
        ({}, "127.0.0.1:4443", "http://127.0.0.1:4443", "anon"),
        ({"token": "cloud"}, "http://127.0.0.1:4443/", "http://127.0.0.1:4443", "cloud"),
        ({"endpoint": "https://storage.example.org"}, "127.0.0.1:4443", "https://storage.example.org", ""),
    ],
)
def test_where_the_server_is(attributes: dict[str, str], host: str, endpoint: str, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", host)
    made = GcsSettings.of("gs://bucket/pre", attributes)
    assert (made.endpoint, made.token, made.uri, made.root) == (endpoint, token, "gs://bucket/pre", "pre/")
