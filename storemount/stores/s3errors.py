"""What S3 means by its error codes, in the words of `errors`.

What it is: one table for both S3 engines.
What it is not: the reading of a client library's exceptions; each engine takes code and status out of its own.
Invariants: only NoSuchKey, or a 404 that cannot be about the bucket, is NotFound (S3); an unknown code goes by its HTTP status.
"""

from __future__ import annotations

from storemount.errors import (
    RENEW,
    Changed,
    Corrupt,
    Denied,
    Expired,
    Invalid,
    InvalidName,
    IsADirectory,
    MissingStore,
    NameTooLong,
    NoSpace,
    NotADirectory,
    NotFound,
    StoreMountError,
    TimedOut,
    TooLarge,
    Unavailable,
    Unrecognised,
    Unsupported,
)


class NoSuchUpload(Unavailable):
    """A multipart upload that was completed or aborted meanwhile; whoever was sending its parts begins again."""


_CODES: dict[str, type[StoreMountError]] = {
    "NoSuchKey": NotFound,
    "NoSuchVersion": NotFound,
    "NoSuchBucket": MissingStore,
    "AccessDenied": Denied,
    "ExpiredToken": Expired,
    "ExpiredTokenException": Expired,
    "InvalidToken": Expired,
    "TokenRefreshRequired": Expired,
    "RequestTimeTooSkewed": Denied,
    "PreconditionFailed": Changed,
    "ConditionalRequestConflict": Unavailable,
    "OperationAborted": Unavailable,
    "NotImplemented": Unsupported,
    "InvalidRange": Corrupt,
    "EntityTooLarge": TooLarge,
    "KeyTooLongError": NameTooLong,
    "InvalidURI": InvalidName,
    "QuotaExceeded": NoSpace,
    "SlowDown": Unavailable,
    "RequestTimeout": TimedOut,
    "NoSuchUpload": NoSuchUpload,
    # Of servers that keep objects as files (versitygw; MinIO): keys are paths there.
    "ObjectParentIsFile": NotADirectory,
    "ExistingObjectIsDirectory": IsADirectory,
    "XMinioParentIsObject": NotADirectory,
    "XMinioObjectExistsAsDirectory": IsADirectory,
}
_STATUSES: dict[int, type[StoreMountError]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    408: TimedOut,
    412: Changed,
    416: Corrupt,
    429: Unavailable,
}
_STATUSES |= {507: NoSpace}
_UNRECOGNISED = {"InvalidAccessKeyId", "SignatureDoesNotMatch"}
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "307"}


def s3_error(what: str, code: str, status: int, region: str = "") -> StoreMountError:
    """The failure that an S3 error document (or, without one, its HTTP status) stands for; `what` is the key, or what was asked.
    `region` is the one that the answer names as the bucket's."""
    if code in _ELSEWHERE or status in (301, 307):
        where = f"in the region {region}; set the attribute region={region}" if region else "in another region; set the attribute region"
        return Invalid(f"{what}: the bucket is {where} ({code or status})")
    if code in _UNRECOGNISED:
        return Unrecognised(what, code)
    kind = _CODES.get(code) or _STATUSES.get(status) or (Unavailable if status >= 500 else Invalid)
    return kind(f"{what}: {RENEW} ({code})" if kind is Expired else f"{what}: {code or status}")
