"""What each cloud says when it refuses or fails, in its own form.

What it is: one set of answers for each service, to be given to a `Proxy`.
What it is not: the ways to fail that are no answer (`faults`).
Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html,
https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes and
https://cloud.google.com/storage/docs/json_api/v1/status-codes.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.faults import Treatment, azure_refusal, google_refusal, refusal
from tests.support.mounting import AZURE, GCS


@dataclass(frozen=True)
class Refusals:
    """busy: it has had too many requests. broken: it failed. denied: we may not. expired: we might after a login. missing: there is no
    such bucket or container."""

    busy: Treatment
    broken: Treatment
    denied: Treatment
    expired: Treatment
    missing: Treatment


_S3 = Refusals(
    busy=refusal("503 Slow Down", "SlowDown"),
    broken=refusal("500 Internal Server Error", "InternalError"),
    denied=refusal("403 Forbidden", "AccessDenied"),
    expired=refusal("400 Bad Request", "ExpiredToken"),
    missing=refusal("404 Not Found", "NoSuchBucket"),
)
_AZURE = Refusals(
    busy=azure_refusal("503 Service Unavailable", "ServerBusy"),
    broken=azure_refusal("500 Internal Server Error", "InternalError"),
    denied=azure_refusal("403 Forbidden", "AuthorizationPermissionMismatch"),
    expired=azure_refusal("401 Unauthorized", "InvalidAuthenticationInfo"),
    missing=azure_refusal("404 Not Found", "ContainerNotFound"),
)
_GCS = Refusals(
    busy=google_refusal("429 Too Many Requests", "rateLimitExceeded", "The object exceeded the rate limit for object mutation operations."),
    broken=google_refusal("500 Internal Server Error", "backendError", "Backend Error"),
    denied=google_refusal("403 Forbidden", "forbidden", "The account does not have access to the Google Cloud Storage object."),
    expired=google_refusal("401 Unauthorized", "authError", "Invalid Credentials"),
    missing=google_refusal("404 Not Found", "notFound", "The specified bucket does not exist."),
)


def refusals(kind: str) -> Refusals:
    """The answers of the service behind a mount of this kind."""
    return _AZURE if kind in AZURE else _GCS if kind in GCS else _S3
