"""One tree of files that outlives many daemons.

What it is: `Ordeal`: mount, let writers work, kill at a moment that dice choose, mount again, hold what is there against the promises,
and go on in the same tree; and its score.
What it is not: power cuts (`power`), or the choice of stores and counts (`test_kills`, `__main__`).
Invariants: every check is made of the whole tree. What a check found is the first line of the next log, so nothing is forgiven twice and
nothing is lost sight of. Everything random comes from the seed, but for what the machine's own timing adds.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.promises import Promises, State, found_line
from tests.crash.survey import survey_folder, survey_of
from tests.crash.verdicts import TORN, UNFINISHED, Judge, Problem
from tests.crash.victim import Crew, Victim, cleared
from tests.crash.watcher import Watcher, watching
from tests.support.mounting import Mount
from tests.support.outside import Outside

ENDS = {errno.ENOTCONN, errno.ECONNABORTED, errno.EIO}
"""What system calls answer when the daemon is gone."""

MOST_LINES = 1500
LEAST_LINES = 3
HELD_UP = 3.0
"""Seconds without a line after which the writers of a daemon that cannot upload are taken to wait for it."""


@dataclass
class Score:
    """What was done, and what went wrong."""

    kills: int = 0
    promised: int = 0
    checked: int = 0
    problems: list[Problem] = field(default_factory=list)

    def count(self, *kinds: str) -> int:
        return sum(problem.kind in kinds for problem in self.problems)

    @property
    def torn(self) -> int:
        return self.count(TORN)

    @property
    def unfinished(self) -> int:
        return self.count(UNFINISHED)

    @property
    def lost(self) -> int:
        """Everything else that is not as promised: missing, old, or back again."""
        return len(self.problems) - self.torn - self.unfinished

    def line(self, what: str) -> str:
        return (
            f"{what}: {self.kills} survived, {self.promised} operations promised, {self.checked} files checked, "
            f"{self.lost} lost, {self.torn} torn, {self.unfinished} unfinished uploads left"
        )


class Ordeal:
    """`folders`: one for each writer. `logs`: where they keep their logs, outside the mount and the store."""

    def __init__(self, victim: Victim, outside: Outside, watcher: Watcher, logs: Path, seed: int, writers: int) -> None:
        self.victim = victim
        self.outside = outside
        self.watcher = watcher
        self.dice = random.Random(seed)
        self.score = Score()
        self.promises = {f"w{number}": Promises() for number in range(writers)}
        self._logs = logs
        self._rounds = 0
        self._begin({folder: {} for folder in self.promises})

    # the work

    @contextmanager
    def writers(self, *words: str) -> Iterator[Crew]:
        """Writers at work in the mount; they have ended when this is left, and what they were promised is known."""
        crew = Crew()
        try:
            for folder in self.promises:
                crew.start(
                    str(self.victim.point),
                    folder,
                    str(self._log(folder)),
                    f"--seed={self.dice.randrange(1 << 30)}",
                    f"--without={self._without(words)}",
                    *(word for word in words if not word.startswith("--without=")),
                    environment=self.victim.mount.command.environment,
                )
            yield crew
            crew.ended()
        finally:
            crew.clear()
        for folder, promises in self.promises.items():
            before = promises.done
            promises.feed(self._log(folder).read_text().splitlines())
            self.score.promised += promises.done - before

    def work(self, *words: str) -> None:
        """Let the writers do all that they were asked for; the mount that is up serves it without a fault."""
        with self.writers(*words):
            pass
        assert {promises.ended for promises in self.promises.values()} == {None}, f"a writer failed: {self._why()}"

    def _without(self, words: tuple[str, ...]) -> str:
        return ",".join(word.partition("=")[2] for word in words if word.startswith("--without="))

    def lines(self) -> int:
        """After how many lines to kill: any order of magnitude is as likely as any other."""
        return int(LEAST_LINES * (MOST_LINES / LEAST_LINES) ** self.dice.random())

    def killed_at_work(self, *words: str, held_up: bool = False) -> None:
        """One round: the daemon dies under its writers. `held_up`: it never gets anything uploaded before."""
        if held_up and self.victim.pid:
            self.kill()
        if not self.victim.pid:
            self.victim.start("upload:hang" if held_up else "")
        with self.writers(*words, *(["--without=fsync"] if held_up else [])) as crew:
            on = crew.watch(self.lines(), HELD_UP) if held_up else crew.watch(self.lines())
            assert on or held_up, f"a writer ended by itself, or hangs: {self._why()}"
            self.kill()
        self.check_ends()
        self.check_settled()

    def kill(self) -> None:
        self.victim.kill()
        self.score.kills += 1

    def _why(self) -> list[str]:
        return [self._log(folder).read_text().splitlines()[-1] for folder in self.promises]

    def story(self) -> list[str]:
        """For the message of a failed test: what the writers were told of each path with a problem, and the end of the daemon's log."""
        paths = {problem.path for problem in self.score.problems}
        lines = [f"{log.name}: {line}" for log in sorted(self._logs.iterdir()) for line in log.read_text().splitlines()]
        about = [line[:400] for line in lines if any(f'"{path}"' in line or path in line.split() for path in paths) and "found" not in line]
        return [*about[-60:], self.victim.mount.tail()]

    # the checks

    def check_ends(self, *, may_finish: bool = False) -> None:
        """The writers ended of the kill (or had done everything), not of something that the mount answered before."""
        ends = {promises.ended for promises in self.promises.values()}
        assert ends <= (ENDS | {None} if may_finish else ENDS), f"a writer ended of something else than the kill: {self._why()}"

    def judge(self) -> Judge:
        return Judge(self.promises.values())

    def check_settled(self) -> None:
        """With the daemon dead: what was fsynced is in the store, and nobody ever saw anything but whole versions there."""
        survey, judge = survey_of(self.outside), self.judge()
        for promises in self.promises.values():
            self.score.problems += judge.settled(promises.settled, survey, self.outside.get)
            self.score.checked += len(promises.settled)
        self.watcher.check()
        self.score.problems += judge.seen(self.watcher.take())

    def check_mount(self) -> None:
        """With the mount up again: every name and every byte of every writer is as promised."""
        survey, judge = survey_folder(self.victim.point, "the mount"), self.judge()
        found: dict[str, State] = {}
        for folder, promises in self.promises.items():
            verdict = judge.after_kill(promises, folder, survey, self.read)
            self.score.problems += verdict.problems
            found[folder] = verdict.state
        self.score.checked += len(survey.shapes)
        self._begin(found)

    def read(self, path: str) -> bytes:
        return (self.victim.point / path).read_bytes()

    def check_store(self) -> None:
        """Unmounted: the store has exactly what was promised, and nothing is left of what never ended."""
        self.victim.stop()
        survey = survey_of(self.outside)
        whole: State = {path: entry for promises in self.promises.values() for path, entry in promises.state.items()}
        self.score.problems += self.judge().compared(whole, survey.shapes, survey.where, self.outside.get)
        self.score.problems += [Problem(UNFINISHED, name, "was left in the store") for name in survey.unfinished]
        self.score.checked += len(survey.shapes)

    def recover(self) -> None:
        """Mount again, check what is there, unmount, and check what the store has."""
        self.victim.start()
        self.check_mount()
        self.check_store()

    # the logs

    def _log(self, folder: str) -> Path:
        return self._logs / f"{folder}-{self._rounds:04}.log"

    def go_on_from(self, states: dict[str, State]) -> None:
        """What was found is what comes next is held against; each writer gets a new log."""
        self._begin(states)

    def _begin(self, states: dict[str, State]) -> None:
        """A new log for each writer, which begins with what is there."""
        self._rounds += 1
        for folder, promises in self.promises.items():
            line = found_line(states[folder], promises.number)
            self._log(folder).write_text(line + "\n")
            promises.feed([line])


