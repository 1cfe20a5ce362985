"""What Azure means by its error codes, and what the exceptions of its client library mean, in the words of `errors`.

What it is: one table for both engines, and the translation at the edge of azure-storage-blob.
What it is not: imported for its own sake; the client library is looked at only when it has raised something.
Invariants: of a blob only BlobNotFound, or a 404 that cannot be about the container, is NotFound (S3); an unknown code goes by its HTTP
status; what is not recognised is `Unavailable`. No message carries an answer's text: it may quote a signature.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from storemount.errors import (
    RENEW,
    AlreadyExists,
    Changed,
    Corrupt,
    Denied,
    Expired,
    Invalid,
    InvalidName,
    MissingStore,
    NoSpace,
    NotEmpty,
    NotFound,
    StoreMountError,
    TimedOut,
    TooLarge,
    Unavailable,
    Unreachable,
    Unrecognised,
    Unsupported,
)
from storemount.stores.translation import translated

# https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes, and the common ones beside them.
_CODES: dict[str, type[StoreMountError]] = {
    "BlobNotFound": NotFound,
    "NoPendingCopyOperation": NotFound,
    "ContainerNotFound": MissingStore,
    "ContainerBeingDeleted": MissingStore,
    "ContainerDisabled": Denied,
    "AccountIsDisabled": Denied,
    "BlobImmutableDueToPolicy": Denied,
    "SnapshotsPresent": Denied,
    "BlobArchived": Denied,
    "BlobAlreadyExists": AlreadyExists,
    "UnauthorizedBlobOverwrite": Denied,
    "ConditionNotMet": Changed,
    "TargetConditionNotMet": Changed,
    "SourceConditionNotMet": Changed,
    "CannotVerifyCopySource": Changed,
    "DirectoryIsNotEmpty": NotEmpty,
    "LeaseIdMissing": Unavailable,
    "LeaseAlreadyPresent": Unavailable,
    "PendingCopyOperation": Unavailable,
    "BlobBeingRehydrated": Unavailable,
    "AccountBeingCreated": Unavailable,
    "ServerBusy": Unavailable,
    "OperationTimedOut": TimedOut,
    "InvalidRange": Corrupt,
    "Md5Mismatch": Corrupt,
    "InvalidBlobType": Unsupported,
    "RequestBodyTooLarge": TooLarge,
    "BlockCountExceedsLimit": TooLarge,
    "InvalidResourceName": InvalidName,
    "InvalidUri": InvalidName,
    "OutOfRangeInput": InvalidName,
}
_STATUSES: dict[int, type[StoreMountError]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    408: TimedOut,
    412: Changed,
    416: Corrupt,
    429: Unavailable,
    507: NoSpace,
}
_WHY = {
    "SnapshotsPresent": "it has snapshots, which would go with it; delete them with another tool",
    "BlobArchived": "it is in the archive tier; rehydrate it first",
    "BlobImmutableDueToPolicy": "a policy of the container keeps it as it is",
    "LeaseIdMissing": "another program holds a lease on it",
}


TOKEN = ("InvalidAuthenticationInfo", "")
"""What a token of Microsoft Entra that has ended is called, with the status 401."""

UNRECOGNISED = "AuthenticationFailed"
"""A key or a signature that is not right, or not any more."""

LATE = "not valid in the specified time frame"
"""In the details of a refusal: the signature is past its end. Its code is that of a wrong one."""


def azure_error(what: str, code: str, status: int, *, late: bool = False) -> StoreMountError:
    """The failure that an error code of Azure (or, without one, its HTTP status) stands for; `what` is the key, or what was asked.
    `late`: the signature is known to have ended, which a refusal is then put down to."""
    kind = _CODES.get(code) or _STATUSES.get(status) or (Unavailable if status >= 500 else Invalid)
    if (status == 401 and code in TOKEN) or (late and status in (401, 403)):
        return Expired(f"{what}: {RENEW} ({code or status})")
    if code == UNRECOGNISED:
        return Unrecognised(what, code)
    return kind(f"{what}: {code or status}" + (f" ({_WHY[code]})" if code in _WHY else ""))


def translate(error: Exception, what: str, late: Callable[[], bool]) -> StoreMountError:
    """The named failure for an exception of the client library; `what` is the key it was about, `late` as in `azure_error`."""
    from aiohttp import ClientConnectorError
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError

    # Its own attribute of this name is set by azure-storage-blob; an answer in another form has none.
    code = getattr(error, "error_code", None) or ""
    if isinstance(error, ClientAuthenticationError) and not code and error.status_code != 403:
        # Of azure-identity: no token can be had, until somebody logs in.
        return Expired(f"{what}: {_line(error)}")
    if isinstance(error, HttpResponseError) and (error.status_code or 0) >= 300:
        return azure_error(what, str(getattr(code, "value", code)), error.status_code or 0, late=LATE in str(error) or late())
    if isinstance(error, ServiceRequestError) and isinstance(error.inner_exception, ClientConnectorError):
        # Of this library's types this one stands for every broken connection.
        return Unreachable(f"{what}: {_line(error)}")
    kind = next((kind for types, kind in _kinds() if isinstance(error, types)), Unavailable)
    return kind(f"{what}: {_line(error)}")


def _kinds() -> list[tuple[tuple[type[BaseException], ...], type[StoreMountError]]]:
    """The types that say enough by themselves; the first that fits counts."""
    import aiohttp
    from azure.core import exceptions as azure

    return [
        ((UnicodeError,), InvalidName),
        ((azure.ServiceRequestTimeoutError, azure.ServiceResponseTimeoutError, TimeoutError), TimedOut),
        ((azure.HttpResponseError, azure.IncompleteReadError, aiohttp.ClientPayloadError, ValueError), Corrupt),
    ]


def _line(error: Exception) -> str:
    """The first line: what follows is how each of many credentials failed, or a whole answer."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def named(what: str, late: Callable[[], bool]) -> AbstractContextManager[None]:
    """Exceptions of the client library leave under the names of `errors`."""
    return translated(lambda error, what: translate(error, what, late), what)
