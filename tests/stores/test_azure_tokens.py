"""Tokens that end while a store is open: the next one is fetched in place, and no request fails for it (S14)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.azurite import ACCOUNT, azurite
from tests.support.identity import certificate, managed_identity

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
