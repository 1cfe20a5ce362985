"""The tables of the README that a test has to produce: exit codes, and what the log says in which trouble.

What it is: the rows as they stand there, and `told`, with which a test says that it has produced the message of one of them.
What it is not: a check that none is missing (`tests/unit/test_readme_tables.py`, which looks for the calls of `told`).
Invariant: a message is compared as it stands in the README, so a row that has grown old fails the test that produces it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.support.command import CHECKOUT

_STANDS_FOR = re.compile(r"\.\.\.|\b[A-Z]+\b|\b\d[\d.]*\b")
"""What differs each time: dots, words in capitals, and numbers."""


@dataclass(frozen=True)
class Row:
    """symptom, told: the first two cells. messages: what stands there as code, in the second cell or, where that has none, the first."""

    symptom: str
    told: str

    @property
    def messages(self) -> list[str]:
        return re.findall(r"`([^`]+)`", self.told) or re.findall(r"`([^`]+)`", self.symptom)


def _section(heading: str) -> list[list[str]]:
    """The cells of the table below this heading."""
    text = (CHECKOUT / "README.md").read_text().split(f"\n### {heading}\n", 1)[1]
    lines = re.split(r"^#+ ", text, maxsplit=1, flags=re.MULTILINE)[0].splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")][2:]


def troubleshooting() -> list[Row]:
    return [Row(symptom, told) for symptom, told, _ in _section("Troubleshooting")]


def exit_codes() -> dict[int, str]:
    """What each means."""
    pairs = [pair for cells in _section("Exit codes") for pair in (cells[:2], cells[2:])]
    return {int(code): meaning for code, meaning in pairs if code}


def fragments(message: str) -> list[str]:
    """What of a message is always the same."""
    return [part for part in (part.strip(" :;,") for part in _STANDS_FOR.split(message)) if part]


def message(words: str) -> str:
    """The README's message that has these words."""
    found = {each for row in troubleshooting() for each in row.messages if words in each}
    assert len(found) == 1, f"{words!r} is in {len(found)} messages of the README's table"
    return found.pop()


def told(words: str, text: str) -> bool:
    """Whether `text` has the README's message with these words."""
    pieces = _STANDS_FOR.split(message(words))
    return re.search(".*?".join(map(re.escape, pieces)), text) is not None
