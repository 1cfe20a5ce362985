"""Calling a user's class from trio: in worker threads, or on an asyncio thread when its methods are coroutines.

What it is: one way to run a few of its methods together, with a deadline, and never too many at once.
What it is not: a store; it knows methods and paths, and neither keys nor artifacts.
Invariants:
- Every call ends by its deadline (S14). A method that does not return is left behind: its thread goes on, and keeps its place among those
  that may call, so that a class that hangs can never take more threads than that. When all hang, every call times out.
- The instance is made with the first call, on the side where it is used. What ends a process (SystemExit) is a failure like any other.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

from storemount.errors import ExitCode, Refusal, TimedOut, Unavailable, Unreachable, Unsupported
from storemount.stores.bridge import AsyncioThread
from storemount.stores.user.facts import Failures

T = TypeVar("T")


async def settled(value: Any) -> Any:
    """What a method gave: itself, or what it has to be awaited for."""
    return await value if inspect.isawaitable(value) else value


class Side:
    """The class's own side of one call. `given_up` is set when nobody waits for it any more."""

    def __init__(self, instance: Any, given_up: threading.Event) -> None:
        self._instance = instance
        self.given_up = given_up

    def has(self, method: str) -> bool:
        return callable(getattr(self._instance, method, None))

    def takes(self, method: str, argument: str) -> bool:
        """Whether the method can be told this by name."""
        return argument in inspect.signature(self._method(method)).parameters

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """What the method gives. Raises what it raises."""
        return await settled(self._method(method)(*map(self._spelled, args), **kwargs))

    def _method(self, name: str) -> Any:
        """ZenML wraps each method of an instance in a check that refuses every scheme but its own; `func` is what it wraps."""
        method = getattr(self._instance, name, None)
        if method is None:
            raise Unsupported(f"the class has no {name}")
        return method.func if type(method).__name__ == "_sanitize_paths" else method

    def _spelled(self, argument: Any) -> Any:
        """Paths are text, or bytes where the class says that it takes nothing else."""
        wants = getattr(type(self._instance).open, "__annotations__", {}).values()
        return argument.encode() if isinstance(argument, str) and next(iter(wants), None) in (bytes, "bytes") else argument

    @asynccontextmanager
    async def opened(self, path: str, mode: str) -> AsyncIterator[Any]:
        """The class's file, closed at the end; when the block fails the file is told, if it is a context manager."""
        file = await settled(self._method("open")(self._spelled(path), mode))
        enter, leave = (getattr(type(file), name, None) for name in _WAYS[hasattr(type(file), "__aenter__")])
        used = file if enter is None else await settled(enter(file))
        try:
            yield used
        except BaseException as error:
            await settled(leave(file, type(error), error, error.__traceback__) if enter and leave else used.close())
            raise
        await settled(leave(file, None, None, None) if enter and leave else used.close())


_WAYS = {False: ("__enter__", "__exit__"), True: ("__aenter__", "__aexit__")}

Work = Callable[[Side], Awaitable[T]]
"""A few calls of the class. In a class without coroutines it runs in one thread from beginning to end."""


class UserCalls:
    """The instance that `make` makes, called by at most `at_once` at a time, for at most `deadline` seconds each."""

    def __init__(self, make: Callable[[], Any], failures: Failures, *, asynchronous: bool, at_once: int, deadline: float) -> None:
        self._make = make
        self._failures = failures
        self._deadline = deadline
        self._made: Any = None
        self._making = threading.Lock()
        self._places = trio.CapacityLimiter(at_once)
        self._asyncio = AsyncioThread("user-class", abandon=True) if asynchronous else None

    async def call(self, what: str, method: str, *args: Any, finish: bool = False, **kwargs: Any) -> Any:
        """One method; `what` is the key that a failure names. Raises StoreMountError."""

        async def work(side: Side) -> Any:
            return await side.call(method, *args, **kwargs)

        return await self.run(what, work, finish=finish)

    async def run(self, what: str, work: Work[T], *, limit: float | None = None, finish: bool = False) -> T:
        """What `work` gives, within `limit` seconds (else the deadline), and never beyond the caller's own deadline. With `finish` it is
        waited for even when the caller is cancelled otherwise. Raises StoreMountError."""
        await trio.lowlevel.checkpoint_if_cancelled()
        given_up = threading.Event()
        seconds = limit or self._deadline
        end = min(trio.current_time() + seconds, trio.current_effective_deadline())
        try:
            with trio.CancelScope(deadline=end, shield=finish), self._failures.named(what):
                return await self._run(work, given_up)
        finally:
            given_up.set()
        await trio.lowlevel.checkpoint_if_cancelled()
        raise TimedOut(f"{what or 'the store'}: the class gave no answer within {seconds:g} s")

    async def _run(self, work: Work[T], given_up: threading.Event) -> T:
        if self._asyncio is None:
            return await trio.to_thread.run_sync(self._drive, work, given_up, abandon_on_cancel=True, limiter=self._places)
        async with self._places:
            return await self._asyncio.run(self._on_loop, work, given_up)

    def _drive(self, work: Work[T], given_up: threading.Event) -> T:
        """Run coroutines that never wait for anything, to their end."""
        coroutine = self._on_loop(work, given_up)
        try:
            coroutine.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        coroutine.close()
        raise Unavailable("it awaits something, though none of its needed methods is a coroutine")

    async def _on_loop(self, work: Work[T], given_up: threading.Event) -> T:
        try:
            return await work(Side(self._instance(), given_up))
        except (SystemExit, KeyboardInterrupt) as error:
            raise Unavailable(f"it tried to end the process ({type(error).__name__})") from None

    def _instance(self) -> Any:
        with self._making:
            if self._made is None:
                try:
                    self._made = self._make()
                except Exception as error:
                    text = self._failures.without_secrets(f"{type(error).__name__}: {' '.join(str(error).split())}")
                    said = f"the class of the store cannot be made: {text}"
                    if isinstance(error, ConnectionError | TimeoutError):
                        raise Unreachable(said) from None
                    raise Refusal(ExitCode.BAD_CONFIGURATION, said) from None
            return self._made

    async def aclose(self) -> None:
        """Forget the instance. What hangs in it is left behind."""
        self._made = None
        if self._asyncio is not None:
            await self._asyncio.aclose()
