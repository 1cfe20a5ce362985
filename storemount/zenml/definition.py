"""An artifact store as ZenML has it.

What it is: its types, and which of its values ZenML keeps in a secret.
What it is not: a way to read it (`place`, `asking`), or its meaning for storemount (`attributes`).
Invariants: frozen. No repr shows a value of a configuration. Values are as they were written, references `{{secret.key}}` included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from storemount.stores.flavors import StoreSpec

AUTHENTICATION = "authentication_secret"
"""The attribute that names a secret in which all credentials are."""

_REFERENCE = re.compile(r"\{\{\s*(\S+?)\.(\S+?)\s*\}\}")


class Reference(NamedTuple):
    """One value of a secret."""

    secret: str
    key: str


def reference(value: Any) -> Reference | None:
    """What `{{secret.key}}` points at; None for any other value. (ZenML reads a reference only where it is the whole of a text.)"""
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return Reference(found[1], found[2]) if found else None


@dataclass(frozen=True, slots=True)
class Definition:
    """One artifact store. `flavor` is ZenML's word. `connected`: its credentials come from a service connector."""

    name: str
    flavor: str
    configuration: Mapping[str, Any] = field(repr=False)
    connected: bool = False

    @property
    def path(self) -> str:
        return str(self.configuration.get("path") or "")

    def secrets(self) -> dict[str, str]:
        """Every attribute whose value is not here but in a secret of ZenML's, with the name of that secret."""
        found = {name: link.secret for name, value in self.configuration.items() if (link := reference(value))}
        named = self.configuration.get(AUTHENTICATION)
        return {**found, AUTHENTICATION: str(named)} if named and AUTHENTICATION not in found else found


@dataclass(frozen=True, slots=True)
class Resolved:
    """A store that can be opened now. `expires` (aware; None: never) is when its credentials end: ask again five minutes before."""

    spec: StoreSpec
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Renewal:
    """How a store whose credentials end at `expires` gets others: `resolve` blocks, and is called in a thread."""

    expires: datetime
    resolve: Callable[[], Resolved]


class Sealed(Exception):
    """This secret cannot be read without ZenML."""


class Unreadable(Exception):
    """ZenML's files are not as they are known here; only ZenML itself can tell what is in them."""


class Source(Protocol):
    """Files that can be read without ZenML."""

    def definitions(self) -> dict[str, Definition]:
        """Every artifact store by its name. Raises Unreadable."""

    def files(self) -> tuple[Path, ...]:
        """What `definitions` reads: as long as none of them changes, or comes or goes, it gives the same."""

    def secret(self, name: str) -> Mapping[str, str]:
        """The values of a secret. Raises Sealed, Unreadable, or KeyError when there is none of this name."""
