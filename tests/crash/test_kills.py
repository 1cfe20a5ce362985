"""Daemons killed at any moment, and at every named step: what was promised is there, and nothing else (S6, S7, S8, S10)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from storemount.errors import ExitCode
from tests.crash.cycle import Ordeal, many_kills
from tests.crash.steps import STEPS, UPLOAD, Step
from tests.crash.victim import PATIENCE
from tests.support.mounting import STORES
from tests.support.waiting import eventually

KILLS = {"local": 12, "s3-native": 12, "s3-fsspec": 6}
TOUR = 40
"""Operations of the writer that a daemon with an arranged end serves: the tour, and what dice add."""

AGAIN = ("put-before", "put-after", "row-finished-before")
"""Steps at which the daemon that takes up what another left dies as well."""

AT_STEPS = [pytest.param(step, kind, id=f"{step.name}-{kind}") for step in STEPS for kind in step.kinds]


def sound(trial: Ordeal) -> None:
    assert not trial.score.problems, "\n".join([trial.score.line("kills"), *map(str, trial.score.problems), *trial.story()])


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", STORES)
def test_S7_what_was_closed_survives_kills(kind: str, trial_of: Callable[..., Ordeal]) -> None:
    trial = trial_of(kind, seed=7)
    many_kills(trial, KILLS[kind])
    sound(trial)
    assert trial.score.kills >= KILLS[kind] and trial.watcher.looks


@pytest.mark.parametrize("kind", STORES)
def test_S7_what_was_fsynced_survives_a_kill(kind: str, trial_of: Callable[..., Ordeal]) -> None:
    """The least of the promises: the store had everything when the daemon was killed."""
    trial = trial_of(kind, seed=8)
    for words in (["--tour"], []):
        trial.victim.start()
        trial.work(*words, "--ops=120", "--settle", "--without=hold")
        trial.kill()
        trial.check_settled()
        trial.recover()
        sound(trial)
    assert trial.score.promised > 400 and trial.score.checked > 100


@pytest.mark.parametrize("kind", STORES)
def test_S8_what_was_closed_is_in_the_store_after_an_unmount(kind: str, trial_of: Callable[..., Ordeal]) -> None:
    """No kill at all: the harness and the store agree on what a clean stop leaves."""
    trial = trial_of(kind, seed=9)
    trial.victim.start()
    trial.work("--tour", "--ops=200")
    trial.check_mount()
    trial.check_store()
    sound(trial)


@pytest.mark.parametrize("kind", ["local", "s3-native"])
def test_S8_killed_while_it_drains(kind: str, trial_of: Callable[..., Ordeal]) -> None:
    """An unmount whose daemon dies before the store has everything says so, and the next mount takes up what is left."""
    trial = trial_of(kind, seed=11)
    trial.victim.start(f"{UPLOAD.name}:hang")
    trial.work("--ops=60", "--without=fsync", "--without=large")
    with trial.victim.unmounting() as command:
        assert eventually(lambda: not trial.victim.mount.mounted)
        trial.kill()
        assert command.wait(PATIENCE) != 0
    trial.check_settled()
    trial.recover()
    sound(trial)


@pytest.mark.parametrize("kind", ["local", "s3-native"])
def test_S8_what_an_unmount_left_is_taken_up(kind: str, trial_of: Callable[..., Ordeal]) -> None:
    """Past the drain timeout the unmount ends with code 12; nothing of what is left is lost."""
    trial = trial_of(kind, 12, "--drain-timeout", "1s")
    trial.victim.start(f"{UPLOAD.name}:hang")
    trial.work("--ops=60", "--without=fsync", "--without=large")
    with trial.victim.unmounting() as command:
        assert command.wait(PATIENCE) == ExitCode.NOT_DRAINED
    trial.victim.left(ExitCode.NOT_DRAINED)
    trial.check_settled()
    trial.recover()
    sound(trial)


@pytest.mark.parametrize("kind", ["local", "s3-native"])
@pytest.mark.parametrize("step", AGAIN)
def test_S8_killed_while_it_takes_up_what_was_left(step: str, kind: str, trial_of: Callable[..., Ordeal]) -> None:
    """The second daemon dies too, at its first upload; the third one has everything."""
    trial = trial_of(kind, 13, "--uploads", "2")
    trial.victim.start(f"{UPLOAD.name}:hang")
    trial.work("--ops=60", "--without=fsync", "--without=large")
    trial.kill()
    trial.victim.start(f"{step}:2")
    trial.victim.died()
    trial.check_settled()
    trial.recover()
    sound(trial)


@pytest.mark.parametrize(("step", "kind"), AT_STEPS)
def test_S7_killed_at(step: Step, kind: str, trial_of: Callable[..., Ordeal]) -> None:
    """The daemon dies at this very step of the journal or the upload."""
    trial = trial_of(kind, 10, "--uploads", "2", writers=1)
    trial.victim.start(f"{step.name}:{step.number}")
    with trial.writers("--tour", f"--ops={TOUR}", "--settle"):
        pass
    assert trial.promises["w0"].ended is not None, f"{step.target} was not called {step.number} times"
    trial.victim.died()
    trial.check_ends()
    trial.check_settled()
    trial.recover()
    sound(trial)
