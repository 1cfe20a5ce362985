"""What azure-storage-blob tells of blobs, in our words, and conditions in its words.

What it is: properties and answers as artifacts, and a row of a listing.
What it is not: a request, or a failure (`azureerrors`).
Invariants: a version is the blob's ETag in quotes, whoever told it. The time of a blob is cut to whole seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from storemount.errors import Corrupt
from storemount.stores.azurenames import says_folder
from storemount.stores.base import Artifact, Child
from storemount.stores.conditions import Condition
from storemount.stores.dialects import read
from storemount.stores.metadata import whole_seconds

Answer = Mapping[str, Any]
"""The headers of an answer to a write."""


def row(blob: Any, prefix: str, skip: int, recursive: bool) -> Child:
    name = blob.name[skip:]
    if says_folder(blob.metadata) and name and not name.endswith("/"):
        if not recursive:
            return Child(name, None)
        name += "/"
    return Child(name, artifact_of(prefix + name, blob))


def artifact_of(key: str, told: Any) -> Artifact:
    """What the properties of a blob tell. Raises Corrupt."""
    if told.etag is None or told.last_modified is None:
        raise Corrupt(f"{key}: the store names no ETag")
    return Artifact(key, tag(told.etag), told.size or 0, whole_seconds(told.last_modified))


def described(key: str, told: Any) -> Artifact:
    """The same, with what the blob says of itself; only the answer about one blob has all of it."""
    return replace(artifact_of(key, told), meta=read(told.metadata or {}))


def made(key: str, size: int, told: Answer) -> Artifact:
    if not told.get("etag") or not told.get("last_modified"):
        raise Corrupt(f"{key}: the store names no ETag")
    return Artifact(key, tag(told["etag"]), size, whole_seconds(told["last_modified"]))


def tag(told: str) -> str:
    """The ETag as a condition wants it: in quotes, which Azure leaves out in listings."""
    return told if told.endswith('"') else f'"{told}"'


def pin(tag: str) -> dict[str, Any]:
    from azure.core import MatchConditions

    return {"etag": tag, "match_condition": MatchConditions.IfNotModified}


def headers(condition: Condition) -> dict[str, Any]:
    """The condition as arguments of a request."""
    from azure.core import MatchConditions

    if condition.over is not None:
        return pin(condition.over.version)
    return {"match_condition": MatchConditions.IfMissing} if condition.absent else {}
