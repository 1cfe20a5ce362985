"""Metrics over HTTP: the answer to each kind of client, and what bad ones do (S16)."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
import trio
from prometheus_client import CollectorRegistry

from storemount.config import parse_address
from storemount.errors import ExitCode, Refusal
from storemount.insight.metrics import Metrics
from storemount.insight.scrapes import HEAD, Scrapes, listening, page_at
from tests.support.bare import bare_mount
from tests.support.faulty import PromptMemoryStore

FACTS = {"mountpoint": "/nowhere", "store": "s", "uri": "memory://", "engine": "memory", "started": 1.0}


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[int]:
    """The metrics of a mount that does nothing; the port."""
    async with bare_mount(PromptMemoryStore(), folder) as m, trio.open_nursery() as nursery:
        listeners = await listening("127.0.0.1", 0)
        nursery.start_soon(Scrapes(Metrics(m.mount.figures, FACTS, CollectorRegistry())).serve, listeners)
        yield int(listeners[0].socket.getsockname()[1])
        nursery.cancel_scope.cancel()


def asked(port: int, verb: str, target: str, accept: str = "*/*") -> tuple[HTTPResponse, bytes]:
    """As a client of the standard library asks, in a thread."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(verb, target, headers={"Accept": accept})
    response = connection.getresponse()
    try:
        return response, response.read()
    finally:
        connection.close()


async def raw(port: int, said: bytes) -> bytes:
    """What comes for these bytes until the server hangs up."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(said)
        await stream.send_eof()
        return b"".join([data async for data in stream])


@pytest.mark.parametrize(
    ("verb", "target", "status", "says"),
    [
        ("GET", "/metrics", HTTPStatus.OK, b'storemount_info{engine="memory",mountpoint="/nowhere"'),
        ("GET", "/metrics?x=1", HTTPStatus.OK, b"storemount_pending_changes"),
        ("GET", "/", HTTPStatus.NOT_FOUND, b"the metrics are at /metrics"),
        ("POST", "/metrics", HTTPStatus.METHOD_NOT_ALLOWED, b"only GET is answered"),
    ],
)
async def test_what_is_asked_for(tmp_path: Path, verb: str, target: str, status: HTTPStatus, says: bytes) -> None:
    async with served(tmp_path) as port:
        response, body = await trio.to_thread.run_sync(asked, port, verb, target)
    assert response.status == status
    assert says in body


async def test_a_head_has_the_length_and_no_body(tmp_path: Path) -> None:
    async with served(tmp_path) as port:
        response, body = await trio.to_thread.run_sync(asked, port, "HEAD", "/metrics")
    assert (response.status, body) == (HTTPStatus.OK, b"")
    assert int(response.headers["Content-Length"]) > 1000


@pytest.mark.parametrize(
    "accept", ['application/openmetrics-text; version="1.0.0"', "text/plain; version=x", "application/openmetrics-text; version=abc"]
)
async def test_S16_what_a_client_accepts_ends_no_mount(tmp_path: Path, accept: str) -> None:
    async with served(tmp_path) as port:
        for _ in range(2):
            response, body = await trio.to_thread.run_sync(asked, port, "GET", "/metrics", accept)
            assert response.status == HTTPStatus.OK and b"storemount_info" in body


async def test_openmetrics_by_the_accept_header(tmp_path: Path) -> None:
    async with served(tmp_path) as port:
        response, body = await trio.to_thread.run_sync(asked, port, "GET", "/metrics", "application/openmetrics-text;version=1.0.0")
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"hello\r\n\r\n", b"HTTP/1.1 400 "),
        (b"\xff\x00\xff\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /metrics SPDY/3\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /metrics HTTP/1.1\r\nAcc", b""),
        (b"", b""),
        (b"x" * (HEAD + 1), b""),
    ],
)
async def test_S16_nonsense_disturbs_nobody(tmp_path: Path, said: bytes, answer: bytes) -> None:
    async with served(tmp_path) as port:
        came = await raw(port, said)
        assert came.startswith(answer) and bool(came) == bool(answer)
        response, _ = await trio.to_thread.run_sync(asked, port, "GET", "/metrics")
    assert response.status == HTTPStatus.OK


async def test_S16_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refusal, match=rf"^cannot serve metrics on 127\.0\.0\.1:{port}: .*in use.*--metrics-listen$") as caught:
            await listening("127.0.0.1", port)
    assert caught.value.code is ExitCode.BAD_CONFIGURATION


async def test_the_page_of_an_address() -> None:
    for host, said in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
        (listener,) = await listening(host, 0)
        async with listener:
            assert page_at(listener) == f"http://{said}:{listener.socket.getsockname()[1]}/metrics"


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:9100", ("127.0.0.1", 9100)), ("[::1]:0", ("::1", 0)), ("localhost:80", ("localhost", 80))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["9100", ":9100", "127.0.0.1", "127.0.0.1:x", "::1:9100", "host:70000", "http://host:1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an address; write HOST:PORT"):
        parse_address(text)
