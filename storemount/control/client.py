"""Talking to a running mount: the client's side of its unix socket.

What it is: where the socket is, and one question with its answers (JSON, one object a line, `"v": 1`).
What it is not: the mount's side (`answers`); it imports neither trio nor pyfuse3, so that commands start fast.
Invariant: the socket belongs to the user who mounted (its folder is 0700).

The protocol, version 1, for any tool. A connection is for one question: one line of at most 64 KiB, a JSON object in UTF-8 with `do` (a
word), `v` (the version; 1 where it is left out) and what the word needs. The mount answers with one JSON object a line, each with `v`, and
hangs up. Lines with `done` are the last; those before tell how far it is, every tenth of a second. A question that cannot be answered
(another version, an unknown word, something missing) has one answer, with `error` and `done`. A field that a client does not know is to be
ignored: new ones come without a new version. What each word needs and answers is in `requests`.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storemount.config import Places

VERSION = 1
SILENCE = 10.0
"""Seconds without a word until a mount counts as dead."""


def socket_path(places: Places, mountpoint: str) -> Path:
    """The socket of the mount at this absolute path (a hash, as a file name holds no slash, and 255 bytes only)."""
    return places.runtime / (hashlib.sha256(mountpoint.encode("utf-8", "surrogateescape")).hexdigest()[:16] + ".sock")


def sockets(places: Places) -> list[Path]:
    """The sockets of all mounts of this user."""
    return sorted(places.runtime.glob("*.sock"))


@contextmanager
def address(path: Path) -> Iterator[str]:
    """`path` for bind and connect, which take 107 bytes, however deep its folder lies. Raises OSError."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def ask(path: Path, what: str, /, *, patience: float = SILENCE, **arguments: Any) -> Iterator[dict[str, Any]]:
    """Ask with one of the words of `requests`; where something is waited for, progress until `done`. `patience`: seconds without a word.

    Raises OSError: ConnectionRefusedError or FileNotFoundError when nobody serves it, TimeoutError when it counts as dead.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience)
        with address(path) as short:
            try:
                connection.connect(short)
            except BlockingIOError as error:
                raise TimeoutError(f"nobody takes the questions that wait at {path}") from error
        connection.sendall(json.dumps({"v": VERSION, "do": what, **arguments}).encode() + b"\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                yield json.loads(line)
