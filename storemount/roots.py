"""Roots: which registered store a URI lies below.

What it is: the registry's stores by their roots, and the flavors of users, read again when one of its files, or a variable that it refers
to, has changed.
What it is not: an open store (`session`), or the check of a description (`registry`).
Invariants: a URI is below a root when it is the root, or goes on with a slash; of several roots the longest has it, of equal ones the
first by name. Folders are not here: their files are paths of this machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from storemount import userflavors
from storemount.config import Places
from storemount.entry import REFERENCE, Entry
from storemount.registry import FILE, Registry
from storemount.stores.flavors import Flavor, StoreSpec

LOCAL = "local"

Stamp = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read, and what tells that it still holds: the files' stamps, and the values of the variables named."""

    files: Stamp
    variables: Mapping[str, str | None]
    entries: tuple[Entry, ...]
    flavors: tuple[Flavor, ...]
    specs: dict[str, StoreSpec]


class Roots:
    """Of the stores that `registry` has read from `places`; `environ` answers its references."""

    def __init__(self, registry: Registry, places: Places, environ: Mapping[str, str]) -> None:
        self._registry = registry
        self._environ = environ
        self._paths = tuple(folder / file for folder in (places.config, places.system_config) for file in (FILE, userflavors.FILE))
        self._last: _Known | None = None

    def of(self, uri: str) -> Entry | None:
        """The store that has `uri`; its path is the root. Raises Refusal when the registry cannot be read."""
        below = [entry for entry in self._known().entries if is_below(uri, entry.path)]
        return max(below, key=lambda entry: len(entry.path), default=None)

    def spec(self, entry: Entry) -> StoreSpec:
        """What to open. Raises Refusal when it is described wrongly."""
        specs = self._known().specs
        if entry.name not in specs:
            specs[entry.name] = self._registry.spec(entry.name)
        return specs[entry.name]

    def flavors(self) -> tuple[Flavor, ...]:
        """Those that users registered. Raises Refusal when the registry cannot be read."""
        return self._known().flavors

    def _known(self) -> _Known:
        files = tuple(map(_stamp, self._paths))
        last = self._last
        if last is None or last.files != files or any(self._environ.get(name) != value for name, value in last.variables.items()):
            self._last = last = self._read(files)
        return last

    def _read(self, files: Stamp) -> _Known:
        entries = [entry for entry in self._registry.entries().values() if entry.flavor != LOCAL]
        values = [value for entry in entries for value in (entry.path, *entry.attributes.values()) if value.startswith(REFERENCE)]
        variables = {name: self._environ.get(name) for name in (value.removeprefix(REFERENCE) for value in values)}
        placed = (self._with_path(entry) for entry in entries)
        return _Known(files, variables, tuple(entry for entry in placed if entry is not None), tuple(self._registry.flavors()), {})

    def _with_path(self, entry: Entry) -> Entry | None:
        """`entry` with its root looked up; None where its variable is not set here, which matters only to who asks for this store."""
        if not entry.path.startswith(REFERENCE):
            return entry
        path = self._environ.get(entry.path.removeprefix(REFERENCE))
        return replace(entry, path=path.rstrip("/")) if path else None


def lead(root: str) -> str:
    """What stands before the key in every URI below this root."""
    return root if root.endswith("/") else root + "/"


def is_below(uri: str, root: str) -> bool:
    return uri == root or uri.startswith(lead(root))


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes with the file's content, as each edit replaces the file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)
