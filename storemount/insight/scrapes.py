"""Scrapes: the metrics of a mount over HTTP, for a Prometheus that comes to fetch them (`--metrics-listen`).

What it is: one page, `/metrics`, and one answer for each connection.
What it is not: a web server, or encrypted, or protected: it listens where it was told to, and whoever gets there may read.
Invariant: a client that says nonsense, nothing at all, or goes away disturbs nobody.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

import trio

from storemount.errors import ExitCode, Refusal
from storemount.insight.metrics import Metrics

PAGE = "/metrics"
HEAD = 16384
"""Bytes of the longest question."""

PATIENCE = 5.0
"""Seconds that a client has for its question, and for taking the answer."""

PLAIN = "text/plain; charset=utf-8"

log = logging.getLogger(__name__)


async def listening(host: str, port: int) -> list[trio.SocketListener]:
    """Sockets at this address. Raises Refusal: it is taken, or not of this machine."""
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        where = f"{host}:{port}"
        raise Refusal(
            ExitCode.BAD_CONFIGURATION, f"cannot serve metrics on {where}: {error}; give another address with --metrics-listen"
        ) from error


def page_at(listener: trio.SocketListener) -> str:
    """The URL of the metrics that are served there."""
    host, port = listener.socket.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{PAGE}"


class Scrapes:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def serve(self, listeners: list[trio.SocketListener]) -> None:
        """Until cancelled; closes the sockets then."""
        await trio.serve_listeners(self._answer, listeners)

    async def _answer(self, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                with trio.move_on_after(PATIENCE):
                    head = await _head(stream)
                    if head:
                        await stream.send_all(self._reply(head))
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("a client went away before it had the metrics")
        except* Exception as group:
            log.error("a scrape failed in a way nobody named", exc_info=group)

    def _reply(self, head: str) -> bytes:
        first, *rest = head.split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _message(HTTPStatus.BAD_REQUEST, b"this is no HTTP/1 request\n", PLAIN)
        verb, target = words[0], words[1].partition("?")[0]
        if verb not in ("GET", "HEAD"):
            return _message(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET is answered\n", PLAIN)
        if target != PAGE:
            return _message(HTTPStatus.NOT_FOUND, f"the metrics are at {PAGE}\n".encode(), PLAIN)
        try:
            text, kind = self._metrics.text(_header(rest, "accept"))
        except (TypeError, ValueError):
            text, kind = self._metrics.text()  # What it accepts makes no sense to the library; it may have this all the same.
        return _message(HTTPStatus.OK, text, kind, bodiless=verb == "HEAD")


def _header(lines: list[str], name: str) -> str:
    """The value of this header; nothing where there is none."""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.lower() == name), "")


def _message(status: HTTPStatus, body: bytes, kind: str, *, bodiless: bool = False) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if bodiless else body)


async def _head(stream: trio.SocketStream) -> str:
    """The question without its body; nothing when the client leaves before its end, or does not come to one."""
    said = b""
    while b"\r\n\r\n" not in said:
        data = await stream.receive_some(HEAD)
        said += data
        if not data or len(said) > HEAD:
            return ""
    return said.partition(b"\r\n\r\n")[0].decode("latin-1")
