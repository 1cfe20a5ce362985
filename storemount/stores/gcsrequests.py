"""GcsRequests: single requests to Google Cloud Storage, over gcsfs's session.

What it is: credentials, deadline, tries and names of failures around one HTTP request.
What it is not: aware of objects and keys; addresses come encoded.
Invariants: gcsfs is imported and a connection made with the first request, not before. No request outlives its deadline (S14), whatever
is tried again. A token that the server does not take is replaced, and the request sent again, before anybody hears of it.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import trio

from storemount.errors import Corrupt, Expired, StoreMountError, TimedOut
from storemount.stores.bridge import AsyncioThread
from storemount.stores.gcscredentials import GcsCredentials
from storemount.stores.gcserrors import answered, named
from storemount.stores.gcssettings import GcsSettings
from storemount.stores.parts import patience

log = logging.getLogger(__name__)

ATTEMPTS = 3
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self, what: str) -> dict[str, Any]:
        """Raises Corrupt when it is no JSON object."""
        try:
            told = json.loads(self.body)
        except ValueError as error:
            raise Corrupt(f"{what}: the answer is not JSON") from error
        if not isinstance(told, dict):
            raise Corrupt(f"{what}: the answer is not an object")
        return told


class GcsRequests:
    """`deadline` in seconds bounds every request, its retries included."""

    def __init__(self, settings: GcsSettings, credentials: GcsCredentials, *, deadline: float) -> None:
        self._settings = settings
        self._credentials = credentials
        self._deadline = deadline
        self._asyncio = AsyncioThread("gcs-requests")
        self._gcsfs: Any = None

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            if self._gcsfs is not None:
                await self._asyncio.run(self._disconnect)
            await self._asyncio.aclose()

    async def ask(
        self,
        what: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        moving: int = 0,
        shield: bool = False,
        attempts: int = ATTEMPTS,
        welcome: tuple[int, ...] = (),
        parameters: Mapping[str, str] = NOTHING,
    ) -> Answer:
        """One request, tried again within the deadline when the failure may pass. `moving` bytes get a slow line's time on top of it;
        statuses that are `welcome` are no failures."""
        limit = patience(moving, self._deadline)
        asked = {**parameters, **({"userProject": self._settings.requester_pays} if self._settings.requester_pays else {})}
        whole = f"{url}{'&' if '?' in url else '?'}{urlencode(asked)}" if asked else url
        try:
            with trio.fail_after(limit, shield=shield):
                for attempt in range(1, attempts):
                    try:
                        return await self._attempt(what, method, whole, headers or {}, data, moving, welcome)
                    except StoreMountError as error:
                        if not error.transient or isinstance(error, (TimedOut, Expired)):
                            raise
                        log.debug("%s: attempt %d failed: %s", what, attempt, error)
                    await trio.sleep(self._deadline / 100 * attempt)
                return await self._attempt(what, method, whole, headers or {}, data, moving, welcome)
        except trio.TooSlowError as error:
            raise TimedOut(f"{what}: no answer within {limit:g} s") from error

    async def _attempt(
        self, what: str, method: str, url: str, headers: Mapping[str, str], data: bytes | None, moving: int, welcome: tuple[int, ...]
    ) -> Answer:
        """One try; a token that the server does not take (any more) is replaced once."""
        token = await self._credentials.token()
        told = await self._request(what, method, url, headers, data, moving, token)
        if told.status == 401 and token:
            token = await self._credentials.token(rejected=token)
            told = await self._request(what, method, url, headers, data, moving, token)
        if told.status >= 400 and told.status not in welcome:
            raise answered(what, told.status, told.body)
        return told

    async def _request(
        self, what: str, method: str, url: str, headers: Mapping[str, str], data: bytes | None, moving: int, token: str
    ) -> Answer:
        given = {"Accept-Encoding": "identity", **headers, **({"Authorization": f"Bearer {token}"} if token else {})}
        with named(what):
            return await self._asyncio.run(self._send, method, url, given, data, moving)

    # What follows runs on the asyncio loop.

    async def _send(self, method: str, url: str, headers: dict[str, str], data: bytes | None, moving: int) -> Answer:
        import aiohttp
        from yarl import URL

        session = await self._connected()._set_session()
        limit = aiohttp.ClientTimeout(total=None, sock_connect=self._deadline * 0.3, sock_read=patience(moving, self._deadline * 0.3))
        # Bytes by themselves would be written in one go, and the loop would do nothing else meanwhile.
        body = io.BytesIO(data) if data else data
        # The address is encoded already: an encoder that resolved dots or merged slashes would name another key.
        async with session.request(
            method, URL(url, encoded=True), headers=headers, data=body, timeout=limit, allow_redirects=False
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    def _connected(self) -> Any:
        if self._gcsfs is None:
            from gcsfs.core import GCSFileSystem

            # Anonymous: gcsfs would refresh a token in the event loop, which then answers nobody.
            self._gcsfs = GCSFileSystem(
                token="anon",
                project=self._settings.project or self._settings.bucket,
                endpoint_url=self._settings.endpoint,
                asynchronous=True,
                skip_instance_cache=True,
                use_listings_cache=False,
                session_kwargs={"auto_decompress": False, "trust_env": True},
            )
        return self._gcsfs

    async def _disconnect(self) -> None:
        session, self._gcsfs = self._gcsfs._session, None
        if session is not None:
            await session.close()
