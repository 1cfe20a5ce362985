"""A server that misbehaves in one chosen way, to show how a store takes it.

What it is: a TCP server on the loopback that gives every connection the same treatment.
What it is not: an S3 server, or a proxy in front of one.
Invariants: ready when its context is entered; every socket and thread is gone when it is left.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Treatment = Callable[[socket.socket], None]


def silence(connection: socket.socket) -> None:
    """Take the request and never answer, until the other side gives up."""
    while connection.recv(65536):
        pass


def reset(connection: socket.socket) -> None:
    """Take the request and break the connection."""
    connection.recv(65536)


def answer(status: str, body: bytes = b"", *, length: int | None = None, etag: str = '"e"', lines: str = "") -> Treatment:
    """Answer each request with this status and body; `length` is what the header claims, `lines` are more headers."""
    return scripted(lambda head: response(status, body, length=length, etag=etag, lines=lines))


def response(status: str, body: bytes = b"", *, length: int | None = None, etag: str = '"e"', lines: str = "") -> bytes:
    """`lines`: more headers, each with its end of line."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nETag: {etag}\r\nLast-Modified: Mon, 23 Nov 2026 10:00:00 GMT\r\n{lines}"
    head += f"Content-Length: {len(body) if length is None else length}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def scripted(reply: Callable[[str], bytes]) -> Treatment:
    """Answer each request with what `reply` makes of its head; nothing is a broken connection."""

    def treat(connection: socket.socket) -> None:
        seen = b""
        while b"\r\n\r\n" not in seen:
            data = connection.recv(65536)
            if not data:
                return
            seen += data
        told = reply(seen.partition(b"\r\n\r\n")[0].decode("latin-1"))
        if seen.startswith(b"HEAD "):
            told = b"".join(told.partition(b"\r\n\r\n")[:2])
        connection.sendall(told)
        connection.shutdown(socket.SHUT_WR)
        while told and connection.recv(65536):
            pass

    return treat


def refusal(status: str, code: str) -> Treatment:
    """An S3 error document for each request."""
    return answer(status, error(code))


def azure_refusal(status: str, code: str) -> Treatment:
    """A refusal of Azure's for each request: the code is in the body, and in a header too."""
    return scripted(lambda head: response(status, error(code), lines=f"x-ms-error-code: {code}\r\n"))


def google_refusal(status: str, reason: str, message: str) -> Treatment:
    """A refusal of Google's for each request: a JSON document."""
    told = {"error": {"code": int(status[:3]), "message": message, "errors": [{"reason": reason, "message": message}]}}
    return answer(status, json.dumps(told).encode())


def error(code: str) -> bytes:
    """The body of an error document of S3, or of Azure."""
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>'.encode()


def garbage(connection: socket.socket) -> None:
    """Something that is not HTTP."""
    connection.recv(65536)
    connection.sendall(b"\x00\x01not http at all\r\n\r\n")


@contextmanager
def faulty_server(treat: Treatment) -> Iterator[str]:
    """The address (a URL) of a server that does `treat` to whoever connects."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_now: set[socket.socket] = set()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            treat(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_now.add(connection)
                thread = threading.Thread(target=serve, args=(connection,))
                threads.append(thread)
                thread.start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for connection in open_now:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


@contextmanager
def refused_address() -> Iterator[str]:
    """An address on the loopback where nobody listens (the port stays taken, so nobody else can)."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}"


def told_as_json(told: dict[str, Any]) -> bytes:
    return response("200 OK", json.dumps(told).encode())


def whole(reply: Callable[[str], bytes]) -> Treatment:
    """Answer each request when all of it has come."""

    def treat(connection: socket.socket) -> None:
        with connection.makefile("rb") as incoming:
            head = b""
            while (line := incoming.readline()) not in (b"\r\n", b""):
                head += line
            text = head.decode("latin-1")
            length = text.lower().partition("content-length:")[2].partition("\r\n")[0]
            incoming.read(int(length or 0))
        if text:
            connection.sendall(reply(text))

    return treat
