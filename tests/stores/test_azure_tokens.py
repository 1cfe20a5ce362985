"""Tokens that end while a store is open: the next one is fetched in place, and no request fails for it (S14); signatures that end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from storemount.errors import Denied, Expired
from storemount.stores.credentials import AGAIN
from storemount.stores.flavors import StoreSpec, open_store
from tests.stores.conftest import ENGINES, SourceMaker
from tests.stores.test_azure_faults import VERBS
from tests.stores.test_faults import each, failures, kinds
from tests.support.azurite import ACCOUNT, ContainerView, azurite
from tests.support.faults import answer, azure_refusal, faulty_server
from tests.support.identity import certificate, managed_identity
from tests.support.proxy import proxy_to

PROGRAM = """
import sys, trio
from storemount.stores.base import EMPTY
from storemount.stores.flavors import StoreSpec, open_store

async def main():
    store = open_store(StoreSpec("x", "azure", "abfs://container", {"account_name": sys.argv[1], "endpoint": sys.argv[2]}))
    await store.write("key", EMPTY)
    print("written", flush=True)
    while sys.stdin.readline().strip():
        print((await store.stat("key")).artifact.key, flush=True)
    await store.aclose()

trio.run(main)
"""


def test_s14_a_token_that_ends_is_replaced_in_place(tmp_path: Path) -> None:
    """A managed identity, against Azurite with TLS; in a process of its own, which trusts the certificate."""
    public, private = certificate(tmp_path)
    options = ("--oauth", "basic", "--cert", str(public), "--key", str(private))
    with azurite(*options) as server, managed_identity(lasts=1) as identity, server.client("container") as container:
        container.trust(public).create()
        environ = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
        environ |= {**identity.environ(), "SSL_CERT_FILE": str(public)}
        words = [sys.executable, "-c", PROGRAM, ACCOUNT, server.endpoint]
        with subprocess.Popen(words, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdin is not None and program.stdout is not None
            assert program.stdout.readline() == "written\n"
            while identity.issued < 3:
                program.stdin.write("again\n")
                program.stdin.flush()
                assert program.stdout.readline() == "key\n"
            program.stdin.close()
        assert program.returncode == 0
        assert container.list() == {"key": 0}


def spec(endpoint: str, container: str, sas: str) -> StoreSpec:
    return StoreSpec("test", "azure", f"abfs://{container}", {"account_name": ACCOUNT, "endpoint": endpoint, "sas_token": sas})


@pytest.mark.parametrize("engine", ENGINES)
async def test_s14_a_signature_in_a_file_is_read_again(engine: str, container: ContainerView, source: SourceMaker, tmp_path: Path) -> None:
    """An ended one is Expired, whatever was asked; with a new one all goes on, in the same open store."""
    file = tmp_path / "sas"
    file.write_text(container.signature(minutes=-10))
    store = open_store(spec(container.server.endpoint, container.name, f"file:{file}"), engine=engine)
    found = await failures(store, source, *VERBS)
    assert kinds(found) == each(Expired, *VERBS)
    assert not any("sig=" in str(error) for error in found.values())
    file.write_text(container.signature(minutes=10) + "\n")
    await trio.sleep(AGAIN)
    written = await store.write("key", source(b"hello"))
    assert bytes(await store.read(written, 0, 5)) == b"hello"
    await store.aclose()


@pytest.mark.parametrize("engine", ENGINES)
async def test_S14_a_signature_that_was_withdrawn(engine: str, container: ContainerView, source: SourceMaker, tmp_path: Path) -> None:
    """Nothing in it says when it ends, and OpenDAL leaves out the details: that it was good, and is not, is told as an end. (Azurite has
    another word for a wrong signature, so that the service's own is given here.)"""
    file = tmp_path / "sas"
    file.write_text(container.policy())
    with proxy_to(container.server.endpoint) as proxy:
        store = open_store(spec(proxy.endpoint, container.name, f"file:{file}"), engine=engine)
        written = await store.write("key", source(b"hello"))
        proxy.become(azure_refusal("403 Forbidden", "AuthenticationFailed"))
        found = await failures(store, source, *VERBS)
        assert kinds(found) == each(Expired, *VERBS)
        proxy.become(proxy.forward)
        file.write_text(container.signature(minutes=10))
        await trio.sleep(AGAIN)
        assert bytes(await store.read(written, 0, 5)) == b"hello"
        await store.aclose()


async def test_a_signature_that_azure_says_has_ended() -> None:
    """By a policy of the container's, or by another clock than ours; Azurite leaves out the details, which are Azure's own here."""
    detail = "Signature not valid in the specified time frame: Start [a] - Expiry [b] - Current [c]"
    body = "<Error><Code>AuthenticationFailed</Code><Message>Server failed to authenticate the request.</Message>"
    body = f'<?xml version="1.0"?>{body}<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail></Error>'
    lines = "x-ms-error-code: AuthenticationFailed\r\n"
    with faulty_server(answer("403 Forbidden", body.encode(), lines=lines)) as endpoint:
        store = open_store(spec(f"{endpoint}/{ACCOUNT}", "container", "si=policy&sv=2024-11-04&sr=c&sig=c2ln"), engine="fsspec")
        with pytest.raises(Expired, match="the credentials have expired; renew them"):
            await store.check()
        await store.aclose()


async def test_a_login_that_gives_no_token_has_expired(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("AZURE_", "IDENTITY_", "MSI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    attributes = {"account_name": ACCOUNT, "endpoint": f"https://127.0.0.1:1/{ACCOUNT}"}
    store = open_store(StoreSpec("test", "azure", "abfs://container", attributes))
    with pytest.raises(Denied) as caught:
        await store.check()
    await store.aclose()
    assert isinstance(caught.value, Expired)
