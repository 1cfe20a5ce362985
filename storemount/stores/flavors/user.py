"""Flavors that users register: a Python class of theirs, by its dotted path.

What it is: what is kept of such a class (`UserFlavor`), its description as a `Flavor`, and its opening.
What it is not: the file it is kept in (`userflavors`), or the store (`stores.user`).
Invariants: a kept flavor is listed and its stores are checked without running anybody's code; the class is imported when a flavor is
registered and when a store of it is opened, and then has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storemount.stores.base import ArtifactStore
from storemount.stores.flavors.spec import Attribute, Flavor, StoreSpec, refusal
from storemount.stores.user.form import Declared, Form
from storemount.stores.user.source import ClassSource

PYTHON = "python"


@dataclass(frozen=True, slots=True)
class UserFlavor:
    """What is kept of a class. `attributes` are names, some of them `secrets`, some `required`; `takes_any`: others are handed on."""

    name: str
    source: ClassSource
    schemes: tuple[str, ...]
    attributes: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    takes_any: bool = False

    @classmethod
    def of(cls, source: ClassSource) -> UserFlavor:
        """What the class says now. Raises Invalid: it cannot be imported, or cannot be a store."""
        form = Form(source.load(), source.path)

        def names(which: str) -> tuple[str, ...]:
            return tuple(each.name for each in form.declared if which == "name" or getattr(each, which))

        found = ClassSource(source.path, source.found())
        return cls(form.name, found, form.schemes, names("name"), names("secret"), names("required"), form.takes_any)

    @classmethod
    def of_row(cls, name: str, row: Mapping[str, Any]) -> UserFlavor:
        """From its table in the file. Raises ValueError, with a message for the user, when it does not describe a flavor."""
        source, directory, takes_any = row.get("source"), row.get("directory", ""), row.get("takes_any", False)
        lists = {key: row.get(key, []) for key in ("schemes", "attributes", "secrets", "required")}
        wrong = [key for key, value in lists.items() if not isinstance(value, list) or not all(isinstance(each, str) for each in value)]
        if not isinstance(source, str) or not isinstance(directory, str) or not lists["schemes"] or wrong:
            raise ValueError(
                f"the flavor {name!r} needs a text as its source, and lists of texts as its {wrong[0] if wrong else 'schemes'}"
            )
        tuples = {key: tuple(value) for key, value in lists.items()}
        return cls(name, ClassSource(source, directory), **tuples, takes_any=takes_any is True)

    def row(self) -> dict[str, Any]:
        """What the table holds."""
        told = {"attributes": list(self.attributes), "secrets": list(self.secrets), "required": list(self.required)}
        rest = {key: value for key, value in told.items() if value} | ({"takes_any": True} if self.takes_any else {})
        return {"source": self.source.path, "directory": self.source.directory, "schemes": list(self.schemes), **rest}

    def flavor(self) -> Flavor:
        """The description that stores of it are checked against."""
        attributes = tuple(Attribute(name, self._help(name), secret=name in self.secrets) for name in self.attributes)
        summary = f"the class {self.source.path}"
        return Flavor(self.name, self.schemes, attributes, (PYTHON,), summary, self._check, self._open, takes_any=self.takes_any)

    def _help(self, name: str) -> str:
        return "needed by the class" if name in self.required else "handed to the class"

    def _check(self, spec: StoreSpec) -> str:
        missing = [name for name in self.required if name not in spec.attributes]
        if missing:
            raise refusal(spec, f"the flavor {self.name} needs the attribute {missing[0]}; add --{missing[0]}=VALUE")
        path = spec.path.strip()
        return path if path.endswith("://") else path.rstrip("/") or path

    def _open(self, spec: StoreSpec, engine: str, deadline: float) -> ArtifactStore:
        from storemount.stores.user.calls import UserCalls
        from storemount.stores.user.facts import Failures
        from storemount.stores.user.store import UserStore

        form = Form(self.source.load(), self.source.path)
        values = form.read(spec.attributes)
        failures = Failures(self.source.path, [text for name, text in spec.attributes.items() if self._is_secret(name, form.declared)])
        calls = UserCalls(
            lambda: form.make(spec.name, spec.path, values),
            failures,
            asynchronous=form.asynchronous,
            at_once=form.calls_at_once,
            deadline=deadline,
        )
        return UserStore(spec.path, calls, failures, try_out=not spec.read_only, deadline=deadline)

    def _is_secret(self, name: str, declared: tuple[Declared, ...]) -> bool:
        """Whatever is not known to be none counts as one."""
        return name in self.secrets or all(each.name != name for each in declared)
