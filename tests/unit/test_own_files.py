"""Files of storemount's own that fail: each costs one line of the README's table, and what they are good for is done without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from storemount.errors import NotFound
from storemount.stores.notes import Notes
from storemount.stores.offline import Offline
from storemount.stores.snapshot import Snapshot
from tests.support.faulty import PromptMemoryStore
from tests.support.readme import told


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """What is no database, and cannot be moved aside, as there is a folder."""
    path = tmp_path / "file"
    path.write_bytes(b"this is no database" * 100)
    (tmp_path / "file.broken" / "full").mkdir(parents=True)
    return path


@pytest.mark.parametrize("opened", [Notes, Snapshot.opened])
def test_what_is_broken_and_cannot_be_moved_aside_is_done_without(
    broken: Path, opened: Callable[[Path], Notes | Snapshot], caplog: pytest.LogCaptureFixture
) -> None:
    opened(broken).close()
    if opened is Notes:
        assert told("are broken", caplog.text) and told("notes of metadata cannot be kept in", caplog.text)
    else:
        assert told("they are moved aside, warm and pin again", caplog.text)
        assert told("names of what is warmed cannot be kept in", caplog.text)
    assert len(caplog.records) == 2


async def test_S14_names_that_cannot_be_kept_change_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    snapshot = Snapshot(tmp_path / "names")
    snapshot.keep_listing("", [])
    store = Offline(PromptMemoryStore(), snapshot)
    snapshot.close()
    with pytest.raises(NotFound):
        await store.stat("absent")
    assert told("the names of what was warmed cannot be kept or read", caplog.text)
