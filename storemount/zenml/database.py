"""ZenML's local database: SQLite, read without ZenML, in milliseconds.

What it is: the artifact stores, and the secrets that are kept there in clear.
What it is not: a substitute for ZenML's client. The tables are ZenML's own business: what is not as known here is `Unreadable`, an
encrypted secret is `Sealed`, and then the client is asked.
Format: tables `stack_component` and `secret` as ZenML 0.20 to 0.98 makes them, `zenstackcomponent` of 0.10 to 0.13 (its profiles of type
sql). A configuration is base64 of JSON, in the old one of YAML; so are the values of a secret.
Invariants: opened read-only; nothing is made, migrated or locked for longer than one query.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from storemount.zenml.definition import Definition, Sealed, Unreadable

BUSY = 2.0
"""Seconds to wait for a ZenML that is writing."""


def _yaml(text: str) -> Any:
    import yaml

    return yaml.safe_load(text)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a ZenML of some time keeps its stores. The query gives id, name, flavor, configuration, and the connector or NULL."""

    table: str
    stores: str
    parse: Callable[[str], Any]


NEW = Layout("stack_component", "SELECT * FROM stack_component WHERE type = 'artifact_store'", json.loads)
OLD = Layout("zenstackcomponent", "SELECT * FROM zenstackcomponent WHERE lower(type) = 'artifact_store'", _yaml)


class Database:
    """`file` may be missing: then there are no stores yet. `secrets`: whether secrets are in it at all."""

    def __init__(self, file: Path, local_stores: Path, layout: Layout, *, secrets: bool = False) -> None:
        self._file = file
        self._local_stores = local_stores
        self._layout = layout
        self._secrets = secrets

    def definitions(self) -> dict[str, Definition]:
        """Raises Unreadable; also where two stores have one name, as in the workspaces of some versions."""
        if not self._file.exists():
            return {}
        found: dict[str, Definition] = {}
        for row in self._rows(self._layout.stores):
            definition = self._definition(row)
            if definition.name in found:
                raise Unreadable(f"two stores are named {definition.name!r}")
            found[definition.name] = definition
        return found

    def files(self) -> tuple[Path, ...]:
        return (self._file, Path(f"{self._file}-wal"))

    def secret(self, name: str) -> Mapping[str, str]:
        """Of two with one name the private one, as ZenML has it. Raises Sealed, Unreadable, KeyError."""
        if not self._secrets:
            raise Sealed(f"the secret {name!r} is not in {self._file}")
        rows = self._rows('SELECT "values" AS content, * FROM secret WHERE name = ?', name)
        if not rows:
            raise KeyError(name)
        return _clear(name, max(rows, key=_private)["content"])

    def _definition(self, row: Mapping[str, Any]) -> Definition:
        try:
            values = self._layout.parse(base64.b64decode(row["configuration"], validate=True).decode())
            configuration = {key: value for key, value in values.items() if key not in ("name", "uuid") and value is not None}
            name, flavor, identity = str(row["name"]), str(row["flavor"]), str(uuid.UUID(str(row["id"])))
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise Unreadable(f"{self._file}: {type(error).__name__}") from None
        if flavor == "local" and not configuration.get("path"):
            configuration["path"] = str(self._local_stores / identity)
        return Definition(name, flavor, configuration, connected=row.get("connector_id") is not None)

    def _rows(self, query: str, *values: str) -> list[dict[str, Any]]:
        try:
            with closing(sqlite3.connect(f"file:{quote(str(self._file))}?mode=ro", uri=True, timeout=BUSY)) as connection:
                connection.row_factory = sqlite3.Row
                return [dict(row) for row in connection.execute(query, values)]
        except sqlite3.Error as error:
            raise Unreadable(f"{self._file}: {error}") from None


def _private(row: Mapping[str, Any]) -> bool:
    return bool(row.get("private"))


def _clear(name: str, content: Any) -> dict[str, str]:
    try:
        values = json.loads(base64.b64decode(content, validate=True).decode())
        return {str(key): str(value) for key, value in values.items()}
    except (ValueError, AttributeError, TypeError):
        raise Sealed(f"the secret {name!r} is encrypted") from None
