"""scripts/crash: hundreds of kills and power cuts, and a line for each phase.

What it is: the options, the phases, and the exit code: 0 when nothing was lost, 1 when something was (with the seed that shows it again).
What it is not: the rounds themselves (`cycle`, `power`).
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial

from tests.crash.cycle import Score, many_kills, ordeal
from tests.crash.disk import missing
from tests.crash.power import MARGIN, run_apart
from tests.support.command import Storemount
from tests.support.mounting import REMOTE, STORES, mount_of, open_outside, temporary_home
from tests.support.servers import moto_server

SECONDS_A_CUT = 120.0


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def kills(kind: str, count: int, seed: int) -> Score:
    with ExitStack() as stack:
        home = stack.enter_context(temporary_home())
        server = stack.enter_context(moto_server()) if kind in REMOTE else None
        outside = open_outside(kind, home, server, "kills")
        stack.callback(outside.close)
        trial = stack.enter_context(ordeal(mount_of(Storemount(home), kind, outside), outside, home / "logs", seed))
        many_kills(trial, count, say=say)
        return trial.score


def cuts(kind: str, count: int, seed: int, durability: str) -> Score:
    with temporary_home() as home:
        words = (f"--cuts={count}", f"--store={kind}", f"--seed={seed}", f"--durability={durability}")
        return run_apart(home, *words, within=count * SECONDS_A_CUT)


def shares(total: int, among: list[str]) -> Iterator[tuple[str, int]]:
    """`total` as evenly as it goes."""
    for number, each in enumerate(among):
        if share := total // len(among) + (number < total % len(among)):
            yield each, share


def options() -> argparse.Namespace:
    text = "Kill the daemon, and cut the power, again and again: nothing may be lost."
    words = argparse.ArgumentParser(prog="scripts/crash", description=text)
    words.add_argument("--kills", type=int, default=300, help="kill -9 of the daemon, shared among the stores (default 300)")
    words.add_argument("--cuts", type=int, default=50, help="power cuts, shared among the stores (default 50; root only)")
    words.add_argument("--store", choices=[*STORES, "all"], default="all")
    words.add_argument("--durability", choices=list(MARGIN), default="crash", help="what the mounts under the power cuts promise")
    words.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="of all dice (default: a fresh one, printed)")
    return words.parse_args()


def main() -> int:
    given = options()
    say(f"seed {given.seed}")
    stores = list(STORES) if given.store == "all" else [given.store]
    phases = [(f"kills on {kind}", partial(kills, kind, count, given.seed)) for kind, count in shares(given.kills, stores)]
    if given.cuts and (reason := missing()):
        print(f"power cuts: skipped; {reason}")
    else:
        for kind, count in shares(given.cuts, stores):
            phases.append((f"power cuts on {kind}", partial(cuts, kind, count, given.seed, given.durability)))
    return run(phases, given.seed)


def run(phases: Iterable[tuple[str, Callable[[], Score]]], seed: int) -> int:
    """Each phase, though an earlier one failed; the exit code."""
    sound = True
    for what, phase in phases:
        score = phase()
        print(score.line(what), flush=True)
        for problem in score.problems:
            print(f"  {problem}")
        sound &= not score.problems
    if not sound:
        print(f"something was lost; to see it again: scripts/crash --seed {seed}")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
