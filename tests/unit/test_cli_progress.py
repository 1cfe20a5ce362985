"""What is shown while a mount is waited for, and what is said of dead mounts' journals and of paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storemount.api import mounted
from storemount.cli import progress
from storemount.cli.leftovers import unfinished
from storemount.cli.place import Place, place_of
from storemount.cli.progress import NARROWEST, SHOWN, WIDEST, fitted, last_answer, named, to_go
from storemount.config import Places
from storemount.errors import ExitCode, Refusal
from storemount.kernel.mountinfo import Mounted
from storemount.registry.stores import Registry
from storemount.writeback.ledger import Ledger, Row
from storemount.writeback.slot import JOURNAL, Slot, take

OURS = "fuse.storemount"


def answers(*pending: int) -> Iterator[dict[str, Any]]:
    for count in pending:
        yield {"pending": count, "pending_bytes": count * 1024}
    yield {"pending": 0, "pending_bytes": 0, "done": True}


def test_without_a_terminal_a_line_comes_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "REPORT", -1.0)
    assert last_answer(answers(2, 1))["done"]
    assert capsys.readouterr() == ("", "2 changes (2 KiB) to go\n1 change (1 KiB) to go\n")


def test_a_short_wait_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert last_answer(answers(2, 1))["done"]
    assert last_answer(iter(())) == {}
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 200])
@pytest.mark.parametrize("label", ["Saving /mnt", "Saving /home/somebody/projects/models/artifacts"])
def test_a_bar_is_one_line(columns: int, label: str) -> None:
    first = {"pending": 39_000, "pending_bytes": 186 << 20}
    shown, width, told = fitted(label, first, "change", columns)
    line = f"{shown}  [{'#' * width}]  1/39000  00:01:06{'  ' + to_go(first) if told else ''}"
    assert len(line) < columns
    assert width >= NARROWEST and label.endswith(shown.removeprefix("..."))
    assert told or columns < 120
    assert (shown, width, told) == (label, WIDEST, True) or columns < 200


def test_many_changes_are_not_all_named() -> None:
    rows = [{"path": f"f{number}", "error": "no"} for number in range(SHOWN + 3)]
    assert named(rows, "/mnt/").endswith(f"\n  /mnt/f{SHOWN - 1}: no\n  and 3 more; see: storemount status")
    assert named(rows[:1]) == "\n  f0: no"


# paths


def test_a_path_belongs_to_the_innermost_mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/link").symlink_to("b")
    (tmp_path / "link").symlink_to("a/b")
    table = [Mounted(str(tmp_path), "ext4", "disk", None)]
    table += [Mounted(str(tmp_path / name), kind, "s", 0) for name, kind in (("a", OURS), ("a/b/c", "tmpfs"))]
    monkeypatch.setattr(mounted, "mounts", lambda: table)
    assert place_of(str(tmp_path / "a")) == Place(str(tmp_path / "a"), "")
    assert place_of(str(tmp_path / "a/b/x")) == Place(str(tmp_path / "a"), "b/x")
    assert place_of(str(tmp_path / "a/link")).inner == "link"
    assert place_of(str(tmp_path / "link")).inner == "b"
    for outside in (tmp_path, tmp_path / "a/b/c/x", tmp_path / "ab"):
        with pytest.raises(Refusal, match="is not in a mounted store") as caught:
            place_of(str(outside))
        assert caught.value.code is ExitCode.NOT_MOUNTED


# journals of dead mounts


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "state/staging").mkdir(parents=True)
    return Places(*(tmp_path / name for name in ("data", "config", "etc", "state", "cache", "run")))


def left(places: Places, store: str, count: int) -> Slot:
    """A slot that is held, with so many changes, and one more that is done."""
    slot = take(places.state / "staging", store)
    ledger = Ledger(slot.folder / JOURNAL, store=store, boot="boot")
    for number in range(count + 1):
        ledger.write(Row(number + 1, "put", str(number), {"done": True} if number == count else {}))
    ledger.commit()
    ledger.close()
    return slot


def test_what_a_dead_mount_left_is_counted_for_its_store_alone(places: Places) -> None:
    registry = Registry(places, environ={}, reserved=())
    folder = places.data.parent / "a folder"
    mine, other = left(places, f"file://{str(folder).replace(' ', '%20')}", 2), left(places, "s3://bucket/prefix http://host:1", 3)
    assert unfinished(places, registry, str(folder)) == 0, "its daemon lives"
    for slot in (mine, other):
        slot.release()
    assert unfinished(places, registry, str(folder)) == 2
    assert unfinished(places, registry, "s3://bucket/prefix") == 3
    assert unfinished(places, registry, "s3://bucket") == 0
    assert unfinished(places, registry, "a-name-that-was-removed") == 5


def test_a_journal_that_cannot_be_read_counts(places: Places) -> None:
    slot = left(places, "s3://bucket", 0)
    slot.release()
    registry = Registry(places, environ={}, reserved=())
    assert unfinished(places, registry, "s3://bucket") == 0
    os.truncate(slot.folder / JOURNAL, 100)
    assert unfinished(places, registry, "s3://bucket") == 1
