"""What fsspec's file systems tell and raise, in our words.

What it is: an `info` dictionary as an `Artifact`, and an exception as a named failure.
What it is not: specific to any file system; the many spellings of "version" and "time" are all there is to it.
Invariants: equal tokens mean that the file system knows of no difference; where it has no versions, size, time and inode make one.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from storemount.errors import (
    AlreadyExists,
    Corrupt,
    Denied,
    Invalid,
    InvalidName,
    IsADirectory,
    NoSpace,
    NotADirectory,
    NotFound,
    StoreMountError,
    TimedOut,
    Unavailable,
    Unreachable,
    Unsupported,
    named_in_store,
)
from storemount.stores.base import Artifact
from storemount.stores.translation import translated

_VERSIONS = ("generation", "ETag", "etag", "e_tag", "VersionId", "sha", "md5Hash", "md5")
_CHANGES = ("mtime", "LastModified", "last_modified", "updated", "modified", "modify")
_TIMES = (*_CHANGES, "created")

# The first that fits counts, so a class stands before its bases.
_FAILURES: tuple[tuple[tuple[type[BaseException], ...], type[StoreMountError]], ...] = (
    ((FileNotFoundError,), NotFound),
    ((PermissionError,), Denied),
    ((FileExistsError,), AlreadyExists),
    ((IsADirectoryError,), IsADirectory),
    ((NotADirectoryError,), NotADirectory),
    ((TimeoutError,), TimedOut),
    ((socket.gaierror, ConnectionRefusedError), Unreachable),
    ((NotImplementedError,), Unsupported),
    ((EOFError,), Corrupt),
    ((UnicodeError,), InvalidName),
    ((ValueError, TypeError), Invalid),
)

_STATUSES: dict[int, type[StoreMountError]] = {401: Denied, 403: Denied, 404: NotFound, 405: Unsupported, 501: Unsupported, 507: NoSpace}
"""What an HTTP client's exception says by its `status`, where it is no exception of a kind above."""


def artifact_of(key: str, info: Mapping[str, Any]) -> Artifact:
    """The artifact that `info` describes."""
    size = int(info.get("size") or 0)
    mtime_ns = _time(info, _TIMES)
    version = next((str(info[name]) for name in _VERSIONS if info.get(name)), None)
    return Artifact(key, version or f"{info.get('ino', 0)}-{mtime_ns}-{size}", size, mtime_ns)


def is_measured(info: Mapping[str, Any]) -> bool:
    """Whether `info` says all that an artifact needs. Listings of some file systems (http) leave the length of a file out."""
    return is_directory(info) or info.get("size") is not None


def is_directory(info: Mapping[str, Any]) -> bool:
    return info.get("type") == "directory"


def changed_at(info: Mapping[str, Any]) -> int:
    """When the file last changed, in nanoseconds since the epoch; 0 where the file system tells nothing, or only when it was made."""
    return _time(info, _CHANGES)


def _time(info: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """Nanoseconds since the epoch by the first of `names`; 0 where the file system does not say."""
    told = next((info[name] for name in names if info.get(name) is not None), 0)
    if isinstance(told, str):
        with contextlib.suppress(ValueError):
            told = datetime.fromisoformat(told)
    if isinstance(told, datetime):
        told = told.timestamp()
    return int(told * 1_000_000_000) if isinstance(told, (int, float)) else 0


def translate(error: Exception, what: str) -> StoreMountError:
    """A file system's exception under the names of `errors`; what nobody knows is `Unavailable`."""
    kind = next((kind for types, kind in _FAILURES if isinstance(error, types)), None)
    if kind is None and isinstance(error, OSError):
        kind = named_in_store(error)
    if kind is None:
        status = getattr(error, "status", None)
        kind = _STATUSES.get(status, Unavailable) if isinstance(status, int) else Unavailable
    return kind(f"{what}: {' '.join(str(error).split()) or type(error).__name__}")


def named(what: str) -> AbstractContextManager[None]:
    """Exceptions of a file system leave under the names of `errors`."""
    return translated(translate, what)
