"""What a user's class tells of a file, and what it raises, in our words.

What it is: the answer of `stat`, whatever its shape (`os.stat_result`, a dictionary as fsspec has it, an object with such attributes), and
an exception as a named failure.
What it is not: specific to any class; many spellings of "size", "time" and "version" are all there is to it.
Invariants: equal versions mean that the class tells of no difference. No message holds a secret that the store was told.
"""

from __future__ import annotations

import logging
import os
import stat
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from storemount.errors import (
    AlreadyExists,
    Corrupt,
    Denied,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    Refusal,
    StoreMountError,
    TimedOut,
    Unavailable,
    Unreachable,
    Unsupported,
    named_in_store,
)
from storemount.stores.base import Artifact
from storemount.stores.fsspec_info import changed_at

_SIZES = ("st_size", "size", "Size", "ContentLength", "content_length")
_VERSIONS = ("generation", "ETag", "etag", "e_tag", "VersionId", "version", "sha", "md5Hash", "md5", "checksum")
_TIMES = ("st_mtime", "mtime", "LastModified", "last_modified", "updated", "modified", "modify")
_KINDS = {"directory": True, "dir": True, "DIRECTORY": True, "file": False}

# The first that fits counts, so a class stands before its bases.
_FAILURES: tuple[tuple[type[BaseException], type[StoreMountError]], ...] = (
    (FileNotFoundError, NotFound),
    (PermissionError, Denied),
    (FileExistsError, AlreadyExists),
    (IsADirectoryError, IsADirectory),
    (NotADirectoryError, NotADirectory),
    (TimeoutError, TimedOut),
    (ConnectionRefusedError, Unreachable),
    (NotImplementedError, Unsupported),
    (EOFError, Corrupt),
    (UnicodeError, InvalidName),
)

FRAMES = 6
"""Innermost frames of a traceback that are logged; those further out are storemount's own."""

SHORTEST = 4
"""Characters of a secret that can be told from ordinary words."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Facts:
    """What `stat` tells: None is what it does not. `mtime_ns` is 0 where it does not."""

    size: int | None
    mtime_ns: int
    version: str | None
    directory: bool | None

    @classmethod
    def of(cls, told: Any) -> Facts:
        def look(name: str) -> Any:
            return told.get(name) if isinstance(told, Mapping) else getattr(told, name, None)

        size = next((int(look(name)) for name in _SIZES if look(name) is not None), None)
        version = next((str(look(name)) for name in _VERSIONS if look(name)), None)
        mtime_ns = look("st_mtime_ns") or changed_at({"mtime": next((look(name) for name in _TIMES if look(name) is not None), None)})
        if version is None and mtime_ns:
            version = f"{look('st_ino') or 0}-{mtime_ns}"
        return cls(size, int(mtime_ns), version, _directory(look("st_mode"), look("type") or look("StorageClass")))

    def artifact(self, key: str, size: int) -> Artifact:
        return Artifact(key, self._token(size), size, self.mtime_ns)

    def confirm(self, artifact: Artifact) -> bool:
        """Whether this is the same version, without a look at a length that nobody tells."""
        return self.version is not None and self.size in (None, artifact.size) and self._token(artifact.size) == artifact.version

    def _token(self, size: int) -> str:
        return f"{self.version or ''}-{size}"


def _directory(mode: Any, kind: Any) -> bool | None:
    if isinstance(mode, int) and stat.S_IFMT(mode):
        return stat.S_ISDIR(mode)
    return _KINDS.get(str(kind))


def name_of(told: Any) -> str:
    """The base name in a row of `listdir`, which may be a whole path, bytes, or end in a slash."""
    return os.fsdecode(told).rstrip("/").rpartition("/")[2]


class Failures:
    """Exceptions of one class under the names of `errors`; `secrets` are blotted out of its words, `who` is the class."""

    def __init__(self, who: str, secrets: Collection[str]) -> None:
        self._who = who
        self._secrets = [secret for secret in secrets if len(secret) >= SHORTEST]
        self._logged: set[str] = set()

    @contextmanager
    def named(self, what: str, *, quietly: bool = False) -> Iterator[None]:
        """Whatever is raised in the block leaves under its name, for the key `what`. What has none is logged, unless `quietly`."""
        try:
            yield
        except (StoreMountError, Refusal):
            raise
        except Exception as error:
            raise self._translated(error, what, quietly) from None

    def _translated(self, error: Exception, what: str, quietly: bool) -> StoreMountError:
        failure = next((kind for known, kind in _FAILURES if isinstance(error, known)), None)
        if failure is None and isinstance(error, OSError):
            failure = named_in_store(error)
        if failure is None:
            failure = Unavailable
            if not quietly:
                self._log_once(error)
        text = self.without_secrets(" ".join(str(error).split()) or type(error).__name__)
        return failure(f"{what}: {text}" if what else text)

    def _log_once(self, error: Exception) -> None:
        """Where a failure that has no name comes from: for whoever wrote the class, once for each place."""
        told = traceback.format_exception(error, limit=-FRAMES)
        place = "".join(told[:-1])
        if place not in self._logged:
            self._logged.add(place)
            log.warning("%s raised what has no name in storemount:\n%s", self._who, self.without_secrets("".join(told).rstrip()))

    def without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text
