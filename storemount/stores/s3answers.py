"""S3's answers in our words, and our words in S3's requests.

What it is: pure functions over the dictionaries of botocore.
What it is not: a request (`s3`), or user metadata (`dialects`).
Invariants: an ETag is always in quotes, and a time in whole seconds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from storemount.stores.base import Artifact, Child
from storemount.stores.conditions import Condition
from storemount.stores.metadata import SECOND, whole_seconds

_KEPT = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "WebsiteRedirectLocation",
    "StorageClass",
    "ServerSideEncryption",
    "SSEKMSKeyId",
    "BucketKeyEnabled",
)
"""What a HEAD says of an object that a copy with other metadata has to repeat, or it would be reset."""


def rows(told: dict[str, Any], prefix: str, skip: int) -> list[Child]:
    rows = [Child(found["Prefix"][skip:].removesuffix("/"), None) for found in told.get("CommonPrefixes", ())]
    for found in told.get("Contents", ()):
        name = found["Key"][skip:]
        rows.append(Child(name, Artifact(prefix + name, tag(found), found["Size"], whole_seconds(found["LastModified"]))))
    return rows


def tag(told: dict[str, Any]) -> str:
    """The ETag as a condition wants it: in quotes, which some servers forget in some answers."""
    text = str(told["ETag"])
    return text if text.endswith('"') else f'"{text}"'


def conditions(condition: Condition, quoted: bool) -> dict[str, str]:
    """The condition as parameters of a request; with or without the quotes around an ETag."""
    if condition.over is None:
        return {"IfNoneMatch": "*"}
    return {"IfMatch": condition.over.version if quoted else condition.over.version.strip('"')}


def server_time(told: dict[str, Any]) -> int:
    """When the store wrote what it just answered for, by its own clock; ours where it does not say."""
    date = told["ResponseMetadata"]["HTTPHeaders"].get("date")
    return whole_seconds(parsedate_to_datetime(date)) if date else int(time.time()) * SECOND


def kept_headers(told: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What a copy of the object that a HEAD `told` of has to say for it to stay as it is; what the store's settings chose (encryption,
    storage class) goes over it."""
    headers = {name: told[name] for name in _KEPT if told.get(name)} | {name: chosen[name] for name in _KEPT if name in chosen}
    if told.get("ExpiresString"):
        headers["Expires"] = told["ExpiresString"]
    if "ServerSideEncryption" in chosen and "SSEKMSKeyId" not in chosen:
        headers.pop("SSEKMSKeyId", None)
    return headers
