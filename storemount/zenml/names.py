"""The artifact stores of this user's ZenML, by their names.

What it is: a name looked up, in ZenML's files where those say all, else by ZenML itself in a process of its own.
What it is not: storemount's own registry, which comes first (`registry`).
Invariants: this process never imports ZenML. Names are exact. Nothing is kept between two calls, so a store resolved again has fresh
credentials; every method may be called from any thread.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from storemount.errors import ExitCode, Refusal
from storemount.stores.flavors.spec import near
from storemount.zenml.asking import ask
from storemount.zenml.attributes import spec_of
from storemount.zenml.definition import Definition, Resolved, Sealed, Unreadable
from storemount.zenml.interpreter import VARIABLE, interpreter
from storemount.zenml.place import CONFIG, Place, find, folder_of


class ZenML:
    """`environ` says where ZenML's configuration is, and which Python has ZenML."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        # A daemon works in another folder than who started it, and asks again there.
        folder = folder_of(environ)
        self._environ = {**environ, **({"ZENML_CONFIG_PATH": str(folder)} if folder else {})}
        if "/" in (python := environ.get(VARIABLE, "")):
            self._environ[VARIABLE] = os.path.abspath(python)

    @property
    def where(self) -> str | None:
        """What is asked, for a message; None where ZenML was never used. Raises Refusal."""
        place = find(self._environ)
        return place.where if place else None

    def at_hand(self) -> dict[str, Definition]:
        """The stores that ZenML's files tell of, by their names; none where only ZenML itself can tell. Raises Refusal."""
        place = find(self._environ)
        return (_read(place) or {}) if place else {}

    def files(self) -> tuple[Path, ...]:
        """What `at_hand` reads, whether or not it is there. Raises Refusal."""
        place = find(self._environ)
        folder = folder_of(self._environ)
        return (*((folder / CONFIG,) if folder else ()), *(place.source.files() if place and place.source else ()))

    def definitions(self) -> dict[str, Definition]:
        """Every store by its name; asks ZenML itself where its files do not say. Raises Refusal."""
        place = self._place()
        found = _read(place)
        if found is None:
            python = interpreter(self._environ, f"ZenML itself has to be asked for its stores ({place.where})")
            found = {store.name: store for store in ask(place, None, python, self._environ).stores}
        return dict(sorted(found.items()))

    def resolve(self, name: str) -> Resolved:
        """The store with credentials that work now, not yet checked. Raises Refusal: UNKNOWN_STORE, or what is to be mended."""
        place = self._place()
        reason = place.where
        try:
            if place.source is not None:
                found = place.source.definitions()
                if name not in found:
                    raise unknown(name, found, place.where)
                if not found[name].connected:
                    return Resolved(spec_of(found[name], place.source.secret))
                reason = "its credentials come from a service connector"
        except (Sealed, Unreadable) as error:
            reason = str(error)
        return self._asked(place, name, reason)

    def owns(self, path: str) -> bool:
        """Whether a folder is one that ZenML makes by itself, when it first uses a store that was given no path."""
        place = find(self._environ)
        return place is not None and Path(path).parent == place.local_stores

    def _place(self) -> Place:
        place = find(self._environ)
        if place is None:
            where = f" at {folder}" if (folder := folder_of(self._environ)) else ""
            raise Refusal(ExitCode.UNKNOWN_STORE, f"there is no configuration of ZenML{where}; set ZENML_CONFIG_PATH if it is elsewhere")
        return place

    def _asked(self, place: Place, name: str, reason: str) -> Resolved:
        answer = ask(place, name, interpreter(self._environ, f"ZenML itself has to be asked for {name!r} ({reason})"), self._environ)
        if not answer.stores:
            raise unknown(name, answer.names, place.where)
        return Resolved(spec_of(answer.stores[0], answer.secret, answer.connector), answer.expires)


def unknown(name: str, known: Mapping[str, object] | tuple[str, ...], where: str) -> Refusal:
    """No store of this name."""
    return Refusal(ExitCode.UNKNOWN_STORE, f"ZenML ({where}) has no artifact store named {name!r}{near(name, known)}")


def _read(place: Place) -> dict[str, Definition] | None:
    """What the files say; None when they do not."""
    try:
        return place.source.definitions() if place.source else None
    except Unreadable:
        return None
