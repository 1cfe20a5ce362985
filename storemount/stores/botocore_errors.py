"""What the exceptions of s3fs, botocore and aiohttp mean, in the words of `errors`.

What it is: the translation at the edge of the botocore engine, by type and by S3's error code.
What it is not: imported for its own sake; the client libraries are looked at only when one of them has raised something.
Invariants: the errno of s3fs's exceptions is never trusted (it is often None); what is not recognised is `Unavailable`, never `NotFound`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from storemount.errors import Corrupt, Denied, Invalid, InvalidName, StoreMountError, TimedOut, Unavailable, Unreachable
from storemount.stores.s3errors import s3_error
from storemount.stores.translation import translated


def translate(error: Exception, what: str) -> StoreMountError:
    """The named failure for an exception of the client libraries; `what` is the key it was about."""
    from botocore.exceptions import ClientError

    # s3fs turns S3's answers into OSErrors, and keeps the answer as their cause.
    answer = error.__cause__ if isinstance(error.__cause__, ClientError) else error
    if isinstance(answer, ClientError):
        told, meta = answer.response.get("Error", {}), answer.response.get("ResponseMetadata", {})
        region = meta.get("HTTPHeaders", {}).get("x-amz-bucket-region") or told.get("Region", "")
        return s3_error(what, str(told.get("Code", "")), int(meta.get("HTTPStatusCode", 0)), str(region))
    kind = next((kind for types, kind in _kinds() if isinstance(error, types)), Unavailable)
    return kind(f"{what}: {' '.join(str(error).split()) or type(error).__name__}")


def _kinds() -> list[tuple[tuple[type[BaseException], ...], type[StoreMountError]]]:
    """The types that say enough by themselves; the first that fits counts."""
    import aiohttp
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    return [
        ((UnicodeError,), InvalidName),
        ((boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError), Denied),
        ((boto.ConnectTimeoutError, boto.ReadTimeoutError, TimeoutError), TimedOut),
        ((boto.EndpointConnectionError, boto.ProxyConnectionError), Unreachable),
        ((boto.IncompleteReadError, boto.ResponseStreamingError, aiohttp.ClientPayloadError, ResponseParserError), Corrupt),
        ((boto.ParamValidationError, boto.NoRegionError, boto.InvalidRegionError, boto.UnknownEndpointError), Invalid),
    ]


def named(what: str) -> AbstractContextManager[None]:
    """Exceptions of the client libraries leave under the names of `errors`."""
    return translated(translate, what)