@contextmanager
def ordeal(mount: Mount, outside: Outside, logs: Path, seed: int, *, writers: int = 2) -> Iterator[Ordeal]:
    """An ordeal over an empty store; neither mount nor process is left after it."""
    logs.mkdir()
    with cleared(mount) as victim, watching(outside) as watcher:
        yield Ordeal(victim, outside, watcher, logs, seed, writers)
        assert not (bugs := victim.bugs()), bugs


def many_kills(trial: Ordeal, kills: int, *, check_store_every: int = 5, say: Callable[[str], None] = lambda line: None) -> None:
    """So many kills of one tree, of all the sorts that dice can choose. Ends at the first problem."""
    rounds = 0
    while trial.score.kills < kills and not trial.score.problems:
        rounds += 1
        sort = trial.dice.choices(("plain", "held up", "at once"), (5, 3, 2))[0]
        trial.killed_at_work(held_up=sort == "held up")
        if sort == "at once" and trial.score.kills < kills:
            trial.victim.start()
            trial.kill()  # while it takes up what the last one left
        trial.victim.start()
        trial.check_mount()
        if trial.score.problems or rounds % check_store_every == 0 or trial.score.kills >= kills:
            trial.check_store()
        say(trial.score.line(f"{trial.score.kills} kills, the last {sort}"))
