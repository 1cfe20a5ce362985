"""Calling a file system of fsspec from trio, whichever kind it is.

What it is: one `call` for both kinds: coroutines on the asyncio thread, blocking methods in worker threads.
What it is not: a store; it knows methods and paths, and neither keys nor artifacts.
Invariants: the file system is made with the first call, on the side where it will be used, and shared with nobody (fsspec's instance
cache is not used). Its listings cache is off, or emptied before each look. Only those known to allow it are called by two threads at once.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import fsspec
import trio
from fsspec.spec import AbstractFileSystem

from storemount.errors import Invalid
from storemount.stores.bridge import AsyncioThread

_THREAD_SAFE = {"file", "local", "memory"}
_LOOKS = {"info", "ls"}
READ_ONLY = {"data", "git", "github", "libarchive", "reference", "tar", "zip"}
"""File systems that cannot write, or (reference) that forget what was written with the process."""


class FileSystemCalls:
    """The file system behind `url`, made with `options`. Raises Invalid when fsspec has none, or lacks the package that it needs."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        protocol = fsspec.utils.get_protocol(url)
        try:
            kind = fsspec.get_filesystem_class(protocol)
        except (ImportError, ValueError) as error:
            raise Invalid(str(error)) from error
        self.root: str = str(kind._strip_protocol(_link(url)))
        self.read_only = protocol in READ_ONLY and "mode" not in options
        self._kind = kind
        self.asynchronous: bool = kind.async_impl
        self._make = partial(fsspec.core.url_to_fs, url, skip_instance_cache=True, **options)
        self._made: Any = None
        self._asyncio = AsyncioThread("fsspec-requests")
        self._threads = trio.CapacityLimiter(16 if protocol in _THREAD_SAFE else 1)

    @property
    def moves_whole(self) -> bool:
        """Whether a file that is moved is in its place whole."""
        return not self.asynchronous and self._kind.mv is not AbstractFileSystem.mv

    async def call(self, method: str, *args: Any, finish: bool = False, **kwargs: Any) -> Any:
        """What `method` of the file system gives. With `finish` a blocking one is waited for even when the caller is cancelled."""
        if self.asynchronous and (self._made is not None or await self._asyncio.run(self._make_asynchronous)):
            return await self._asyncio.run(self._await, method, args, kwargs)
        blocking = partial(self._block, method, args, kwargs)
        return await trio.to_thread.run_sync(blocking, abandon_on_cancel=not finish, limiter=self._threads)

    async def _make_asynchronous(self) -> bool:
        """Make it on the loop; one around another (dir) may find that this other one blocks, and then it blocks itself."""
        if self._made is None and self.asynchronous:
            try:
                self._made, _ = self._make(asynchronous=True, use_listings_cache=False)
            except ValueError:
                self.asynchronous = False
        return self.asynchronous

    async def _await(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return await getattr(self._made, "_" + method)(*args, **kwargs)

    def _block(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._made is None:
            self._made, _ = self._make()
        if method in _LOOKS:
            self._made.invalidate_cache()
        return getattr(self._made, method)(*args, **kwargs)

    async def aclose(self) -> None:
        """Close what the file system holds open, and end the asyncio thread."""
        if self.asynchronous and self._made is not None:
            await self._asyncio.run(self._close_session)
        self._made = None
        await self._asyncio.aclose()

    async def _close_session(self) -> None:
        """The clients of aiohttp complain when they are collected open."""
        close = getattr(getattr(self._made, "_session", None), "close", None)
        if close is not None and inspect.isawaitable(closing := close()):
            await closing


def _link(url: str) -> str:
    """The link of a chain (`zip::file:///x.zip`) whose paths are those of the whole."""
    first, chained, _ = url.partition("::")
    return first + "://" if chained and "://" not in first else first
