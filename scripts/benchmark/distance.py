"""A server further away: a TCP relay on the loopback that delivers every byte a little later.

What it is: half of a round trip added in each direction, in order, without a limit on the bandwidth. A process of its own, so that its
work does not slow down the program that is timed: `python -m benchmark.distance HOST PORT SECONDS` prints its port and serves until it is
killed.
What it is not: a model of a network (no loss, no jitter, connecting costs nothing extra).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import trio

_CHUNK = 1024 * 1024
_IN_FLIGHT = 256
"""Chunks on their way in one direction of one connection; more than a socket's buffers hold, so that latency is not throttling."""


@contextmanager
def relay(host: str, port: int, round_trip: float) -> Iterator[int]:
    """The port of a relay to `host`:`port` that adds `round_trip` seconds to every exchange."""
    command = [sys.executable, "-m", "benchmark.distance", host, str(port), str(round_trip / 2)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def serve(host: str, port: int, delay: float) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listeners[0].socket.getsockname()[1], flush=True)
    await trio.serve_listeners(partial(_connection, host, port, delay), listeners)


async def _connection(host: str, port: int, delay: float, near: trio.SocketStream) -> None:
    """Both directions, until either side has closed."""
    try:
        async with near, await trio.open_tcp_stream(host, port) as far, trio.open_nursery() as nursery:
            nursery.start_soon(_one_way, near, far, delay)
            nursery.start_soon(_one_way, far, near, delay)
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        # One side has hung up: that is how connections end.
        pass


async def _one_way(source: trio.SocketStream, sink: trio.SocketStream, delay: float) -> None:
    inlet, outlet = trio.open_memory_channel[tuple[float, bytes]](_IN_FLIGHT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_take_in, source, inlet, delay)
        async with outlet:
            async for due, data in outlet:
                await trio.sleep_until(due)
                await sink.send_all(data)
        await sink.send_eof()


async def _take_in(source: trio.SocketStream, inlet: trio.MemorySendChannel[tuple[float, bytes]], delay: float) -> None:
    async with inlet:
        while data := await source.receive_some(_CHUNK):
            await inlet.send((trio.current_time() + delay, bytes(data)))


if __name__ == "__main__":
    trio.run(serve, sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
