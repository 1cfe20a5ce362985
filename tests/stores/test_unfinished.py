"""An upload that outlives its keys goes on with the next ones, with the parts that are stored (S14, S6)."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest
import trio

from storemount.errors import Expired
from storemount.stores.base import Source
from storemount.stores.credentials import AGAIN
from storemount.stores.flavors import StoreSpec, open_store
from storemount.stores.parts import read_part
from tests.stores.conftest import ENGINES, SourceMaker
from tests.support.aws import Vault, only_with, vault
from tests.support.faults import Treatment
from tests.support.proxy import Proxy, proxy_to
from tests.support.servers import REGION, BucketClient

MIB = 1024 * 1024
PARTS = 8


class Counting:
    """What `only_with` does; the token is replaced before part `late` is let through, and counts the parts that came through."""

    def __init__(self, proxy: Proxy, role: Vault, late: int) -> None:
        self._pass: Treatment = only_with(proxy, role)
        self._role = role
        self._late = late
        self.parts: list[int] = []

    def __call__(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head = connection.recv(1 << 16, socket.MSG_PEEK)
            if not head:
                return
        if (found := re.match(rb"PUT \S*partNumber=(\d+)", head)) is not None:
            if len(self.parts) == self._late:
                self._role.rotate()
                self._late = -1
            if self._role.token.encode() in head:
                self.parts.append(int(found[1]))
        self._pass(connection)


def numbered(source: SourceMaker) -> Source:
    return source(b"".join(bytes([number]) * (8 * MIB) for number in range(PARTS)))


def attributes(proxy: Proxy, token: Path) -> dict[str, str]:
    return {"endpoint": proxy.endpoint, "region": REGION, "key": "k", "secret": "s", "token": f"file:{token}"}


@pytest.mark.parametrize("engine", ENGINES)
async def test_S14_an_upload_goes_on_with_the_keys_that_come_later(
    engine: str, bucket: BucketClient, source: SourceMaker, tmp_path: Path
) -> None:
    """They are there only when it is tried again, as a queue does."""
    token = tmp_path / "token"
    with proxy_to(bucket.server.endpoint) as proxy, vault() as role:
        counting = Counting(proxy, role, late=5)
        proxy.become(counting)
        token.write_text(role.token)
        store = open_store(StoreSpec("test", "s3", bucket.uri, attributes(proxy, token)), engine=engine, deadline=10.0)
        whole = numbered(source)
        with pytest.raises(Expired):
            await store.write("big", whole)
        assert bucket.uploads() == ["big"]
        token.write_text(role.token)
        await trio.sleep(AGAIN)
        made = await store.write("big", whole)
        await store.aclose()
    assert made.size == PARTS * 8 * MIB
    assert bucket.get("big") == read_part(whole, 0, whole.size)
    assert bucket.uploads() == []
    assert sorted(set(counting.parts)) == list(range(1, PARTS + 1))
    assert len(counting.parts) <= PARTS + 4, "what was in flight is sent again, and nothing else"


@pytest.mark.parametrize("engine", ENGINES)
async def test_S6_what_is_left_for_later_keys_does_not_stay(engine: str, bucket: BucketClient, source: SourceMaker, tmp_path: Path) -> None:
    """Another file of that name, and then the end of the mount."""
    token = tmp_path / "token"
    with proxy_to(bucket.server.endpoint) as proxy, vault() as role:
        token.write_text(role.token)
        store = open_store(StoreSpec("test", "s3", bucket.uri, attributes(proxy, token)), engine=engine, deadline=10.0)
        for key in ("big", "other"):
            proxy.become(Counting(proxy, role, late=2))
            with pytest.raises(Expired):
                await store.write(key, numbered(source))
            token.write_text(role.token)
            await trio.sleep(AGAIN)
        assert bucket.uploads() == ["big", "other"]
        again = source(os.urandom(17 * MIB))
        await store.write("big", again)
        assert bucket.get("big") == read_part(again, 0, again.size)
        assert bucket.uploads() == ["other"]
        await store.aclose()
    assert bucket.uploads() == []
