"""Calling a file system of fsspec from trio, whichever kind it is.

What it is: one `call` for both kinds: coroutines on the asyncio thread, blocking methods in worker threads.
What it is not: a store; it knows methods and paths, and neither keys nor artifacts.
Invariants: the file system is made with the first call, on the side where it will be used, and shared with nobody (fsspec's instance
cache is not used). Its listings cache is off, or emptied before each look. Only those known to allow it are called by two threads at once.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import fsspec
import trio
from fsspec.spec import AbstractFileSystem

from storemount.errors import Invalid
from storemount.stores.bridge import AsyncioThread

_THREAD_SAFE = {"file", "local", "memory"}
_LOOKS = {"info", "ls"}


class FileSystemCalls:
    """The file system behind `url`, made with `options`. Raises Invalid when fsspec has none, or lacks the package that it needs."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        protocol = fsspec.utils.get_protocol(url)
        try:
            kind = fsspec.get_filesystem_class(protocol)
        except (ImportError, ValueError) as error:
            raise Invalid(str(error)) from error
        self.root: str = str(kind._strip_protocol(url))
        self.asynchronous: bool = kind.async_impl
        self.moves_whole = not self.asynchronous and kind.mv is not AbstractFileSystem.mv
        self._make = partial(fsspec.core.url_to_fs, url, skip_instance_cache=True, **options)
        self._made: Any = None
        self._asyncio = AsyncioThread("fsspec-requests")
        self._threads = trio.CapacityLimiter(16 if protocol in _THREAD_SAFE else 1)

    async def call(self, method: str, *args: Any, finish: bool = False, **kwargs: Any) -> Any:
        """What `method` of the file system gives. With `finish` a blocking one is waited for even when the caller is cancelled."""
        if self.asynchronous:
            return await self._asyncio.run(self._await, method, args, kwargs)
        blocking = partial(self._block, method, args, kwargs)
        return await trio.to_thread.run_sync(blocking, abandon_on_cancel=not finish, limiter=self._threads)

    async def _await(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._made is None:
            self._made, _ = self._make(asynchronous=True, use_listings_cache=False)
        return await getattr(self._made, "_" + method)(*args, **kwargs)

    def _block(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._made is None:
            self._made, _ = self._make()
        if method in _LOOKS:
            self._made.invalidate_cache()
        return getattr(self._made, method)(*args, **kwargs)

    async def aclose(self) -> None:
        """End the asyncio thread. The file system closes its connections when it is collected."""
        self._made = None
        await self._asyncio.aclose()
