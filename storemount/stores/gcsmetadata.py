"""User metadata of objects in Google Cloud Storage, in the names of gcsfuse and of gcloud's own rsync.

What it is: how a `Source`'s mtime and mode are sent along with a write.
What it is not: the reading back (a listing does not carry it), or the dialect of other stores (`metadata`).
The names are those that gcloud storage writes with --preserve-posix, and that gcsfuse reads and writes.
"""

from __future__ import annotations

from datetime import UTC, datetime

from storemount.stores.base import Source
from storemount.stores.metadata import SECOND

MODE = "goog-reserved-posix-mode"
"""Permission bits, in octal."""

MTIME = "goog-reserved-file-mtime"
"""Whole seconds since the epoch."""

EXACT_MTIME = "gcsfuse_mtime"
"""RFC 3339, with nanoseconds."""


def gcs_metadata(source: Source) -> dict[str, str]:
    """User metadata for a write."""
    told = {}
    if source.mtime_ns is not None:
        seconds, rest = divmod(source.mtime_ns, SECOND)
        told[MTIME] = str(seconds)
        told[EXACT_MTIME] = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
    if source.mode is not None:
        told[MODE] = f"{source.mode & 0o7777:o}"
    return told
