"""Flavors: what a description of a store may say, and the one line that a wrong one gets."""

from __future__ import annotations

import json

import pytest

from storemount.errors import ExitCode, Refusal
from storemount.stores.flavors import FLAVORS, StoreSpec, json_attribute, open_store, place_of, spec_of_uri, validate
from storemount.stores.flavors.user import UserFlavor
from storemount.stores.user.source import ClassSource

SECRET = "very-secret-value"


def spec(flavor: str, path: str, **attributes: str) -> StoreSpec:
    return StoreSpec("mine", flavor, path, attributes)


def refusal(wrong: StoreSpec, engine: str = "auto") -> str:
    with pytest.raises(Refusal) as caught:
        open_store(wrong, engine=engine)
    assert caught.value.code is ExitCode.BAD_CONFIGURATION
    assert "\n" not in caught.value.message
    assert SECRET not in caught.value.message
    return caught.value.message


def test_every_flavor_has_an_engine_and_a_summary() -> None:
    assert set(FLAVORS) == {"local", "s3", "gcp", "azure", "memory", "custom"}
    assert all(flavor.engines and flavor.summary and name == flavor.name for name, flavor in FLAVORS.items())
    assert all(attribute.help for flavor in FLAVORS.values() for attribute in flavor.attributes)


def test_credentials_are_secret() -> None:
    assert {attribute.name for attribute in FLAVORS["s3"].attributes if attribute.secret} == {"key", "secret", "token"}


@pytest.mark.parametrize(
    ("uri", "flavor", "path"),
    [
        ("s3://bucket", "s3", "s3://bucket"),
        ("s3://bucket/pre/fix/", "s3", "s3://bucket/pre/fix"),
        ("S3://bucket", "s3", "s3://bucket"),
        ("file:///a%20b", "local", "/a b"),
        ("file://localhost/a", "local", "/a"),
        ("/plain/../path/", "local", "/path"),
        ("memory://", "memory", "memory://"),
        ("github://owner:repo@main/", "custom", "github://owner:repo@main/"),
        ("zip::file:///x.zip", "custom", "zip::file:///x.zip"),
    ],
)
def test_a_uri_stands_for_a_store(uri: str, flavor: str, path: str) -> None:
    made = spec_of_uri(uri)
    assert (made.flavor, made.path) == (flavor, path)
    assert validate(made) == made


def test_a_password_in_a_uri_is_not_in_the_name() -> None:
    made = spec_of_uri(f"ftp://user:{SECRET}@host/folder")
    assert made.name == "ftp://host/folder"
    assert SECRET in made.path


def test_secrets_are_not_in_the_repr() -> None:
    assert SECRET not in repr(spec("s3", "s3://bucket", key="k", secret=SECRET))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (spec("s33", "s3://bucket"), "did you mean s3?"),
        (spec("zzz", "s3://bucket"), "known: local, s3, gcp, azure, memory, custom"),
        (spec("s3", "s3://bucket", kye="x"), "did you mean key"),
        (spec("local", "/tmp", key="x"), "it takes none"),
        (spec("s3", "/tmp"), "begins with s3://, such as s3://my-bucket"),
        (spec("s3", "file:///tmp"), "use the flavor local"),
        (spec("local", "s3://bucket"), "use the flavor s3"),
        (spec("local", "gs://bucket"), "use the flavor gcp"),
        (spec("local", ""), "the path is empty"),
        (spec("local", "file://relative/path"), "file:///the/path"),
        (spec("s3", "s3://"), "write s3://bucket"),
        (spec("s3", "s3:///prefix"), "write s3://bucket"),
        (spec("s3", f"s3://key:{SECRET}@bucket"), "credentials do not belong in the URI"),
        (spec("s3", "s3://bucket/a//b"), "empty, '.' or '..' segment"),
        (spec("s3", "s3://bucket/../b"), "empty, '.' or '..' segment"),
        (spec("s3", "s3://bucket", client_kwargs="{" + SECRET), "client_kwargs is not JSON"),
        (spec("s3", "s3://bucket", client_kwargs="[1]"), "not a JSON object"),
        (spec("s3", "s3://bucket", key="k"), "key and secret belong together"),
        (spec("s3", "s3://bucket", key="k", secret="s", profile="p"), "keep one of them"),
        (spec("s3", "s3://bucket", key="file:relative", secret="s"), "write file:/the/path"),
        (spec("s3", "s3://bucket", key="file:///somewhere", secret="s"), "write file:/the/path"),
        (spec("s3", "s3://bucket", endpoint="localhost:9000"), "write http://host:port"),
        (spec("s3", "s3://bucket", endpoint="http://a", client_kwargs='{"endpoint_url": "http://b"}'), "differ"),
        (spec("custom", "/tmp"), "for a folder, use the flavor local"),
        (spec("custom", "sfpt://host/x"), "did you mean sftp"),
        (spec("custom", "memory://", options="nonsense"), "options is not JSON"),
        (spec("custom", "simplecache::https://host/x"), "a mount has a cache of its own; leave it out"),
        (spec("custom", "opendal+wbedav://x"), "OpenDAL has no service 'wbedav' here"),
        (spec("custom", "opendal+webdav://x"), "endpoint is empty"),
        (spec("custom", "opendal+fs://a/../b"), "empty, '.' or '..' segment"),
        (spec("custom", "opendal+fs://a", options='{"root": ["/"]}'), "the option root is not a text"),
    ],
)
def test_a_wrong_description_is_one_line(wrong: StoreSpec, said: str) -> None:
    assert said in refusal(wrong)


