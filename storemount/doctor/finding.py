"""Findings: what a check has found, and what to do about it.

What it is: the words that every check speaks.
What it is not: any check, or how findings are printed (`cli.doctor`).
Invariants: a finding is one line; one that is not OK says what to do. Nothing in it is a secret.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from storemount.errors import Refusal


class Level(enum.StrEnum):
    """OK: as it should be. WARN: it works, and something is not as it could be. FAIL: a mount does not work, or not as promised."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """`subject` is one or two words, `said` what was found there, `remedy` what to do ("" where nothing is to be done)."""

    level: Level
    subject: str
    said: str
    remedy: str = ""

    def __str__(self) -> str:
        return " ".join(f"{self.said}{'; ' + self.remedy if self.remedy else ''}".split())


Report = Callable[[Finding], None]
"""Is told each finding as soon as it is there."""


def ok(subject: str, said: str) -> Finding:
    return Finding(Level.OK, subject, said)


def warn(subject: str, said: str, remedy: str) -> Finding:
    return Finding(Level.WARN, subject, said, remedy)


def fail(subject: str, said: str, remedy: str) -> Finding:
    return Finding(Level.FAIL, subject, said, remedy)


def refused(subject: str, refusal: Refusal) -> Finding:
    """What a command would have refused with: its message ends in what to do."""
    said, _, remedy = refusal.message.rpartition("; ")
    return fail(subject, said, remedy) if said else fail(subject, remedy, "mend it")
