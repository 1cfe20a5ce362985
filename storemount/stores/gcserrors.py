"""What Google Cloud Storage means by its answers, in the words of `errors`.

What it is: the reading of an HTTP status with its JSON error document, and of the exceptions of aiohttp and google-auth.
What it is not: the reading of OpenDAL's exceptions (`native_errors`, which asks `gcs_error` for what is particular to this service).
Invariants: a 404 is NotFound only when it cannot be about the bucket (S3); what is not recognised is `Unavailable` or goes by its status.
A token that is not taken (401), and credentials that give none, are Expired: a login mends them. What they may not do (403) is Denied.
The document is described at https://cloud.google.com/storage/docs/json_api/v1/status-codes.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager

from storemount.errors import (
    RENEW,
    Changed,
    Corrupt,
    Denied,
    Expired,
    Invalid,
    InvalidName,
    MissingStore,
    NotFound,
    StoreMountError,
    TimedOut,
    TooLarge,
    Unavailable,
    Unreachable,
    Unsupported,
)
from storemount.stores.translation import translated

_STATUSES: dict[int, type[StoreMountError]] = {
    401: Expired,
    403: Denied,
    404: NotFound,
    408: TimedOut,
    409: Unavailable,
    410: Unavailable,
    412: Changed,
    413: TooLarge,
    416: Corrupt,
    429: Unavailable,
    501: Unsupported,
}
_TOO_OFTEN = ("rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded")


def gcs_error(what: str, reason: str, status: int) -> StoreMountError:
    """The failure that an answer stands for; `what` is the key, or what was asked; `reason` is the error document's message, if any."""
    said = f"{what}: {reason or status}"
    if status == 404 and "bucket" in reason and "does not exist" in reason:
        return MissingStore(said)
    if status == 403 and any(word in reason for word in _TOO_OFTEN):
        return Unavailable(said)
    kind = _STATUSES.get(status, Unavailable if status >= 500 else Invalid)
    return kind(f"{what}: {RENEW} ({reason or status})" if kind is Expired else said)


def answered(what: str, status: int, body: bytes) -> StoreMountError:
    """The failure that this answer is."""
    try:
        told = json.loads(body)["error"]
        reasons = [str(each.get("reason", "")) for each in told.get("errors", ())]
        reason = " ".join([str(told["message"]), *reasons]).strip()
    except (ValueError, LookupError, TypeError, AttributeError):
        reason = ""
    return gcs_error(what, reason, status)


def translate(error: Exception, what: str) -> StoreMountError:
    """The named failure for an exception of the client libraries; `what` is the key it was about."""
    import aiohttp
    from google.auth import exceptions as auth

    kinds: list[tuple[tuple[type[BaseException], ...], type[StoreMountError]]] = [
        ((UnicodeError,), InvalidName),
        ((auth.TransportError,), Unreachable),
        ((auth.GoogleAuthError,), Expired),
        ((aiohttp.ServerTimeoutError, TimeoutError), TimedOut),
        ((aiohttp.ClientConnectorError,), Unreachable),
        ((aiohttp.ClientPayloadError, aiohttp.http_exceptions.HttpProcessingError, ValueError), Corrupt),
        ((aiohttp.ClientResponseError,), Corrupt),
    ]
    if isinstance(error, auth.GoogleAuthError) and error.retryable and not isinstance(error, auth.TransportError):
        return Unavailable(f"{what}: the token server fails: {error}")
    kind = next((kind for types, kind in kinds if isinstance(error, types)), Unavailable)
    return kind(f"{what}: {' '.join(str(error).split()) or type(error).__name__}")


def named(what: str) -> AbstractContextManager[None]:
    """Exceptions of the client libraries leave under the names of `errors`."""
    return translated(translate, what)
