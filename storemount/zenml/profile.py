"""A profile of ZenML up to 0.13: YAML files in a folder.

What it is: the reader of `stacks.yaml` (name -> flavor), `artifact_stores/NAME.yaml`, and of the file of the local secrets manager.
What it is not: the choice of a profile (`place`).
Format: as written by ZenML 0.10 to 0.13.2, `zenml/zen_stores/local_zen_store.py` and `zenml/secrets_managers/local`.
Invariant: only reads.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storemount.zenml.definition import Definition, Sealed, Unreadable

_NOT_ATTRIBUTES = ("name", "uuid")
_SCHEMA = "zenml_schema_name"


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that the file holds. Raises OSError; ValueError, with a message that repeats nothing of the file, when it has none."""
    import yaml

    try:
        value = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"not YAML{f' (at line {mark.line + 1})' if mark else ''}") from None
    if not isinstance(value, dict):
        raise ValueError("it does not hold a mapping")
    return value


class Profile:
    """`root` is the profile's folder; `local_stores` where stores without a path are; `stack` the name of its active stack."""

    def __init__(self, root: Path, local_stores: Path, stack: str | None) -> None:
        self._root = root
        self._local_stores = local_stores
        self._stack = stack

    def definitions(self) -> dict[str, Definition]:
        """Raises Unreadable."""
        flavors = (self._stacks().get("stack_components") or {}).get("artifact_store") or {}
        return {str(name): self._definition(str(name), str(flavor)) for name, flavor in flavors.items()}

    def files(self) -> tuple[Path, ...]:
        stores = self._root / "artifact_stores"
        return (self._root / "stacks.yaml", stores, *sorted(stores.glob("*.yaml")))

    def secret(self, name: str) -> Mapping[str, str]:
        """From the secrets manager of the active stack, where ZenML looks too. Raises Sealed, Unreadable, KeyError."""
        values = self._secrets_file().get(name)
        if values is None:
            raise KeyError(name)
        try:
            return {key: base64.b64decode(value, validate=True).decode() for key, value in values.items() if key != _SCHEMA}
        except (ValueError, AttributeError, TypeError):
            raise Unreadable(f"the secret {name!r}") from None

    def _definition(self, name: str, flavor: str) -> Definition:
        written = self._read("artifact_stores", f"{name}.yaml")
        configuration = {key: value for key, value in written.items() if key not in _NOT_ATTRIBUTES and value is not None}
        if flavor == "local" and not configuration.get("path"):
            configuration["path"] = str(self._local_stores / str(written.get("uuid")))
        return Definition(name, flavor, configuration)

    def _secrets_file(self) -> dict[str, Any]:
        stacks = self._stacks()
        keeper = ((stacks.get("stacks") or {}).get(self._stack) or {}).get("secrets_manager")
        if keeper is None:
            raise Sealed(f"ZenML's active stack {self._stack!r} has no secrets manager")
        if (stacks.get("stack_components") or {}).get("secrets_manager", {}).get(keeper) != "local":
            raise Sealed(f"the secrets manager {keeper!r} is not a file")
        settings = self._read("secrets_managers", f"{keeper}.yaml")
        file = settings.get("secrets_file") or self._local_stores / str(settings.get("uuid")) / "secrets.yaml"
        try:
            return read_yaml(Path(str(file)))
        except (OSError, ValueError) as error:
            raise Unreadable(f"{file}: {error}") from None

    def _stacks(self) -> dict[str, Any]:
        return self._read("stacks.yaml")

    def _read(self, *names: str) -> dict[str, Any]:
        path = self._root.joinpath(*names)
        try:
            return read_yaml(path)
        except (OSError, ValueError) as error:
            raise Unreadable(f"{path}: {error}") from None
