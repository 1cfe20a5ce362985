"""Power cuts: what was closed a while before is there, what was closed just before is whole or absent (S7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.cycle import Score
from tests.crash.disk import missing
from tests.crash.power import run_apart

pytestmark = [pytest.mark.skipif(bool(missing()), reason=missing()), pytest.mark.timeout(300)]
CUTS = 2


def sound(score: Score, cuts: int) -> None:
    assert not score.problems, "\n".join([score.line("power cuts"), *map(str, score.problems)])
    assert score.kills == cuts and score.checked


@pytest.mark.parametrize("kind", ["local", "s3-native"])
def test_S7_what_was_fsynced_survives_a_power_cut(kind: str, home: Path) -> None:
    """The least of the promises: the store had everything."""
    sound(run_apart(home, "--cuts=1", f"--store={kind}", "--seed=20", "--rounds=settled", within=280), 1)


@pytest.mark.parametrize("kind", ["local", "s3-native"])
def test_S7_what_was_closed_survives_power_cuts(kind: str, home: Path) -> None:
    sound(run_apart(home, f"--cuts={CUTS}", f"--store={kind}", "--seed=21", within=280), CUTS)


@pytest.mark.parametrize("durability", ["power", "store"])
def test_S7_with_more_durability_nothing_is_lost_at_all(durability: str, home: Path) -> None:
    """What close returned for is there, however late the power went."""
    sound(run_apart(home, "--cuts=1", f"--durability={durability}", "--seed=22", within=280), 1)
