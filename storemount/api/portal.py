"""Portal: a trio run in a thread of its own, called from ordinary threads.

What it is: the one crossing from synchronous programs to the asynchronous stores: `call` starts a coroutine there and waits for it.
What it is not: the way from trio to asyncio (`stores.bridge`), or a place for state of the stores.
Invariants:
- The thread starts with the first call and ends with `close`, or with the interpreter. A call after that begins another run; `generation`
  tells runs apart, so that whoever keeps something that lives in one knows when it is gone.
- A call that is interrupted (Ctrl-C) ends only when its coroutine has let go, so nothing of it goes on.
- After a fork the child has a portal that is not running, whatever the parent's threads were doing; it begins a run of its own.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Generic, ParamSpec, TypeAlias, TypeVar

import trio
from outcome import Error, Outcome, Value

P = ParamSpec("P")
R = TypeVar("R")
Clear: TypeAlias = Callable[[], Awaitable[object]]

LAST_WORDS = 2.0
"""Seconds that connections get to end."""


class Portal:
    """Any number of threads may call at once. `forked`: this process is the child of one in which the portal was running."""

    def __init__(self, name: str) -> None:
        self.generation = 0
        self.forked = False
        self._name = name
        self._lock = threading.Lock()
        self._run: _Run | None = None
        forget = weakref.WeakMethod(self._forget)
        os.register_at_fork(after_in_child=lambda: (portal := forget()) and portal())

    def call(self, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `await function(*args, **kwargs)` gives or raises. Not from the portal's own thread (RuntimeError)."""
        run = self._running()
        if run.is_here():
            raise RuntimeError("a call from the portal's own thread would wait for itself")
        return _Call(partial(function, *args, **kwargs), run).result()

    def let_go(self, function: Callable[[], Awaitable[object]]) -> None:
        """Have `function` awaited, and do not wait for it: for what is cleared away while something is collected as garbage, which can
        happen in any thread, and at any time."""
        run = self._run
        if run is not None:
            run.begin(_Call(function, run))

    def at_end(self, clear: Clear) -> None:
        """Have `clear` awaited when the run ends. Called in the run, by whoever opens something there."""
        assert self._run is not None
        self._run.clears.append(clear)

    def close(self) -> None:
        """End the run: first what is going on in it, then what was to be cleared."""
        with self._lock:
            run, self._run = self._run, None
        if run is not None:
            atexit.unregister(self.close)
            run.end()

    def _running(self) -> _Run:
        with self._lock:
            if self._run is None:
                self.generation += 1
                self._run = _Run(self._name)
                # The interpreter stops daemon threads where they are; this one has connections to end.
                atexit.register(self.close)
            return self._run

    def _forget(self) -> None:
        """In the child of a fork: the run's thread is not here, and the lock may have been held by another that is not here either."""
        self._lock = threading.Lock()
        if self._run is not None:
            atexit.unregister(self.close)
            self._run = None
            self.forked = True


class _Run:
    """One trio run, from its thread's start to its end."""

    def __init__(self, name: str) -> None:
        self.clears: list[Clear] = []
        started: Future[tuple[trio.lowlevel.TrioToken, trio.Nursery, trio.Event]] = Future()
        self._thread = threading.Thread(target=trio.run, args=(_serve, started, self.clears), name=name, daemon=True)
        self._thread.start()
        self.token, self._nursery, self._over = started.result()

    def is_here(self) -> bool:
        return threading.current_thread() is self._thread

    def begin(self, call: _Call[R]) -> None:
        self.soon(call.start, call.fail)

    def soon(self, step: Callable[[], object], otherwise: Callable[[], object]) -> None:
        """Have `step` done in the run, or, where that has ended, `otherwise` here."""
        try:
            self.token.run_sync_soon(step)
        except trio.RunFinishedError:
            otherwise()

    def nurse(self, call: _Call[R]) -> None:
        if self._over.is_set():
            call.fail()
        else:
            self._nursery.start_soon(call.run)

    def end(self) -> None:
        self.soon(self._over.set, lambda: None)
        self._thread.join()


async def _serve(started: Future[tuple[trio.lowlevel.TrioToken, trio.Nursery, trio.Event]], clears: Sequence[Clear]) -> None:
    over = trio.Event()
    async with trio.open_nursery() as nursery:
        started.set_result((trio.lowlevel.current_trio_token(), nursery, over))
        await over.wait()
        nursery.cancel_scope.cancel()
    with trio.move_on_after(LAST_WORDS):
        for clear in clears:
            await clear()


class _Call(Generic[R]):
    """One coroutine: begun and waited for in one thread, run in the portal's."""

    def __init__(self, function: Callable[[], Awaitable[R]], home: _Run) -> None:
        self._function = function
        self._home = home
        self._begun = False
        self._scope = trio.CancelScope()
        self._done: Future[Outcome[R]] = Future()

    def result(self) -> R:
        try:
            self._home.begin(self)
            ended = self._done.result()
        except BaseException:
            self._home.soon(self._give_up, self.fail)
            self._done.result()
            raise
        return ended.unwrap()

    def start(self) -> None:
        self._begun = True
        self._home.nurse(self)

    async def run(self) -> None:
        ended: Outcome[R] = _never()
        try:
            with self._scope:
                try:
                    ended = Value(await self._function())
                except Exception as error:
                    ended = Error(error)
        finally:
            self._done.set_result(ended)

    def fail(self) -> None:
        """It will not be run, or has been."""
        if not self._done.done():
            self._done.set_result(_never())

    def _give_up(self) -> None:
        """The caller was interrupted, maybe before it could begin this."""
        if self._begun:
            self._scope.cancel()
        else:
            self.fail()


def _never() -> Error:
    return Error(RuntimeError("the portal was closed before this call had an answer"))
