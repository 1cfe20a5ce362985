"""A relay in front of a server, which can be made to fail and to come back at the same address.

What it is: a TCP server on the loopback that treats every connection as it was last told to: pass it on, or one of the treatments
of `faults`, or no listener at all.
What it is not: aware of HTTP; it counts connections (the test servers close each after one request, so these are requests) and the
bytes that came back.
Invariants: after `become` returns, no connection treated in the earlier way is left; every socket and thread is gone when the context
is left.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tests.support.faults import Treatment


class Proxy:
    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._target = (parts.hostname or "", parts.port or 80)
        self._path = parts.path
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self._address = self._listener.getsockname()
        self._treatment: Treatment = self.forward
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self.fetched = 0
        self._listen(self._listener)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._address[1]}{self._path}"

    def forward(self, connection: socket.socket) -> None:
        """Pass both directions on until one side ends."""
        with socket.create_connection(self._target) as server:
            self._open.add(server)
            back = self._start(self._answer, server, connection)
            _pump(connection, server)
            back.join()

    def _answer(self, server: socket.socket, connection: socket.socket) -> None:
        self.fetched += _pump(server, connection)

    def refuse(self) -> None:
        """Nobody listens any more: connections are refused."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self._cut()

    def become(self, treatment: Treatment) -> None:
        """Treat connections this way from now on; those that are open are cut."""
        self._treatment = treatment
        if self._listener is None:
            self._listener = socket.create_server(self._address)
            self._listen(self._listener)
        else:
            self._cut()

    def close(self) -> None:
        self.refuse()
        for thread in self._threads:
            thread.join()

    def _cut(self) -> None:
        for connection in list(self._open):
            self._open.discard(connection)  # One by one: what comes meanwhile is for the next cut.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _listen(self, listener: socket.socket) -> None:
        self._start(self._accept, listener)

    def _start(self, work: Callable[..., object], *arguments: socket.socket) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.connections += 1
                self._open.add(connection)
                if listener is not self._listener:
                    # It came while `refuse` cut those that were open.
                    connection.shutdown(socket.SHUT_RDWR)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, suppress(OSError):
                self._treatment(connection)
        finally:
            self._open.discard(connection)


def _pump(source: socket.socket, target: socket.socket) -> int:
    """One direction; its end is passed on. How many bytes went through."""
    count = 0
    with suppress(OSError):
        while data := source.recv(1 << 16):
            count += len(data)
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
    return count


@contextmanager
def proxy_to(endpoint: str) -> Iterator[Proxy]:
    proxy = Proxy(endpoint)
    try:
        yield proxy
    finally:
        proxy.close()
