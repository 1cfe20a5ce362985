"""The azure flavor: what a description of a container may say, the one line that a wrong one gets, and where the rest comes from."""

from __future__ import annotations

import os

import pytest

from storemount.errors import Denied, ExitCode, Invalid, Refusal
from storemount.stores.azuresettings import AzureSettings
from storemount.stores.bridge import AsyncioThread
from storemount.stores.flavors import FLAVORS, StoreSpec, open_store, spec_of_uri, validate
from storemount.stores.uri import without_password
from tests.support.faults import refused_address

KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
SAS = "sv=2024-11-04&sig=c2VjcmV0LXNlY3JldC1zZWNyZXQ%3D"
WHOLE = f"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={KEY};EndpointSuffix=core.windows.net"
AT_ACCOUNT = "abfs://box@acct.dfs.core.windows.net/models"


def spec(path: str = "abfs://box", **attributes: str) -> StoreSpec:
    return StoreSpec("mine", "azure", path, attributes)


def settings(path: str = "abfs://box", environ: dict[str, str] | None = None, **attributes: str) -> AzureSettings:
    return AzureSettings.of(validate(spec(path, **attributes)).path, attributes, environ or {})


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("abfs://box", "abfs://box"),
        ("az://box/pre/fix/", "az://box/pre/fix"),
        ("ABFSS://box/x", "abfss://box/x"),
        (AT_ACCOUNT + "/", AT_ACCOUNT),
        ("abfss://box@acct.dfs.core.windows.net", "abfss://box@acct.dfs.core.windows.net"),
        ("az://$web", "az://$web"),
        ("az://box/mail@home", "az://box/mail@home"),
    ],
)
def test_a_uri_stands_for_a_container(uri: str, path: str) -> None:
    made = spec_of_uri(uri)
    assert (made.flavor, made.path) == ("azure", path)
    assert validate(made) == made
    assert without_password(path) == path


def test_what_stands_before_an_at_with_a_colon_is_a_password_here_too() -> None:
    assert without_password(f"abfs://user:{KEY}@host/x") == "abfs://host/x"


def test_credentials_of_azure_are_secret() -> None:
    secret = {attribute.name for attribute in FLAVORS["azure"].attributes if attribute.secret}
    assert secret == {"account_key", "sas_token", "connection_string", "client_secret"}
    assert KEY not in repr(settings(account_name="acct", account_key=KEY))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (spec("abfs://"), "write abfs://container/folder"),
        (spec("abfs://My_Box"), "names no container"),
        (spec("abfs://ab"), "3 to 63"),
        (spec("abfs://a--b"), "single hyphens"),
        (spec("abfs://box/a//b"), "empty, '.' or '..' segment"),
        (spec("s3://box"), "use the flavor s3"),
        (spec("/tmp"), "begins with abfs:// or az:// or abfss://"),
        (spec(f"abfs://user:{KEY}@host/x"), "names no container"),
        (spec("abfs://box@host/x"), "not the host of a storage account"),
        (spec("abfs://box@/x"), "not the host of a storage account"),
        (spec(account="acct"), "or account_name?"),
        (spec(account_name="My_Account"), "3 to 24"),
        (spec(AT_ACCOUNT, account_name="other"), "several accounts (acct, other)"),
        (spec(connection_string=WHOLE, account_name="other"), "several accounts (acct, other)"),
        (spec(account_name="acct", account_key="not base64!"), "is not base64"),
        (spec(account_name="acct", account_key=KEY, sas_token=SAS), "account_key and sas_token"),
        (spec(connection_string=WHOLE, sas_token=SAS), "sas_token and connection_string"),
        (spec(account_name="acct", client_secret=KEY), "give all three"),
        (spec(account_name="acct", client_secret=KEY, client_id="a"), "give all three"),
        (spec(account_name="acct", client_id="a", account_key=KEY), "client_id and account_key"),
        (spec(account_name="acct", tenant_id="a"), "goes with client_id"),
        (spec(connection_string=KEY), "copy it whole: DefaultEndpointsProtocol"),
        (spec(connection_string="AccountName=acct"), "neither an AccountKey nor a SharedAccessSignature"),
        (spec(connection_string=f"BlobEndpoint=http://h/acct;AccountKey={KEY}", endpoint="http://h/acct"), "one too many"),
        (spec(account_name="acct", sas_token="sv=2024-11-04&sp=rl"), "in the attribute sas_token has no field sig; copy it whole"),
        (spec(account_name="acct", sas_token=f"https://acct.blob.core.windows.net/box?{SAS}"), "is a whole URL; keep what follows its ?"),
        (spec(connection_string="AccountName=acct;SharedAccessSignature=sv=1"), "in the attribute connection_string has no field sig"),
        (spec(account_name="acct", endpoint="localhost:10000"), "is not a URL"),
        (spec(account_name="acct", endpoint="http://h/acct", client_id="a"), "goes only to an https endpoint; write https://"),
        (spec(endpoint="https://storage.example.org"), "set the attribute account_name beside the endpoint"),
    ],
)
def test_a_wrong_description_of_a_container_is_one_line(wrong: StoreSpec, said: str) -> None:
    with pytest.raises(Refusal) as caught:
        open_store(wrong)
    assert caught.value.code is ExitCode.BAD_CONFIGURATION
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert KEY not in caught.value.message and "sig=" not in caught.value.message