def test_a_known_uri_with_a_slip_suggests_the_right_one() -> None:
    with pytest.raises(Refusal, match="did you mean s3"):
        spec_of_uri("s4://bucket")


def test_an_engine_that_the_flavor_has_not() -> None:
    assert "no engine 'native'" in refusal(spec("local", "/tmp"), "native")
    assert "no engine 'native'; the native one opens opendal+SERVICE://" in refusal(spec("custom", "memory://x"), "native")
    assert "no engine 'fsspec'" in refusal(spec("custom", "opendal+memory://x"), "fsspec")
    assert "auto or native or fsspec" in refusal(spec("s3", "s3://bucket"), "warp")


def test_the_native_engine_refuses_what_it_would_ignore() -> None:
    wrong = spec("s3", "s3://bucket", client_kwargs='{"verify": false}', s3_additional_kwargs='{"RequestPayer": "requester"}')
    assert "client_kwargs.verify, s3_additional_kwargs.RequestPayer" in refusal(wrong, "native")


async def test_auto_takes_the_engine_that_knows_everything_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    plain = open_store(spec("s3", "s3://bucket", key="k", secret="s", region="us-east-1"))
    special = open_store(spec("s3", "s3://bucket", key="k", secret="s", client_kwargs='{"verify": false}'))
    assert (plain.traits.engine, special.traits.engine) == ("native", "fsspec")
    await plain.aclose()
    await special.aclose()


async def test_a_bundle_of_certificates_that_only_botocore_reads_chooses_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/etc/ssl/ours.pem")
    keys = {"key": "k", "secret": "s", "region": "us-east-1"}
    for endpoint, engine in (("https://127.0.0.1:1", "fsspec"), ("http://127.0.0.1:1", "native")):
        store = open_store(spec("s3", "s3://bucket", endpoint=endpoint, **keys))
        assert store.traits.engine == engine
        await store.aclose()
    assert "the variable AWS_CA_BUNDLE" in refusal(spec("s3", "s3://bucket", **keys), "native")


def test_a_protocol_whose_package_is_missing_says_what_to_install() -> None:
    said = refusal(spec("custom", "wandb://entity/project"))
    assert "install" in said.lower()


def test_S8_what_waits_for_one_store_is_not_taken_up_by_another_of_the_same_path() -> None:
    own = UserFlavor("mine", ClassSource("a.B"), ("mine://",), ("host", "api_token"), ("api_token",)).flavor()

    def mine(**told: str) -> str:
        return place_of(StoreSpec("s", "mine", "mine://x", told, own))

    def custom(**told: str) -> str:
        return place_of(spec("custom", "dir://", options=json.dumps(told)))

    assert len({mine(), mine(host="a"), mine(host="b"), custom(path="/a"), custom(path="/b")}) == 5
    assert mine(host="a", api_token="old") == mine(host="a", api_token="new")
    assert custom(path="/a", password="old") == custom(path="/a", password="new")
    assert place_of(spec("local", "/tmp")) == place_of(spec("custom", "dir://")) == mine() == ""


def test_json_attributes() -> None:
    assert json_attribute(spec("s3", "s3://b", client_kwargs='{"a": 1}'), "client_kwargs") == {"a": 1}
    assert json_attribute(spec("s3", "s3://b"), "client_kwargs") == {}
