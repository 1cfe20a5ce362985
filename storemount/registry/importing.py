"""ZenML's definitions, copied into storemount's own registry.

What it is: what of a definition is copied, and what is left where ZenML keeps it.
What it is not: the look-up of a name (`registry`), which needs no copy, or the reading of ZenML's files (`zenml`).
Invariants: a secret that ZenML keeps outside the definition is copied only when asked for. What a service connector gives is never
copied, as it ends. Nothing of ZenML's is changed, and nothing that is registered is written over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from storemount.errors import ExitCode, Refusal
from storemount.registry.entry import Entry, Level
from storemount.registry.stores import DEFAULT, OF_ZENML, Registry
from storemount.zenml.attributes import entry_of
from storemount.zenml.definition import Definition
from storemount.zenml.names import ZenML, unknown


@dataclass(frozen=True, slots=True)
class Copied:
    """`entry` is in the registry now. `left`: the attributes that are not, each with the name of ZenML's secret that has its value."""

    entry: Entry
    left: Mapping[str, str]


class Import:
    """Copies from `zenml` into one level of `registry`; `secrets`: with the values of ZenML's secrets, in clear."""

    def __init__(self, registry: Registry, zenml: ZenML, level: Level, *, secrets: bool) -> None:
        self._registry = registry
        self._zenml = zenml
        self._level = level
        self._secrets = secrets

    def choose(self, names: tuple[str, ...]) -> list[Definition]:
        """Those of these names; without names all that hide nothing here. Raises Refusal(UNKNOWN_STORE) for one that is not there."""
        found = self._zenml.definitions()
        for name in names:
            if name not in found:
                raise unknown(name, found, self._zenml.where or "")
        return [found[name] for name in names] if names else [each for name, each in found.items() if name != DEFAULT]

    def copy(self, definition: Definition) -> Copied:
        """Raises Refusal when it cannot be a store of storemount's, is registered already, or would not have its credentials."""
        name = definition.name
        if definition.connected:
            hint = f"mount it as {OF_ZENML}{name}, which gets new ones each time"
            raise Refusal(ExitCode.BAD_CONFIGURATION, f"store {name!r} has its credentials from a service connector, and they end; {hint}")
        left = {} if self._secrets else definition.secrets()
        if "path" in left:
            hint = "import it with --with-secrets"
            raise Refusal(ExitCode.BAD_CONFIGURATION, f"store {name!r} has its path in ZenML's secret {left['path']!r}; {hint}")
        entry = self._with_secrets(definition) if definition.secrets() and self._secrets else entry_of(definition, frozenset(left))
        entry = replace(entry, level=self._level)
        self._registry.register(entry)
        return Copied(entry, left)

    def _with_secrets(self, definition: Definition) -> Entry:
        spec = self._zenml.resolve(definition.name).spec
        return Entry(spec.name, spec.flavor, spec.path, self._level, spec.attributes)
