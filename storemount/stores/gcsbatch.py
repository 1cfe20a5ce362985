"""Many deletes in one request of Google Cloud Storage.

What it is: the body of a batch, and the reading of its answer.
What it is not: a request.
Invariant: an answer is told by the number that its request carried, never by its place.
The format is described at https://cloud.google.com/storage/docs/batch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

BATCH = 100
"""The most requests in one batch."""

_ANSWER = re.compile(rb"Content-ID:[^\r\n]*?(\d+)>?[ \t]*(?:\r?\n[^\r\n]+)*\r?\n\r?\nHTTP/[\d.]+ (\d{3})", re.IGNORECASE)


def batch_body(boundary: str, paths: Sequence[str]) -> bytes:
    """The body that deletes what these paths name, each with its number."""
    part = "--{}\r\nContent-Type: application/http\r\nContent-ID: <storemount+{}>\r\n\r\nDELETE {} HTTP/1.1\r\n\r\n\r\n"
    return ("".join(part.format(boundary, number, path) for number, path in enumerate(paths)) + f"--{boundary}--\r\n").encode()


def outcomes(body: bytes) -> dict[int, int]:
    """The HTTP status of each answered request, by its number."""
    return {int(number): int(status) for number, status in _ANSWER.findall(body)}
