"""The S3 server of the benchmark, and how many requests it answered.

What it is: `scripts/emulators` as a context, or the server that the environment names; and radosgw's access log, counted.
What it is not: a counter for other servers; where there is no log there are no counts.
"""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from benchmark.distance import relay
from benchmark.stores import AGENT, Bucket, Endpoint
from benchmark.subjects import REPOSITORY

_SCRIPT = str(REPOSITORY / "scripts" / "emulators")
_LINE = re.compile(rb' beast: .*"([A-Z]+) ([^ "]*) HTTP[^"]*" \d+ \d+ - ("[^"]*"|-)')
_QUIET = 0.2


@contextmanager
def bucket(work: Path, round_trip: float) -> Iterator[Bucket]:
    """The bucket that the environment describes (as `scripts/emulators up` prints it), else one on a server of our own.

    With a `round_trip` in seconds the bucket says that it is behind a relay; our own view of it goes the short way.
    """
    with _endpoint(work) as endpoint:
        if not round_trip:
            yield Bucket(endpoint, endpoint)
            return
        where = urlsplit(endpoint.url)
        if where.scheme != "http" or not where.hostname or not where.port:
            raise ValueError(f"{endpoint.url}: only a plain http server with a port can be made more distant")
        with relay(where.hostname, where.port, round_trip) as port:
            yield Bucket(endpoint, replace(endpoint, url=f"http://127.0.0.1:{port}"))


@contextmanager
def _endpoint(work: Path) -> Iterator[Endpoint]:
    if "S3_BUCKET" in os.environ:
        yield Endpoint.of(os.environ)
        return
    home = str(work / "server")
    try:
        done = subprocess.run(
            [_SCRIPT, "up", home, str(_free_port())], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True
        )
        lines = (line.partition("=") for line in done.stdout.splitlines())
        yield Endpoint.of({name: value for name, _, value in lines})
    finally:
        subprocess.run([_SCRIPT, "down", home], stdin=subprocess.DEVNULL, check=True)


def _free_port() -> int:
    """A port that is free together with the next one, and not of the range from which the kernel takes those of outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


class RequestLog:
    """What the server has answered since the last look, by method; listings apart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = path.stat().st_size

    def take(self) -> Counter[str]:
        """Requests since the last call, without those of our own client. Waits until the log has been quiet for a moment."""
        size = -1
        while size != (size := self._path.stat().st_size):
            time.sleep(_QUIET)
        with self._path.open("rb") as file:
            file.seek(self._read)
            lines = file.read(size - self._read)
        self._read = size
        return Counter(_kind(*match) for match in _LINE.findall(lines) if AGENT.encode() not in match[2])


def _kind(method: bytes, target: bytes, _agent: bytes) -> str:
    listing = method == b"GET" and re.search(rb"[?&](list-type|delimiter|prefix|max-keys|marker)=", target)
    return "LIST" if listing else method.decode()
