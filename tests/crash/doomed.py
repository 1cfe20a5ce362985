"""storemount, with an end that was arranged.

    python -m tests.crash.doomed STEP:N COMMAND...       dies (SIGKILL) at the N-th call of this step
    python -m tests.crash.doomed STEP:hang COMMAND...    calls of this step never return

What it is: the product's own command line, in this process, after one function named by the table of `steps` was wrapped.
What it is not: part of the product, which has no failpoints. With `--foreground`, as tests use it, the process that dies is this one.
Invariant: a step whose function is not there any more is an error at once (exit code 1), not a step that is never reached.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import trio

from storemount.cli import main as storemount
from tests.crash.steps import STEPS, UPLOAD, Arguments, Step

HANG = "hang"


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fatal(call: Callable[..., Any], step: Step, number: int) -> Callable[..., Any]:
    """`call`, but for the one that ends this process."""
    counter = itertools.count(1)

    def is_last(arguments: Arguments) -> bool:
        return step.only(arguments) and next(counter) == number

    @functools.wraps(call)
    def run(*arguments: Any, **named: Any) -> Any:
        last = is_last(arguments)
        if last and step.when == "before":
            _die()
        result = call(*arguments, **named)
        if last:
            _die()
        return result

    @functools.wraps(call)
    async def run_async(*arguments: Any, **named: Any) -> Any:
        last = is_last(arguments)
        if last and step.when == "before":
            _die()
        result = await call(*arguments, **named)
        if last:
            _die()
        return result

    return run_async if inspect.iscoroutinefunction(call) else run


async def _never(*_: Any, **__: Any) -> None:
    await trio.sleep_forever()


def inject(word: str) -> None:
    """Wrap what `word` (STEP:N or STEP:hang) names."""
    name, _, number = word.rpartition(":")
    step = next(step for step in (*STEPS, UPLOAD) if step.name == name)
    module, _, path = step.target.partition(":")
    *owners, last = path.split(".")
    owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))
    call = getattr(owner, last)
    setattr(owner, last, _never if number == HANG else _fatal(call, step, int(number)))


if __name__ == "__main__":
    inject(sys.argv[1])
    sys.argv = ["storemount", *sys.argv[2:]]
    storemount()
