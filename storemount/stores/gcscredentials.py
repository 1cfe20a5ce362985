"""GcsCredentials: whatever Google accepts as credentials, as the header of a request.

What it is: google-auth's loading and refreshing, in a worker thread, for both engines. Refreshed in place, a few minutes before a token
ends, so a mount outlives its tokens; every form that google-auth knows is taken (a service account's key, gcloud's login, workload
identity, impersonation, the machine's own account), and an access token by itself, which can be renewed only where it stands in a file.
What it is not: a client of the storage.
Invariants: google-auth is imported with the first request, not before. One refresh at a time. After one in vain the place that the
credentials come from is read again: somebody may have logged in meanwhile. No message repeats a credential.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from storemount.errors import Denied, Expired
from storemount.stores.gcserrors import named

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
ANONYMOUS, DEFAULT, MACHINE = "anon", "google_default", "cloud"
WORDS = (DEFAULT, ANONYMOUS, MACHINE)
"""Tokens that are neither a path nor an object."""

ACCESS = "ya29."
"""What an access token by itself begins with; it says nothing of how long it is good, or of where the next one comes from."""


class GcsCredentials:
    """`token` as in `GcsSettings`. `seconds` bound one request to the token server."""

    def __init__(self, token: str, *, seconds: float) -> None:
        self.anonymous = token == ANONYMOUS
        self._given = token or DEFAULT
        self._seconds = seconds
        self._loaded: Any = None
        self._turn = trio.Lock()

    async def token(self, *, rejected: str = "") -> str:
        """A token that is good for some minutes; another one than `rejected`, which the server did not take. Empty when anonymous.

        Raises Expired when there are no credentials, or they give no token (any more); Denied when they are of an unknown kind; Unreachable
        when the token server is."""
        if self.anonymous:
            return ""
        if self._loaded is None or not self._loaded.valid or self._loaded.token == rejected:
            async with self._turn:
                if self._loaded is None or not self._loaded.valid or self._loaded.token == rejected:
                    with named("the credentials"):
                        self._loaded = await trio.to_thread.run_sync(self._refreshed, abandon_on_cancel=True)
        return str(self._loaded.token)

    async def obtain(self) -> str:
        return await self.token()

    async def renew(self, stale: str) -> bool:
        """Whether there is another one than this, which the server did not take."""
        return await self.token(rejected=stale) != stale

    def _refreshed(self) -> Any:
        last, self._loaded = self._loaded, None
        with _in_short():
            return self._next(last)

    def _next(self, last: Any) -> Any:
        import requests
        from google.auth.transport.requests import Request

        # A bare token cannot be refreshed: where it stands in a file, there may be another one by now.
        credentials = self._load() if last is None or _is_bare(last) else last
        if _is_bare(credentials):
            if last is not None and credentials.token == last.token:
                self._loaded = last
                raise Expired("the access token has ended; write a new one to its file, or give credentials that can be renewed")
            return credentials
        with requests.Session() as session:
            credentials.refresh(partial(Request(session), timeout=self._seconds))
        return credentials

    def _load(self) -> Any:
        import google.auth
        from google.auth import compute_engine

        if self._given == DEFAULT:
            # Of a project that it does not find it warns, and nobody here needs one.
            logging.getLogger("google.auth._default").setLevel(logging.ERROR)
            return google.auth.default(scopes=[SCOPE])[0]
        if self._given == MACHINE:
            return compute_engine.Credentials()  # type: ignore[no-untyped-call]
        try:
            text = self._text()
            return _bare(text) if text.startswith(ACCESS) else _of(json.loads(text))
        except ValueError as error:
            where = "the attribute token" if self._given.startswith("{") else self._given
            said = f"credentials: {where} is not what Google gives out ({' '.join(str(error).split())})"
            raise Expired(f"{said}; put the whole file there that Google gave you") from error

    def _text(self) -> str:
        if self._given.startswith(("{", ACCESS)):
            return self._given
        try:
            return Path(self._given).expanduser().read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Expired(f"credentials: cannot read {self._given}, which the attribute token names: {error.strerror}") from error


@contextmanager
def _in_short() -> Iterator[None]:
    """google-auth adds whole answers, and what else was raised, to its words: without them."""
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except GoogleAuthError as error:
        error.args = error.args[:1]
        raise


def _bare(token: str) -> Any:
    from google.oauth2 import credentials

    return credentials.Credentials(token)  # type: ignore[no-untyped-call]


def _is_bare(credentials: Any) -> bool:
    return getattr(credentials, "refresh_token", "") is None and credentials.expiry is None


def _of(told: Any) -> Any:
    """The credentials that an object describes. The types are those of https://google.aip.dev/auth."""
    if not isinstance(told, dict):
        raise ValueError("it is JSON, but no object")
    kind = told.get("type")
    source = told.get("credential_source") or {}
    if kind == "service_account":
        from google.oauth2 import service_account

        return service_account.Credentials.from_service_account_info(told, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    if kind == "authorized_user":
        from google.oauth2 import credentials

        return credentials.Credentials.from_authorized_user_info(told)  # type: ignore[no-untyped-call]
    if kind == "impersonated_service_account":
        from google.auth import impersonated_credentials

        return impersonated_credentials.Credentials.from_impersonated_service_account_info(told, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    if kind == "external_account" and "environment_id" in source:
        from google.auth import aws

        return aws.Credentials.from_info(told, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    if kind == "external_account" and "executable" not in source:
        from google.auth import identity_pool

        return identity_pool.Credentials.from_info(told, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    raise Denied(f"credentials of the type {kind!r} are not known; name the file that gcloud or the console wrote")
