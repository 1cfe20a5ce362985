"""How a path was written, and how it is written back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storemount.api.spelling import Spelling, joined
from storemount.api.volume import Access


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("s3://b/a%20b", "s3://b/a%20b"),
        (b"s3://b/\xff", "s3://b/\udcff"),
        (Path("/a b"), "/a b"),
        ("file:///a%20b/%C3%BC", "/a b/ü"),
        ("file://localhost/x", "/x"),
        (b"file:///%FF", "/\udcff"),
        ("file:/x", "file:/x"),
    ],
)
def test_what_was_read_is_written_back(given: Any, text: str) -> None:
    spelling = Spelling.of(given)
    assert spelling.text == text
    written = spelling.write(text)
    assert written == (given.replace("localhost", "") if isinstance(given, str) else str(given) if isinstance(given, Path) else given)
    assert spelling.name("ü") == ("ü".encode() if isinstance(given, bytes) else "ü")


@pytest.mark.parametrize(("given", "kind"), [(3, TypeError), (None, TypeError), ("file://host/x", ValueError), ("file://", ValueError)])
def test_what_is_no_path(given: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        Spelling.of(given)


def test_joining() -> None:
    pairs = (("", "x"), ("a", "x"), ("a/", "x"), ("memory://", "x"))
    assert [joined(*pair) for pair in pairs] == ["x", "a/x", "a/x", "memory://x"]


def test_modes() -> None:
    reading, appending, editing = Access.of("r"), Access.of("ab+"), Access.of("r+")
    assert (reading.reads, reading.writes, reading.text) == (True, False, True)
    assert (appending.appends, appending.keeps, appending.creates, appending.reads, appending.text) == (True, True, True, True, False)
    assert (editing.writes, editing.keeps, editing.creates) == (True, True, False)