def test_an_account_that_nothing_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(Refusal, match="set the attribute account_name"):
        open_store(spec())


@pytest.mark.parametrize(
    ("made", "account", "endpoint"),
    [
        (settings(account_name="acct"), "acct", "https://acct.blob.core.windows.net"),
        (settings(AT_ACCOUNT), "acct", "https://acct.blob.core.windows.net"),
        (settings("abfs://box@acct.dfs.core.chinacloudapi.cn"), "acct", "https://acct.blob.core.chinacloudapi.cn"),
        (settings(connection_string=WHOLE), "acct", "https://acct.blob.core.windows.net"),
        (settings(connection_string=f"BlobEndpoint=http://127.0.0.1:1/dev/;AccountKey={KEY}"), "dev", "http://127.0.0.1:1/dev"),
        (settings(endpoint="https://acct.blob.example.org", account_key=KEY), "acct", "https://acct.blob.example.org"),
        (settings(account_name="acct", endpoint="http://127.0.0.1:1/acct"), "acct", "http://127.0.0.1:1/acct"),
    ],
)
def test_where_the_account_is(made: AzureSettings, account: str, endpoint: str) -> None:
    assert (made.account, made.endpoint) == (account, endpoint)


def test_what_is_not_given_comes_from_the_environment() -> None:
    made = settings(environ={"AZURE_STORAGE_ACCOUNT_NAME": "acct", "AZURE_STORAGE_ACCOUNT_KEY": KEY})
    assert (made.account, made.key) == ("acct", KEY)
    made = settings(environ={"AZURE_STORAGE_ACCOUNT": "acct", "AZURE_STORAGE_SAS_TOKEN": "?" + SAS})
    assert (made.account, made.key, made.sas) == ("acct", None, SAS)
    made = settings(environ={"AZURE_STORAGE_CONNECTION_STRING": WHOLE})
    assert (made.account, made.key) == ("acct", KEY)


def test_what_is_given_goes_before_the_environment() -> None:
    environ = {"AZURE_STORAGE_CONNECTION_STRING": WHOLE, "AZURE_STORAGE_ACCOUNT_NAME": "acct", "AZURE_STORAGE_ACCOUNT_KEY": KEY}
    other = settings(environ=environ, account_name="other")
    assert (other.account, other.key, other.sas) == ("other", None, None)
    signed = settings(environ=environ, account_name="acct", sas_token=SAS)
    assert (signed.key, signed.sas) == (None, SAS)
    identity = settings(environ=environ, account_name="acct", client_id="application")
    assert (identity.key, identity.client_id) == (None, "application")


def test_a_connection_string_of_the_environment_that_is_none() -> None:
    with pytest.raises(Invalid, match="AZURE_STORAGE_CONNECTION_STRING is not a connection string"):
        settings(environ={"AZURE_STORAGE_CONNECTION_STRING": KEY.strip("=")})


NAMED = {"AZURE_STORAGE_ACCOUNT_NAME": "acct"}


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({**NAMED, "AZURE_STORAGE_ACCOUNT_KEY": "not base64!"}, "the account key in the environment (AZURE_STORAGE_...) is not base64"),
        ({**NAMED, "AZURE_STORAGE_SAS_TOKEN": "sv=1"}, "access signature in the environment (AZURE_STORAGE_...) has no field sig"),
        (NAMED, "no key and no signature is given, and a token of Microsoft Entra goes only to an https endpoint; set account_key"),
    ],
)
def test_what_is_wrong_in_the_environment_is_one_line(environ: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [variable for variable in os.environ if variable.startswith("AZURE_")]:
        monkeypatch.delenv(variable)
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(Refusal, check=lambda refusal: said in refusal.message):
        open_store(spec(endpoint="http://127.0.0.1:1/acct"))


async def test_a_token_is_the_matter_of_the_engine_that_can_renew_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(variable, raising=False)
    keyed, token = open_store(spec(account_name="acct", account_key=KEY)), open_store(spec(account_name="acct"))
    assert (keyed.traits.engine, token.traits.engine) == ("native", "fsspec")
    with pytest.raises(Refusal, match="use --engine fsspec"):
        open_store(spec(account_name="acct"), engine="native")
    await keyed.aclose()
    await token.aclose()


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({}, "DefaultAzureCredential"),
        ({"client_id": "identity"}, "DefaultAzureCredential"),
        ({"client_id": "application", "client_secret": "word", "tenant_id": "tenant"}, "ClientSecretCredential"),
    ],
)
async def test_who_we_are_without_a_key(attributes: dict[str, str], kind: str) -> None:
    credential = settings(account_name="acct", **attributes).credential()
    assert type(credential).__name__ == kind
    loop = AsyncioThread("credential")
    await loop.run(credential.close)
    await loop.aclose()


async def test_nobody_at_all_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the one source of tokens that asks nobody outside this machine."""
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    monkeypatch.setenv("PATH", "/nonexistent")
    with refused_address() as address:
        store = open_store(spec(account_name="acct", endpoint=address.replace("http:", "https:") + "/acct"))
        with pytest.raises(Denied):
            await store.check()
        await store.aclose()
