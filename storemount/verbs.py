"""What every verb of the kernel has around it.

What it is: the one place where failures become errno, and where what was changed is kept before the program hears of it.
What it is not: a verb (`fs`).
Invariant: nothing but FUSEError leaves a verb: any other exception would end the mount.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from pyfuse3 import FUSEError

from storemount.errors import EIO, errno_of

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger(__name__)


class Promising(Protocol):
    """Whoever has verbs that promise something."""

    def keep_promises(self) -> Awaitable[None]:
        """What was changed until now outlives the daemon, or with `--durability power` a power cut. Raises OSError (ENOSPC)."""
        ...


V = TypeVar("V")
W = TypeVar("W", bound=Promising)


def kernel_op(verb: Callable[Concatenate[V, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[V, P], Coroutine[Any, Any, R]]:
    """The one place where failures become errno."""

    @functools.wraps(verb)
    async def run(self: V, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await verb(self, *args, **kwargs)
        except Exception as error:
            number = errno_of(error)
            if number is None:
                log.exception("%s failed in a way nobody named", verb.__name__)
                number = EIO
            elif number == EIO:
                log.warning("%s failed: %s: %s", verb.__name__, type(error).__name__, error)
            raise FUSEError(number) from error

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
