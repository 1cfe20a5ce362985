"""AzureRequests: one request to Azure Blob Storage after the other, through azure-storage-blob.

What it is: the client and its credential, the crossing to their asyncio loop, and a deadline around each request.
What it is not: what the requests mean (`azure`); names here are those of blobs, below no root.
Invariants: the client is imported and a connection made with the first request, not before. Failures leave under the names of `errors`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import trio

from storemount.errors import TimedOut
from storemount.stores.azureanswers import Answer, pin
from storemount.stores.azureerrors import named
from storemount.stores.azuresettings import AzureSettings
from storemount.stores.bridge import AsyncioThread
from storemount.stores.parts import patience

R = TypeVar("R")

Page = tuple[Sequence[Any], str | None]
"""Some items of a listing, and where the next page begins."""


class AzureRequests:
    """To one container. `deadline` in seconds bounds every request, its retries included (S14). `what`: what a failure is about."""

    def __init__(self, settings: AzureSettings, *, deadline: float) -> None:
        self._settings = settings
        self._deadline = deadline
        self._asyncio = AsyncioThread("azure-requests")
        self._client: Any = None
        self._credential: Any = None

    async def blob(self, what: str, name: str, method: str, *, moving: int = 0, shield: bool = False, **asked: Any) -> Any:
        """One request about a blob. `moving` bytes of body get a slow line's time on top of the deadline."""
        return await self._ask(what, partial(self._blob, name, method, asked), moving=moving, shield=shield)

    async def page(self, what: str, full: str, token: str | None, most: int, recursive: bool) -> Page:
        """Up to `most` items whose names begin with `full`."""
        return await self._ask(what, partial(self._page, full, token, most, recursive))

    async def get(self, what: str, name: str, version: str, start: int, size: int) -> bytes:
        """What came for so many bytes of this version."""
        return await self._ask(what, partial(self._get, name, version, start, size), moving=size)

    async def copy(self, what: str, name: str, version: str, to: str) -> Answer:
        """The beginning of a copy, which mostly is its end, too."""
        return await self._ask(what, partial(self._copy, name, version, to))

    async def delete(self, what: str, names: Sequence[str]) -> Sequence[int]:
        """The status that each of the names has."""
        return await self._ask(what, partial(self._delete, names))

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            if self._client is not None:
                await self._asyncio.run(self._disconnect)
            await self._asyncio.aclose()

    async def _ask(self, what: str, request: Callable[[], Awaitable[R]], *, moving: int = 0, shield: bool = False) -> R:
        limit = patience(moving, self._deadline)
        try:
            with trio.fail_after(limit, shield=shield), named(what, self._settings.is_late):
                return await self._asyncio.run(request)
        except trio.TooSlowError as error:
            raise TimedOut(f"{what}: no answer within {limit:g} s") from error

    # What follows runs on the asyncio loop.

    async def _blob(self, name: str, method: str, asked: dict[str, Any]) -> Any:
        return await getattr(self._connected().get_blob_client(name), method)(**asked)

    async def _page(self, full: str, token: str | None, most: int, recursive: bool) -> Page:
        listing = self._connected().list_blobs if recursive else self._connected().walk_blobs
        pages = listing(name_starts_with=full, include=["metadata"], results_per_page=most).by_page(continuation_token=token)
        async for page in pages:
            return [item async for item in page], pages.continuation_token or None
        return [], None

    async def _get(self, name: str, version: str, start: int, size: int) -> bytes:
        blob = self._connected().get_blob_client(name)
        stream = await blob.download_blob(offset=start, length=size, max_concurrency=1, **pin(version))
        return bytes(await stream.readall())

    async def _copy(self, name: str, version: str, to: str) -> Answer:
        from azure.core import MatchConditions

        origin = self._connected().get_blob_client(name)
        asked = {"source_etag": version, "source_match_condition": MatchConditions.IfNotModified}
        told: Answer = await self._connected().get_blob_client(to).start_copy_from_url(origin.url, **asked)
        return told

    async def _delete(self, names: Sequence[str]) -> Sequence[int]:
        answers = await self._connected().delete_blobs(*names, raise_on_any_failure=False)
        return [answer.status_code async for answer in answers]

    def _connected(self) -> Any:
        if self._client is None:
            from azure.storage.blob.aio import ContainerClient, LinearRetry

            self._credential = self._settings.credential()
            self._client = ContainerClient(
                self._settings.endpoint,
                self._settings.container,
                credential=self._credential,
                # Seconds, of which the library only adds and sleeps.
                retry_policy=LinearRetry(
                    backoff=self._deadline / 50,  # type: ignore[arg-type]
                    retry_total=2,
                    random_jitter_range=0,
                ),
                connection_timeout=self._deadline * 0.3,
                read_timeout=self._deadline * 0.3,
                max_single_get_size=2**31,
            )
        return self._client

    async def _disconnect(self) -> None:
        client, credential = self._client, self._credential
        self._client = self._credential = None
        await client.close()
        if hasattr(credential, "close"):
            await credential.close()
