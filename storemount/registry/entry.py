"""A store as it was registered: one table of the registry's file.

What it is: the description with its references (`env:NAME`) not yet looked up, its way from and to TOML, and how it may be shown.
What it is not: the files it stands in (`registry`), or an open store.
Invariant: what `shown` gives never holds a secret.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from storemount.stores.flavors import FLAVORS, Attribute, Flavor
from storemount.stores.flavors.spec import CREDENTIAL, FILE, REFERENCE, is_telling
from storemount.stores.uri import without_password

HIDDEN = "***"


class Level(enum.StrEnum):
    """Where a store's description stands."""

    USER = "user"
    SYSTEM = "system"
    BUILT_IN = "built-in"
    ZENML = "zenml"


@dataclass(frozen=True, slots=True)
class Entry:
    """`attributes` are raw strings, as given; JSON ones still text. `own` is the flavor itself, where a user registered it."""

    name: str
    flavor: str
    path: str
    level: Level
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)
    own: Flavor | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of_table(cls, name: str, table: Any, level: Level) -> Entry:
        """From a table of the file. Raises ValueError, with a message for the user, when it does not describe a store."""
        if not isinstance(table, Mapping):
            raise ValueError(f"{name!r} is not a store; write a table [{name}] with flavor and path")
        row = {str(key): _text(value) for key, value in table.items()}
        texts = {key: value for key, value in row.items() if value is not None}
        wrong = [key for key in ("flavor", "path", *row) if key not in texts]
        if wrong:
            raise ValueError(f"the store {name!r} needs a text as its {wrong[0]}")
        return cls(name, texts.pop("flavor"), texts.pop("path"), level, texts)

    def row(self) -> dict[str, str]:
        """What the table holds."""
        return {"flavor": self.flavor, "path": self.path, **self.attributes}

    def attribute(self, name: str) -> Attribute | None:
        """What the flavor says of one of its attributes; None for one it does not know."""
        flavor = self.own or FLAVORS.get(self.flavor)
        return next((attribute for attribute in flavor.attributes if attribute.name == name), None) if flavor else None

    def shown(self) -> dict[str, str]:
        """Path and attributes as they may be printed: secrets are hidden, references are not (they are not the secret)."""
        return {"path": without_password(self.path), **{name: self._shown(name, value) for name, value in self.attributes.items()}}

    def _shown(self, name: str, value: str) -> str:
        attribute = self.attribute(name)
        if value.startswith((REFERENCE, CREDENTIAL)):
            return value
        if attribute is not None and attribute.secret and value.startswith(FILE):
            return value
        if attribute is None or attribute.secret:
            return HIDDEN
        return _without_inner_secrets(value) if attribute.json else without_password(value)


def _text(value: Any) -> str | None:
    """A TOML value as an attribute's raw string: an inline table is what a flavor takes as JSON."""
    if isinstance(value, Mapping):
        return json.dumps(value)
    return str(value) if isinstance(value, str) else None


def _without_inner_secrets(text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        return HIDDEN  # it does not parse, so nobody knows what is in it
    return json.dumps(_masked(value))


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: HIDDEN if is_telling(key) and not isinstance(inner, dict) else _masked(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return without_password(value) if isinstance(value, str) else value
