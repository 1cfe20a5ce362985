"""Power cuts: the daemon's own folder lies on a disk that forgets what was not synced, and the machine starts again as another boot.

    unshare --mount --pid --fork --kill-child --mount-proc python -m tests.crash.power HOME [--cuts N] [--store KIND] ...

What it is: the program that lives through the cuts, in namespaces of its own, so that nothing it mounts or starts outlives it;
`run_apart`, which starts it there; and its score, which it prints as JSON.
What it is not: kills of the daemon alone (`cycle`), whose checks it shares.
Invariants: the store and the logs are not on the disk. After a cut the boot id is another one, and the runtime folder is empty.
What was done more than `margin` seconds before the cut, or was fsynced, is there; what came later is there whole, or not at all.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tests.crash.cycle import HELD_UP, Ordeal, Score, ordeal
from tests.crash.disk import Disk
from tests.crash.promises import State
from tests.crash.survey import survey_folder
from tests.crash.verdicts import Problem
from tests.support.command import CHECKOUT, Storemount, environment
from tests.support.mounting import REMOTE, mount_of, open_outside
from tests.support.servers import moto_server

APART = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MARGIN = {"crash": 2.0, "power": 0.0, "store": 0.0}
"""Seconds before a cut from which on things may be lost: twice what is promised, where something is."""

BUSY, HELD, IDLE, SETTLED = SORTS = ("busy", "held-up", "idle", "settled")
"""Rounds: cut under writers at work; the same, and nothing could be uploaded; a while after the last operation; after an fsync of all."""

PACE = 0.02
LEAST_LINES, MOST_LINES = 300, 2500


class Machine:
    """A disk, and boots that can be told apart."""

    def __init__(self, home: Path, state: Path) -> None:
        self.disk = Disk(home / "disk.img", state)
        self._boot_id = home / "boot-id"
        self._runtime = home / "run"

    def boot(self) -> None:
        self._boot_id.write_text(f"{uuid.uuid4()}\n")
        if b"boot_id" in Path("/proc/self/mountinfo").read_bytes():
            subprocess.run(["umount", BOOT_ID], check=True)
        subprocess.run(["mount", "--bind", self._boot_id, BOOT_ID], check=True)
        assert BOOT_ID.read_text() == self._boot_id.read_text()
        shutil.rmtree(self._runtime)
        self._runtime.mkdir(mode=0o700)
        self.disk.on()


class Cuts:
    """Cuts under one ordeal. `margin` as above."""

    def __init__(self, trial: Ordeal, machine: Machine, margin: float) -> None:
        self._trial = trial
        self._machine = machine
        self._margin = margin
        self._dice = random.Random(trial.dice.random())

    def round(self, sort: str) -> None:
        """Writers work, the power goes, the machine comes back, and everything is held against the promises."""
        lines = self._dice.randint(LEAST_LINES, MOST_LINES)
        self._trial.victim.start("upload:hang" if sort == HELD else "")
        with self._trial.writers(*self._words(sort, lines)) as crew:
            on = crew.watch(lines if sort in (BUSY, HELD) else sys.maxsize, self._margin + HELD_UP)
            assert on or sort != BUSY, "a writer ended by itself, or hangs"
            if sort == IDLE:
                self._let_the_margin_pass()
            cut = time.monotonic()
            self._trial.victim.note(f"the power goes at {cut:.3f}")
            self._machine.disk.cut(self._trial.victim.pid)
            self._trial.victim.died()
        self._trial.score.kills += 1
        self._trial.check_ends(may_finish=sort != BUSY)
        self._trial.check_settled()
        self._trial.victim.reboot()
        self._machine.disk.off()
        self._machine.boot()
        self._check(cut)

    def _words(self, sort: str, lines: int) -> list[str]:
        """What the writers are told. Some end by themselves: the promises hold though no other operation comes."""
        words = [f"--pace={PACE}"]
        if sort in (IDLE, SETTLED):
            words.append(f"--ops={lines // 8}")
        return words + {HELD: ["--without=fsync"], SETTLED: ["--settle", "--without=hold"]}.get(sort, [])

    def _let_the_margin_pass(self) -> None:
        """The one wait of this harness that is for time itself: it is what was promised."""
        time.sleep(self._margin)

    def _check(self, cut: float) -> None:
        trial = self._trial
        trial.victim.start()
        if not self._margin:
            trial.check_mount()
        else:
            survey, judge = survey_folder(trial.victim.point, "the mount"), trial.judge()
            found: dict[str, State] = {}
            for folder, promises in trial.promises.items():
                verdict = judge.after_cut(promises.window(cut - self._margin), folder, survey, trial.read)
                trial.score.problems += verdict.problems
                found[folder] = verdict.state
            trial.score.checked += len(survey.shapes)
            trial.go_on_from(found)
        if not trial.score.problems:
            trial.check_store()


def live_through(home: Path, kind: str, cuts: int, seed: int, durability: str, sorts: Sequence[str], say: Callable[[str], None]) -> Score:
    """So many cuts of one tree; ends at the first problem."""
    command = Storemount(home)
    machine = Machine(home, home / "state")
    machine.boot()
    options = [] if durability == "crash" else ["--durability", durability]
    with ExitStack() as stack:
        server = stack.enter_context(moto_server()) if kind in REMOTE else None
        outside = open_outside(kind, home, server, "power")
        stack.callback(outside.close)
        trial = stack.enter_context(ordeal(mount_of(command, kind, outside, options), outside, home / "logs", seed))
        rounds = Cuts(trial, machine, MARGIN[durability])
        while trial.score.kills < cuts and not trial.score.problems:
            sort = trial.dice.choice(sorts)
            rounds.round(sort)
            say(trial.score.line(f"{trial.score.kills} power cuts, the last {sort}"))
        for line in trial.story() if trial.score.problems else ():
            say(line)
    return trial.score


def run_apart(home: Path, *words: str, within: float) -> Score:
    """Run this program in namespaces of its own; its score. What it says on the way goes to standard error."""
    command = [*APART, sys.executable, "-m", "tests.crash.power", str(home), *words]
    env = {**environment(home), "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=within, check=False)
    assert done.returncode == 0, f"the power cuts ended with {done.returncode}, see above"
    said = json.loads(done.stdout)
    return Score(**{**said, "problems": [Problem(*problem) for problem in said["problems"]]})


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("home", type=Path)
    words.add_argument("--cuts", type=int, default=3)
    words.add_argument("--store", default="local")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--durability", choices=list(MARGIN), default="crash")
    words.add_argument("--rounds", default=",".join(SORTS), help="which sorts of rounds, separated by commas")
    given = words.parse_args()
    sorts = given.rounds.split(",")
    score = live_through(
        given.home, given.store, given.cuts, given.seed, given.durability, sorts, lambda line: print(line, file=sys.stderr, flush=True)
    )
    print(json.dumps(asdict(score)))


if __name__ == "__main__":
    main()
