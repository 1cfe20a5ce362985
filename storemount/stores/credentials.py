"""Credentials: the keys that a bucket is asked with, from wherever a user keeps them, and new ones before and after they expire.

What it is: the one source of keys for both S3 engines, and of what stands in a file for Azure's. botocore knows the places (profiles, SSO,
web identity, roles, `credential_process`, containers, instances, the environment); here they are asked when keys are needed, and a
`file:PATH` reference is read.
What it is not: a signer, or a client; who uses the keys, and tries again with new ones, is `renewing`.
Invariants:
- Nothing is asked on trio's loop: looking can wait for the network, so it is done in a thread that a deadline can leave behind.
- One task looks at a time, the others wait for what it finds; a look in vain is not repeated within `AGAIN` seconds.
- Every look is a fresh one. botocore's own renewal is not used: it logs a traceback for what is one line here.
- No message and no repr holds a key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import trio

from storemount.errors import Expired, StoreMountError, TimedOut, Unreachable
from storemount.stores.flavors.spec import FILE

log = logging.getLogger(__name__)

SKEW = 300.0
"""So many seconds before they expire keys are replaced; AWS hands out the next ones by then."""

PAUSE = 30.0
"""Seconds between two looks for keys that still work."""

AGAIN = 0.25
"""Seconds after a look that brought nothing new, before the next for keys that do not."""

LOOKS = 4
"""Threads: one that looks, and some that a deadline has left behind."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What a request is signed with, and what the same profile says of the way to the store (None: nothing)."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    region: str | None = None
    endpoint: str | None = None


K = TypeVar("K")
"""What requests are signed with: `Keys`, or the text of a signature."""


@dataclass(frozen=True, slots=True)
class Found(Generic[K]):
    """`due(seconds)`: whether they expire within so many seconds, as far as anybody knows."""

    keys: K = field(repr=False)
    due: Callable[[float], bool]


Look = Callable[[], Found[K]]
"""Looks for keys; it may block for long. Raises a failure that may pass: Expired, or what kept it from asking."""


def ambient(profile: str | None) -> Look[Keys]:
    """Where AWS's own tools look, in their order; with a profile, only there."""

    def look() -> Found[Keys]:
        from storemount.stores.botocore_errors import translate

        try:
            return _ask_botocore(profile)
        except StoreMountError:
            raise
        except Exception as error:
            failure = translate(error, "credentials")
            raise failure if isinstance(failure, (Unreachable, TimedOut)) else Expired(str(failure)) from error

    return look


def _ask_botocore(profile: str | None) -> Found[Keys]:
    from botocore.configprovider import ConfiguredEndpointProvider
    from botocore.session import Session

    session = Session(profile=profile)
    found = session.get_credentials()
    if found is None:
        raise Expired("no credentials were found; set the attributes key and secret or profile, or log in with AWS's own tools")
    frozen = found.get_frozen_credentials()
    endpoint = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), "s3").provide()
    keys = Keys(frozen.access_key, frozen.secret_key, frozen.token or None, session.get_config_variable("region"), endpoint)
    return Found(keys, getattr(found, "refresh_needed", _never))


def by_reference(given: Mapping[str, str]) -> Look[Keys]:
    """`given` has the attributes key, secret and perhaps token, each a value or `file:PATH`."""

    def look() -> Found[Keys]:
        values = {name: _read(name, value) for name, value in given.items()}
        return Found(Keys(values["key"], values["secret"], values.get("token")), _never)

    return look


def from_file(name: str, value: str) -> Look[str]:
    """What stands in the file that `value` (`file:PATH`) of the attribute `name` names."""
    return lambda: Found(_read(name, value), _never)


def _read(name: str, value: str) -> str:
    if not value.startswith(FILE):
        return value
    path = Path(value.removeprefix(FILE)).expanduser()
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Expired(f"credentials: cannot read {path}, which the attribute {name} names: {error.strerror}") from error
    except UnicodeDecodeError:
        raise Expired(f"credentials: {path}, which the attribute {name} names, is not UTF-8 text") from None


def _never(_: float) -> bool:
    return False


class Credentials(Generic[K]):
    """The keys of one store, kept until they are due. One trio thread uses it."""

    def __init__(self, look: Look[K]) -> None:
        self._look = look
        self._found: Found[K] | None = None
        self._failure: StoreMountError | None = None
        self._asked = self._in_vain = -PAUSE
        self._lock = trio.Lock()
        self._threads = trio.CapacityLimiter(LOOKS)

    async def obtain(self) -> K:
        """Keys to ask with now; only when they are due does this wait. Raises Expired, or what kept us from getting any."""
        found = self._found
        if found is not None and not self._due(found):
            return found.keys
        async with self._lock:
            if self._found is None or self._due(self._found):
                await self._replace()
            return self._held().keys

    async def renew(self, stale: K) -> bool:
        """Look again, as the store said that these have expired; whether there are others now. Raises as `obtain`."""
        async with self._lock:
            if self._held().keys == stale and trio.current_time() >= self._in_vain + AGAIN:
                await self._find()
                if self._held().keys == stale:
                    self._in_vain = trio.current_time()
            return self._held().keys != stale

    def _due(self, found: Found[K]) -> bool:
        return found.due(0) or (found.due(SKEW) and trio.current_time() >= self._asked + PAUSE)

    async def _replace(self) -> None:
        try:
            await self._find()
        except StoreMountError as error:
            if self._found is None or self._found.due(0):
                raise
            log.warning("the credentials expire soon, and new ones cannot be had yet: %s", error)

    async def _find(self) -> None:
        if self._failure is not None and trio.current_time() < self._asked + AGAIN:
            raise type(self._failure)(str(self._failure))
        try:
            self._found = await trio.to_thread.run_sync(self._look, abandon_on_cancel=True, limiter=self._threads)
            self._failure = None
        except StoreMountError as error:
            self._failure = error
            raise
        finally:
            self._asked = trio.current_time()

    def _held(self) -> Found[K]:
        if self._found is None:
            raise Expired("no credentials have been found yet")
        return self._found


def look_for(profile: str | None, given: Mapping[str, Any]) -> Look[Keys] | None:
    """How to find the keys of a store with these attributes; None when they stand there and nothing can ever replace them."""
    values = {name: str(value) for name, value in given.items() if value}
    if not values:
        return ambient(profile)
    return by_reference(values) if any(value.startswith(FILE) for value in values.values()) else None
