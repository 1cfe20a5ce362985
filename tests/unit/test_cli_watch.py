"""How `status --watch` looks: in a thread of its own, so that keys are heard while a mount does not answer."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from storemount.cli.watch import Looking
from tests.support.waiting import eventually

ROWS: list[dict[str, Any]] = [{"mountpoint": "/mnt"}]


def test_a_look_that_hangs_holds_nobody_up() -> None:
    answers = threading.Event()
    looks: list[int] = []

    def look() -> list[dict[str, Any]]:
        looks.append(1)
        assert answers.wait(10)
        return ROWS

    looking = Looking(look)
    assert looking.seen() is None
    assert looking.seen() is None
    assert eventually(lambda: looks)
    answers.set()
    seen: list[list[dict[str, Any]]] = []
    assert eventually(lambda: (rows := looking.seen()) is not None and (seen.append(rows) or True))
    assert (seen, looks) == ([ROWS], [1])


def test_what_a_look_raises_is_raised() -> None:
    def look() -> list[dict[str, Any]]:
        raise ValueError("no store is mounted there")

    looking = Looking(look)
    with pytest.raises(ValueError, match="no store is mounted there"):
        assert eventually(lambda: looking.seen() is not None)
