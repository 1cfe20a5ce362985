"""What is there, held against what was promised.

What it is: the comparisons, each of which gives the state that a survey shows and the list of what is wrong with it.
What it is not: the promises (`promises`), or how the survey was made (`survey`).
Invariant: a comparison without a problem means that every name and every byte is as promised, and that nothing else is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from tests.crash.contents import described
from tests.crash.promises import Changes, Entry, Promises, Shape, State, Window, shape, within
from tests.crash.survey import Survey

LOST, OLD, TORN, RETURNED, STRANGE, UNFINISHED = "lost", "old version", "torn", "came back", "never promised", "unfinished"

Read = Callable[[str], bytes]
"""The bytes at a path of what was surveyed, for messages."""


class Problem(NamedTuple):
    kind: str
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}: {self.text}"


class Verdict(NamedTuple):
    """`state`: which of the allowed states it is (the nearest one, when there are problems)."""

    state: State
    problems: list[Problem]


class Judge:
    """Compares with the promises of some writers, whose trees are apart."""

    def __init__(self, promises: Iterable[Promises]) -> None:
        self._history: dict[str, set[Shape]] = {}
        """Every path that was ever named, and what it ever was."""
        for each in promises:
            self._history |= each.history

    def after_kill(self, promises: Promises, folder: str, survey: Survey, read: Read) -> Verdict:
        """The tree below `folder` is one of the states that a kill may have left."""
        found = {path: seen for path, seen in survey.shapes.items() if within(path, folder)}
        verdicts = [Verdict(state, self.compared(state, found, survey.where, read)) for state in promises.allowed()]
        return min(verdicts, key=lambda verdict: len(verdict.problems))

    def compared(self, state: Mapping[str, Entry], found: Mapping[str, Shape], where: str, read: Read) -> list[Problem]:
        """`found` is exactly `state`."""
        expected: dict[str, Shape] = {path: shape(entry) for path, entry in state.items()}
        wrong = sorted(path for path in expected.keys() | found.keys() if expected.get(path) != found.get(path))
        return [self._problem(path, {expected.get(path)}, found.get(path), where, read) for path in wrong]

    def after_cut(self, window: Window, folder: str, survey: Survey, read: Read) -> Verdict:
        """Each path below `folder` has an entry that the cut may have left it, and each file that was safe is somewhere."""
        state: State = {}
        problems = []
        mine = {path for path in survey.shapes if within(path, folder)}
        for path in sorted(mine | window.options.keys()):
            options = window.at(path)
            seen = survey.shapes.get(path)
            entry = next((each for each in reversed(options) if (each and shape(each)) == seen), None)
            if entry is not None:
                state[path] = entry
            elif seen is not None or None not in options:
                problems.append(self._problem(path, {each and shape(each) for each in options}, seen, survey.where, read))
        return Verdict(state, problems + _vanished(window, survey, {problem.path for problem in problems}))

    def settled(self, settled: Changes, survey: Survey, read: Read) -> list[Problem]:
        """What was fsynced, and not changed since, is in the store."""
        found = {path: survey.shapes[path] for path in settled if path in survey.shapes}
        return self.compared({path: entry for path, entry in settled.items() if entry is not None}, found, survey.where, read)

    def seen(self, objects: Mapping[tuple[str, Shape], bytes]) -> list[Problem]:
        """Everything that was ever seen in the store is whole: a version that was closed, under a name that was given (S6).

        Of any name: a directory that is renamed may bring an older version of a file, which the newer one then replaces."""
        whole = set().union(*self._history.values())
        return [
            Problem(TORN if path in self._history else STRANGE, path, f"the store once had {described(begin, self._history)}")
            for (path, seen), begin in objects.items()
            if seen not in whole or path not in self._history
        ]

    def _problem(self, path: str, wanted: set[Shape | None], seen: Shape | None, where: str, read: Read) -> Problem:
        known = self._history.get(path)
        if seen is None:
            return Problem(LOST, path, f"not in {where}")
        if wanted == {None}:
            kind = RETURNED if known is not None else STRANGE
            return Problem(kind, path, f"{where} has {self._told(path, seen, read)}")
        return Problem(OLD if known and seen in known else TORN, path, f"{where} has {self._told(path, seen, read)}")

    def _told(self, path: str, seen: Shape, read: Read) -> str:
        return described(read(path), self._history) if seen[0] == "file" else " ".join(seen)


def _vanished(window: Window, survey: Survey, told: set[str]) -> list[Problem]:
    """Safe files that every one of their names has lost, but for names of which a problem is told already."""
    lost = []
    for name in sorted(window.safe):
        homes, shapes = window.homes(name), {shape(version) for version in window.versions[name]}
        if not any(survey.shapes.get(path) in shapes or path in told for path in homes):
            lost.append(Problem(LOST, homes[0], f"it was safe, and is nowhere in {survey.where} ({', '.join(homes)})"))
    return lost
