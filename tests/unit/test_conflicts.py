"""The name that our side of a conflict gets (S9)."""

from __future__ import annotations

import os
import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storemount.names.tree import MAX_SEGMENT, mappable
from storemount.writeback.conflicts import beside

NOW = 1_790_000_000.25
ENDING = r"\.conflict-(.+)-(\d{8}T\d{6})-(\d{3})"


def test_S9_it_says_whose_it_is_and_since_when() -> None:
    found = re.fullmatch("model" + ENDING, beside("model", NOW))
    assert found is not None
    assert found.groups() == (socket.gethostname().partition(".")[0], "20260921T141320", "250")


def test_S9_a_conflict_of_a_conflict_does_not_grow() -> None:
    first = beside("model", NOW)
    assert beside(first, NOW + 1) == beside("model", NOW + 1) != first


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, os.fsdecode(b"\xff" * 255), ".conflict-", "a.b.c"])
def test_S9_it_is_a_name_that_the_store_can_hold(name: str) -> None:
    found = beside(name, NOW)
    assert mappable(found)
    assert re.search(ENDING + "$", found)
    assert name.startswith(found.partition(".conflict-")[0])


@given(name=st.text(min_size=1, max_size=255))
def test_S9_any_name_is_cut_between_letters(name: str) -> None:
    found = beside(name, NOW)
    assert len(os.fsencode(found)) <= MAX_SEGMENT
    assert name.startswith(found.partition(".conflict-")[0])


@pytest.mark.parametrize("host", ["x" * 64, "host.example.org", "localhost"])
def test_S9_a_long_host_name_leaves_room(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    found = beside("m" * 255, NOW)
    assert mappable(found)
    assert f".conflict-{host.partition('.')[0]}-" in found
