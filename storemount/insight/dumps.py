"""What the daemon is doing, on request (SIGUSR1).

What it is: one line in the log for each task, with the stack that it waits in; and the stacks of all threads after them, from the C level,
which works also when no task gets a turn any more.
What it is not: a debugger; nothing is stopped, and no value of a variable is shown.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
from collections.abc import Callable, Iterator
from typing import TextIO

import trio
from trio.lowlevel import Task

log = logging.getLogger(__name__)
log.setLevel(logging.INFO)  # Who asks for it wants to see it, however quiet the log is.


async def dump_on_request(stream: Callable[[], TextIO]) -> None:
    """On each SIGUSR1, until cancelled. `stream`: where the threads' stacks go, now."""
    with trio.open_signal_receiver(signal.SIGUSR1) as signals:
        # After trio's own handler, which it calls in its turn.
        faulthandler.register(signal.SIGUSR1, stream(), all_threads=True, chain=True)
        try:
            async for _ in signals:
                dump()
                faulthandler.register(signal.SIGUSR1, stream(), all_threads=True, chain=True)  # The log may be another file now.
        finally:
            faulthandler.unregister(signal.SIGUSR1)


def dump() -> None:
    """One line for each task of this run of trio."""
    root = trio.lowlevel.current_root_task()
    tasks = list(_tasks(root, 0)) if root is not None else []
    log.info("%d tasks, as asked for by SIGUSR1", len(tasks))
    for depth, task in tasks:
        log.info(f"task {'.' * depth}{task.name}: {_stack(task)}")  # Each is an event of its own, not a flood of one.


def _tasks(task: Task, depth: int) -> Iterator[tuple[int, Task]]:
    yield depth, task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _tasks(child, depth + 1)


def _stack(task: Task) -> str:
    """From the outermost frame to where it waits."""
    frames = [f"{os.path.basename(frame.f_code.co_filename)}:{line} {frame.f_code.co_name}" for frame, line in task.iter_await_frames()]
    return " > ".join(frames) or "runs"
