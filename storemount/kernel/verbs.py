"""What every verb of the kernel has around it.

What it is: the one place where failures become errno, where verbs are timed, and where what was changed is kept before the program hears
of it.
What it is not: a verb (`fs`), or what becomes of the times (`measures`).
Invariant: nothing but FUSEError leaves a verb: any other exception would end the mount.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from pyfuse3 import FUSEError

from storemount.errors import EIO, ENODATA, ENOENT, ENOTSUP, errno_name, errno_of
from storemount.insight.slow import SlowLog

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger(__name__)

_ANSWERS = frozenset({("getxattr", ENODATA), ("getxattr", ENOTSUP)})
"""No failures: the kernel and `ls` ask every file for attributes (`security.capability`) that hardly one has."""


class Observed(Protocol):
    """Whoever has verbs."""

    @property
    def slow(self) -> SlowLog: ...

    def ended(self, verb: str, seconds: float, failure: str | None) -> None:
        """A verb has taken so long, the wait for the store included, and failed with this errno (its name), or not."""
        ...


class Promising(Observed, Protocol):
    """Whoever has verbs that promise something."""

    def keep_promises(self) -> Awaitable[None]:
        """What was changed until now outlives the daemon, or with `--durability power` a power cut. Raises OSError (ENOSPC)."""
        ...


V = TypeVar("V", bound=Observed)
W = TypeVar("W", bound=Promising)


def kernel_op(verb: Callable[Concatenate[V, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[V, P], Coroutine[Any, Any, R]]:
    """The one place where failures become errno, and where a verb is timed."""
    name = verb.__name__

    @functools.wraps(verb)
    async def run(self: V, *args: P.args, **kwargs: P.kwargs) -> R:
        failure = None
        running = self.slow.begin(name, *args)
        try:
            return await verb(self, *args, **kwargs)
        except Exception as error:
            number = errno_of(error)
            if number is None:
                log.exception("%s failed in a way nobody named", name)
                number = EIO
            elif number == EIO:
                log.warning("%s failed: %s: %s", name, type(error).__name__, error)
            failure = None if (name, number) in _ANSWERS else errno_name(number)
            raise FUSEError(number) from error
        finally:
            self.ended(name, self.slow.end(running), failure)

    return cast("Callable[Concatenate[V, P], Coroutine[Any, Any, R]]", run)


def changing(verb: Callable[Concatenate[W, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[W, P], Coroutine[Any, Any, R]]:
    """A verb that promises something: the program hears of it when the journal has it (S7)."""

    @functools.wraps(verb)
    async def run(self: W, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await verb(self, *args, **kwargs)
        finally:
            await self.keep_promises()

    return kernel_op(cast("Callable[Concatenate[W, P], Coroutine[Any, Any, R]]", run))


class Unasked(logging.Filter):
    """Takes an answer that the kernel no longer waits for (ENOENT, libfuse's fuse_reply_err(3): the call was interrupted, or the file
    system was unmounted meanwhile) for what it is: no error, an event of the level debug."""

    _ENDS = f"fuse_reply_* failed with {os.strerror(ENOENT)}"

    def filter(self, record: logging.LogRecord) -> bool:
        if record.getMessage().endswith(self._ENDS):
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
            return logging.getLogger().isEnabledFor(logging.DEBUG)
        return True
