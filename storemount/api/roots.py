"""Roots: which registered store a URI lies below.

What it is: the registry's stores by their roots, then those of ZenML that its files tell of, and the flavors of users; read again when one
of these files, or a variable that the registry refers to, has changed.
What it is not: an open store (`session`), or the check of a description (`registry`).
Invariants: a URI is below a root when it is the root, or goes on with a slash; of several roots the longest has it, of equal ones the
first by name. ZenML is looked at only for a URI that no store of the registry has, and asked only for the store that has it. Folders are
not here: their files are paths of this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from storemount.config import Places
from storemount.registry import flavors as userflavors
from storemount.registry.entry import Entry, Level
from storemount.registry.stores import FILE, OF_ZENML, Registry
from storemount.stores.flavors import Flavor, StoreSpec
from storemount.stores.flavors.spec import REFERENCE
from storemount.zenml.definition import Renewal, Resolved

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


@dataclass(frozen=True, slots=True)
class _OfZenML:
    """What ZenML's files told, and their stamps."""

    files: Mapping[Path, object]
    entries: tuple[Entry, ...]


class Roots:
    """Of the stores that `registry` has read from `places`; `environ` answers its references."""

    def __init__(self, registry: Registry, places: Places, environ: Mapping[str, str]) -> None:
        self._registry = registry
        self._environ = environ
        self._paths = tuple(folder / file for folder in (places.config, places.system_config) for file in (FILE, userflavors.FILE))
        self._last: _Known | None = None
        self._last_of_zenml: _OfZenML | None = None
        self._resolved: dict[str, tuple[Entry, Resolved]] = {}

    def of(self, uri: str) -> Entry | None:
        """The store that has `uri`; its path is the root. Raises Refusal when the registry, or ZenML's, cannot be read."""
        return _nearest(uri, self._known().entries) or _nearest(uri, self._of_zenml())

    def spec(self, entry: Entry) -> StoreSpec:
        """What to open. Raises Refusal when it is described wrongly."""
        if entry.level is Level.ZENML:
            return self._asked(entry).spec
        specs = self._known().specs
        if entry.name not in specs:
            specs[entry.name] = self._registry.spec(entry.name)
        return specs[entry.name]

    def renewal(self, entry: Entry) -> Renewal | None:
        """Where the store gets other credentials, when those of `spec` end."""
        return self._registry.renewal(OF_ZENML + entry.name, self._asked(entry)) if entry.level is Level.ZENML else None

    def _asked(self, entry: Entry) -> Resolved:
        """With the credentials that it had first, as long as ZenML describes it in the same way."""
        described, resolved = self._resolved.get(entry.name, (None, None))
        if resolved is None or described != entry:
            resolved = self._registry.resolved(OF_ZENML + entry.name)
            self._resolved[entry.name] = entry, resolved
        return resolved

    def flavors(self) -> tuple[Flavor, ...]:
        """Those that users registered. Raises Refusal when the registry cannot be read."""
        return self._known().flavors

    def _of_zenml(self) -> tuple[Entry, ...]:
        last = self._last_of_zenml
        if last is None or any(_stamp(path) != stamp for path, stamp in last.files.items()):
            files = {path: _stamp(path) for path in self._registry.files_of_zenml()}
            entries = (entry for entry in self._registry.of_zenml().values() if entry.flavor != LOCAL)
            self._last_of_zenml = last = _OfZenML(files, tuple(replace(entry, path=entry.path.rstrip("/")) for entry in entries))
        return last.entries

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


def _nearest(uri: str, entries: Iterable[Entry]) -> Entry | None:
    return max((entry for entry in entries if is_below(uri, entry.path)), key=lambda entry: len(entry.path), default=None)


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
