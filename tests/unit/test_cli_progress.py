"""What is shown while a mount is waited for, and what is said of dead mounts' journals and of paths."""

from __future__ import annotations

import os
import pty
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storemount.api import mounted
from storemount.cli import progress
from storemount.cli.leftovers import unfinished
from storemount.cli.place import Place, place_of
from storemount.cli.progress import NARROWEST, SHOWN, WIDEST, fitted, last_answer, named
from storemount.cli.table import cells, columns, cut
from storemount.config import MIB, Places
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
@pytest.mark.parametrize("label", ["Saving /mnt", "Saving /home/somebody/projects/models/artifacts", "Saving /mnt/模型/检查点/二〇二六年"])
def test_a_bar_fits_its_line(columns: int, label: str) -> None:
    shown, width, told = fitted(label, "39000 changes", columns)
    rest = "  39000 changes (1023 MiB) to go" if told else ""
    assert cells(f"{shown}  [{'#' * width}]  100%  00:01:06{rest}") < columns
    assert width >= NARROWEST
    assert shown == label or (shown.startswith("Saving ...") and label.endswith(shown.removeprefix("Saving ...")))
    assert told or columns < 120
    assert (shown, width, told) == (label, WIDEST, True) or columns < 200


def drawn(monkeypatch: pytest.MonkeyPatch, answers: Iterator[dict[str, Any]], label: str = "Saving") -> list[str]:
    """The lines that these answers draw, one over the other, on a terminal of 70 columns."""
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as stderr, open(ours, "rb", buffering=0) as screen:
        monkeypatch.setattr("sys.stderr", stderr)
        monkeypatch.setenv("COLUMNS", "70")
        assert last_answer(answers, label)["done"]
        stderr.write("the end")
        stderr.flush()
        said = ""
        while not said.endswith("the end"):
            said += screen.read(1 << 16).decode()
        said = said.removesuffix("the end")
    return [shown for text in re.split(r"[\r\n]", said) if (shown := re.sub(r"\x1b\[[^a-z]*[a-z]", "", text).rstrip())]


def test_a_bar_goes_by_bytes_and_never_back(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [900, 675, 450, 800, 225, 0]
    told: list[dict[str, Any]] = [{"pending": 1, "pending_bytes": size * MIB} for size in left]
    lines = drawn(monkeypatch, iter([*told, {"pending": 0, "pending_bytes": 0, "done": True}]))
    assert [re.sub(r".*?(\d+%).*", r"\1", text) for text in lines] == ["0%", "24%", "49%", "49%", "74%", "99%", "100%"]
    assert [text.endswith("1 change (675 MiB) to go") for text in lines].index(True) == 1
    assert max(map(len, lines)) < 70


def test_a_bar_follows_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers() -> Iterator[dict[str, Any]]:
        yield {"pending": 4, "pending_bytes": 4}
        yield {"pending": 3, "pending_bytes": 3}
        monkeypatch.setenv("COLUMNS", "40")
        yield {"pending": 2, "pending_bytes": 2}
        yield {"pending": 1, "pending_bytes": 1}
        yield {"pending": 0, "pending_bytes": 0, "done": True}

    lines = drawn(monkeypatch, answers(), "Saving /mnt/artifacts")
    assert len(lines) == 5
    assert max(map(len, lines[:2])) < 70
    assert max(map(len, lines[2:])) < 40
    assert all("%" in text and text.startswith("Saving ") for text in lines)


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("plain", 5, "plain"),
        ("plainer", 6, "pla..."),
        ("模型检查", 8, "模型检查"),
        ("模型检查点", 8, "模型..."),
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
        ("abcd", 2, ".."),
    ],
)
def test_a_text_that_is_cut_says_so(text: str, width: int, expected: str) -> None:
    assert cut(text, width) == expected
    assert cells(expected) <= width


def test_columns_of_wide_signs_line_up() -> None:
    lines = columns(("NAME", "N"), [["模型", "1"], ["a", "2"]])
    assert [cells(line) for line in lines] == [7, 7, 7]


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
