"""Metadata as this machine keeps it, and the times of objects in flat stores.

What it is: `Meta` as JSON, for the journal and for the notes; and how a store's own times are read.
What it is not: what an object says of itself (`dialects`).
Invariants: what `meta_in` reads is what `meta_out` wrote. Times are cut to whole seconds, because S3 says the same time with and without
fractions, depending on the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from storemount.stores.base import Meta, said

SECOND = 1_000_000_000


def whole_seconds(time: datetime) -> int:
    """Nanoseconds since the epoch, without the fraction of a second."""
    return int(time.timestamp()) * SECOND


def meta_out(meta: Meta | None) -> dict[str, Any] | None:
    """As JSON has it; None for what is not known."""
    return None if meta is None else said(meta) | ({"xattrs": xattrs_out(meta.xattrs)} if meta.xattrs is not None else {})


def meta_in(told: dict[str, Any] | None) -> Meta | None:
    """The way back. Raises TypeError, ValueError for something else."""
    return None if told is None else Meta(**{**told, "xattrs": xattrs_in(told.get("xattrs"))})


def xattrs_out(xattrs: Mapping[bytes, bytes] | None) -> dict[str, str] | None:
    """Bytes as the characters of Latin-1."""
    return None if xattrs is None else {name.decode("latin-1"): value.decode("latin-1") for name, value in xattrs.items()}


def xattrs_in(told: Mapping[str, str] | None) -> dict[bytes, bytes] | None:
    return None if told is None else {name.encode("latin-1"): value.encode("latin-1") for name, value in told.items()}
