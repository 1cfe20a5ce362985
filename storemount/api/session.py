"""Session: from a path or a URI that a program names to the volume that has it.

What it is: the bounds of stores, and the stores that this process has open.
What it is not: what is done there (`fileapi`), or the search for a root (`roots`).
Invariants:
- A URI belongs to the registered store whose root it lies below (storemount's own go before ZenML's) once ".." is resolved, which may not
  lead out of the store that it names.
- A URI of no registered store is opened with its bucket (or host) as the root and with the credentials that the environment offers.
- Each store is opened once, however many threads ask; all of them live in one portal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from storemount.api.diskvolume import DiskVolume
from storemount.api.keys import key_below
from storemount.api.portal import Portal
from storemount.api.roots import LOCAL, Roots, is_below, lead
from storemount.api.storevolume import StoreVolume
from storemount.api.volume import Volume
from storemount.config import Places, private_folder
from storemount.errors import ExitCode, Forbidden, Refusal, os_error
from storemount.registry.leases import leased
from storemount.registry.stores import Registry
from storemount.stores.base import ArtifactStore
from storemount.stores.deadline import Deadlined
from storemount.stores.flavors import AUTO, FLAVORS, FSSPEC, StoreSpec, open_store, spec_of_uri
from storemount.stores.uri import scheme_of
from storemount.zenml.definition import Renewal
from storemount.zenml.names import ZenML


@dataclass(frozen=True, slots=True)
class Target:
    """A path, found: the volume and the key in it."""

    volume: Volume
    key: str


class Locator(Protocol):
    """Where paths lead. The URIs of this machine's own files (file://) are paths by then."""

    def locate(self, path: str) -> Target: ...


class Session:
    """Of one process. `places` have the registry; `environ` answers its references. `deadline` in seconds bounds each request (S14)."""

    def __init__(self, places: Places, environ: Mapping[str, str], *, engine: str = AUTO, deadline: float = 20.0) -> None:
        self._registry = Registry(places, environ=environ, reserved=(), zenml=ZenML(environ))
        self._roots = Roots(self._registry, places, environ)
        self._engine = engine
        self._deadline = deadline
        self._portal = Portal("storemount-fileio")
        self._disk = DiskVolume()
        self._volumes: dict[object, Volume] = {}

    def locate(self, path: str) -> Target:
        """Raises Refusal for a scheme that nobody knows or a store that is described wrongly, PermissionError for a path that leads out
        of its store."""
        scheme = scheme_of(path)
        if not scheme:
            return Target(self._disk, path)
        uri = scheme + path[len(scheme) :]
        named = self._roots.of(uri)
        root = lead(named.path) if named is not None else _authority(uri)
        try:
            key = key_below(uri[len(root) :])
        except Forbidden as error:
            raise os_error(Forbidden(f"it leads out of {root}"), path) from error
        plain = root + key
        inner = self._roots.of(plain)
        if inner is None:
            return Target(self._shared(spec_of_uri(root, self._roots.flavors())), key)
        return Target(self._shared(self._roots.spec(inner), self._roots.renewal(inner)), plain[len(lead(inner.path)) :])

    def open(self, name_or_uri: str) -> OpenStore:
        """A store by itself, with connections of its own. Raises Refusal when there is none of this name."""
        resolved = self._registry.resolved(name_or_uri)
        spec = resolved.spec
        if self._registry.makes_folder(name_or_uri, spec):
            private_folder(Path(spec.path))
        return OpenStore(_root(spec), self._volume(spec, self._registry.renewal(name_or_uri, resolved)))

    def close(self) -> None:
        """Close every store. The session can be used again."""
        volumes, self._volumes = self._volumes, {}
        for volume in volumes.values():
            volume.close()
        self._portal.close()

    def _shared(self, spec: StoreSpec, renewal: Renewal | None = None) -> Volume:
        # No lock, which a fork could take along locked: a volume costs nothing until it is asked, and the first one stays.
        return self._volumes.setdefault((spec.flavor, spec.path, *sorted(spec.attributes.items())), self._volume(spec, renewal))

    def _volume(self, spec: StoreSpec, renewal: Renewal | None = None) -> Volume:
        if spec.flavor == LOCAL:
            return DiskVolume(spec.path)
        return StoreVolume(_root(spec), partial(self._opened, spec, renewal), self._portal)

    def _opened(self, spec: StoreSpec, renewal: Renewal | None, forked: bool) -> ArtifactStore:
        """The native engine's threads do not come along into the child of a fork, and it cannot start new ones there."""
        engine = FSSPEC if forked and FSSPEC in (spec.own or FLAVORS[spec.flavor]).engines else self._engine
        opened = partial(open_store, engine=engine, deadline=self._deadline)
        if renewal is None:
            return Deadlined(opened(spec), self._deadline)
        reopened = leased(spec, renewal, opened)
        self._portal.let_go(reopened.run)
        return Deadlined(reopened, self._deadline)


class OpenStore:
    """A store, and nothing outside of it: paths are relative to its root, or URIs that lie below it."""

    def __init__(self, uri: str, volume: Volume) -> None:
        self.uri = uri
        self.volume = volume

    def locate(self, path: str) -> Target:
        """Raises PermissionError for a path that is not in the store."""
        relative = path
        if scheme_of(path) or path.startswith("/"):
            uri = scheme_of(path) + path[len(scheme_of(path)) :]
            if not is_below(uri, self.uri):
                raise os_error(Forbidden(f"it is outside of the store {self.uri}"), path)
            relative = uri[len(lead(self.uri)) :]
        try:
            return Target(self.volume, key_below(relative))
        except Forbidden as error:
            raise os_error(Forbidden(f"it leads out of the store {self.uri}"), path) from error


def _root(spec: StoreSpec) -> str:
    """The root as programs write it: a plain path for a folder."""
    return spec.path if spec.path.endswith("://") else spec.path.rstrip("/") or "/"


def _authority(uri: str) -> str:
    """The bucket (or host) of a URI, as a root with its slash. Raises Refusal for a chain of URLs, which has none."""
    scheme = scheme_of(uri)
    if scheme.endswith("::"):
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"{scheme} has no root of its own; register the store, and name paths below its root")
    if scheme in FLAVORS["memory"].schemes:
        return scheme
    bucket, slash, _ = uri[len(scheme) :].partition("/")
    return f"{scheme}{bucket}/" if bucket or slash else scheme
