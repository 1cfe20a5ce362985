"""Times and user metadata of objects in flat stores.

What it is: how a `Source`'s mtime and mode are sent along with a write, in rclone's dialect, and how a store's times are read.
What it is not: the reading back of metadata (a listing does not carry it).
Invariants: times are cut to whole seconds, because S3 says the same time with and without fractions, depending on the request.
"""

from __future__ import annotations

from datetime import datetime

from storemount.stores.base import Source

SECOND = 1_000_000_000


def whole_seconds(time: datetime) -> int:
    """Nanoseconds since the epoch, without the fraction of a second."""
    return int(time.timestamp()) * SECOND


def user_metadata(source: Source) -> dict[str, str]:
    """User metadata for a write: `mtime` in seconds with nine decimals, `mode` in octal."""
    told = {}
    if source.mtime_ns is not None:
        seconds, rest = divmod(source.mtime_ns, SECOND)
        told["mtime"] = f"{seconds}.{rest:09}"
    if source.mode is not None:
        told["mode"] = f"0{source.mode:o}"
    return told
