"""AsyncioThread: one asyncio loop in a thread of its own, called from trio.

What it is: the only crossing between trio and asyncio, for the client libraries that know nothing else.
What it is not: a pool, or a place for state; coroutines get and give back bytes, strings and frozen values.
Invariants: a call returns only when its asyncio task is done, so after a cancellation nothing of it goes on. The thread starts with
the first call and is gone after `aclose`. Not so with `abandon`, which is for code that may hang: there a cancelled call is told to
stop and left behind, and so is the thread, in the end.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

import outcome
import trio

from storemount.errors import Unavailable

P = ParamSpec("P")
R = TypeVar("R")

LAST_WORDS = 1.0
"""Seconds that a thread which may hang gets to end."""

log = logging.getLogger(__name__)


class AsyncioThread:
    """An asyncio loop that trio tasks can run coroutines on. One trio thread uses it."""

    def __init__(self, name: str, *, abandon: bool = False) -> None:
        self._name = name
        self._abandon = abandon
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_exception_handler(_tell)
            self._thread = threading.Thread(target=self._serve, args=(self._loop,), name=self._name, daemon=True)
            self._thread.start()
        return self._loop

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def run(self, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `await function(*args, **kwargs)` gives on the asyncio loop. Cancelling waits until asyncio has let go."""
        await trio.lowlevel.checkpoint_if_cancelled()
        result: R = await _Call(self._running(), _awaited(function, *args, **kwargs), abandon=self._abandon).result()
        return result

    async def aclose(self) -> None:
        """End the loop and its thread; nothing may be in flight."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is None or thread is None:
            await trio.lowlevel.checkpoint()
            return
        loop.call_soon_threadsafe(loop.stop)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(thread.join, LAST_WORDS if self._abandon else None)


def _tell(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """One line for what failed in a task of the client's own (aiohttp leaves one when an upload is cut); our call tells how it ended."""
    log.warning("%s: %r", context["message"], context.get("exception"))


async def _awaited(function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
    """A coroutine for whatever `function` gives to be awaited; made and run on the asyncio loop."""
    return await function(*args, **kwargs)


class _Call:
    """One coroutine on its way: started on the asyncio thread, finished on the trio thread, exactly once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Any, *, abandon: bool) -> None:
        self._loop = loop
        self._abandon = abandon
        self._abandoned = False
        self._coroutine = coroutine
        self._job: asyncio.Task[Any] | None = None
        self._waiter = trio.lowlevel.current_task()
        self._home = trio.lowlevel.current_trio_token()
        self._give_up: Callable[[], Any] | None = None

    async def result(self) -> Any:
        self._loop.call_soon_threadsafe(self._start)
        return await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _start(self) -> None:
        self._job = self._loop.create_task(self._coroutine)
        self._job.add_done_callback(self._hand_over)

    def _hand_over(self, job: asyncio.Task[Any]) -> None:
        try:
            self._home.run_sync_soon(self._finish, job)
        except trio.RunFinishedError:
            # The run ended while the call was in flight: nobody waits for the result any more.
            job.cancelled() or job.exception()

    def _finish(self, job: asyncio.Task[Any]) -> None:
        if self._abandoned:
            job.cancelled() or job.exception()
            return
        trio.lowlevel.reschedule(self._waiter, outcome.capture(self._unpack, job))

    def _unpack(self, job: asyncio.Task[Any]) -> Any:
        if not job.cancelled():
            return job.result()
        if self._give_up is not None:
            return self._give_up()
        raise Unavailable("the client library gave the request up")

    def _abort(self, raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self._give_up = raise_cancel
        self._loop.call_soon_threadsafe(self._stop)
        if self._abandon:
            self._abandoned = True
            return trio.lowlevel.Abort.SUCCEEDED
        return trio.lowlevel.Abort.FAILED

    def _stop(self) -> None:
        # `_start` was queued before, so the task is there.
        if self._job is not None:
            self._job.cancel()
