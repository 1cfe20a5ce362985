"""The form of a user's class: what it is called, which paths it takes, what it can be told, and how one is made.

What it is: three forms made one. A plain class with `FLAVOR` and `SUPPORTED_SCHEMES`; ZenML's class of one piece, where the same two stand
on a pydantic model whose fields are its attributes; ZenML's of three pieces, a flavor with `config_class` and `implementation_class`.
What it is not: a dependency on ZenML or pydantic; both are known by what they look like.
Invariants: looking at a class makes no instance of it (but of ZenML's flavor, which is a description). No message repeats a value.
"""

from __future__ import annotations

import inspect
import json
import re
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from storemount.errors import Invalid
from storemount.stores.flavors.spec import is_telling

NEEDED = ("open", "exists", "isdir", "listdir", "makedirs", "remove", "stat")
"""Methods without which nothing can be mounted. The abstraction's others are used where they are there."""

_OWN = {"self", "path", "name", "uuid", "id"}
"""What we tell every class ourselves."""

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_EMPTY = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Declared:
    """One thing the class can be told. `kind` is its annotation; a value is text, and is read as that kind."""

    name: str
    kind: Any = str
    required: bool = False
    secret: bool = False

    def read(self, text: str) -> Any:
        """Raises Invalid for a text that is no such value."""
        options = [one for one in get_args(self.kind) or (self.kind,) if one is not type(None)]
        kind = self.kind if get_origin(self.kind) in (dict, list, tuple, set) else options[0]
        kind = get_origin(kind) or kind
        try:
            if kind is bool:
                return _WORDS[text.strip().lower()]
            if kind in (int, float):
                return kind(text)
            return kind(json.loads(text)) if kind in (dict, list, tuple, set) else text
        except (ValueError, KeyError, TypeError):
            raise Invalid(f"the attribute {self.name} is not {_article(kind)}") from None


def _article(kind: type) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, f"JSON of a {kind.__name__}")


class Form:
    """What `cls` (loaded from the dotted path `source`) says of itself. Raises Invalid when it cannot be a store."""

    def __init__(self, cls: type, source: str) -> None:
        self._source = source
        self._flavor = cls() if _has_parts(cls) else None
        self._config: type | None = self._flavor.config_class if self._flavor is not None else None
        self.implementation: type = self._flavor.implementation_class if self._flavor is not None else cls
        missing = [method for method in NEEDED if not callable(getattr(self.implementation, method, None))]
        if missing:
            raise Invalid(f"{source} has no {', '.join(missing)}; a store needs {', '.join(NEEDED)}")
        self.name = self._named(cls)
        self.schemes = self._schemes()
        self.asynchronous = any(inspect.iscoroutinefunction(getattr(self.implementation, method)) for method in NEEDED)
        told = self._config or self.implementation
        self._fields: Mapping[str, Any] | None = getattr(told, "model_fields", None) or getattr(told, "__fields__", None)
        self.declared, self.takes_any = _of_model(self._fields) if self._fields is not None else _of_signature(told)

    @property
    def calls_at_once(self) -> int:
        """How many threads may be in the class at one time, if it says."""
        told = getattr(self.implementation, "CALLS_AT_ONCE", None)
        return told if isinstance(told, int) and told > 0 else 8

    def _named(self, cls: type) -> str:
        name = getattr(self._flavor, "name", None) if self._flavor is not None else getattr(cls, "FLAVOR", None)
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise Invalid(f'{self._source} does not say what its flavor is called; give the class FLAVOR = "name"')
        return name

    def _schemes(self) -> tuple[str, ...]:
        schemes = getattr(self._config or self.implementation, "SUPPORTED_SCHEMES", None)
        if not isinstance(schemes, Collection) or isinstance(schemes, str | bytes) or not schemes:
            raise Invalid(f'{self._source} does not say which paths it takes; give the class SUPPORTED_SCHEMES = {{"{self.name}://"}}')
        wrong = [scheme for scheme in schemes if not re.fullmatch(r"([a-z][a-z0-9+.-]*://)?", str(scheme))]
        if wrong:
            raise Invalid(f'{self._source}: {wrong[0]!r} is not a scheme; write it as "{self.name}://" ("" stands for plain paths)')
        return tuple(sorted(schemes))

    def read(self, attributes: Mapping[str, str]) -> dict[str, Any]:
        """The values of these attributes. Raises Invalid: an unknown or missing one, or a text that cannot be read."""
        known = {each.name: each for each in self.declared}
        unknown = [name for name in attributes if name not in known and not self.takes_any]
        if unknown:
            raise Invalid(f"{self._source} takes no {unknown[0]}; it has changed since its flavor was registered: register it again")
        missing = [each.name for each in self.declared if each.required and each.name not in attributes]
        if missing:
            raise Invalid(f"{self._source} needs the attribute {missing[0]}; add --{missing[0]}=VALUE")
        return {name: known[name].read(text) if name in known else text for name, text in attributes.items()}

    def make(self, name: str, path: str, attributes: Mapping[str, Any]) -> Any:
        """An instance for the store `name`. Raises what the class raises."""
        if self._config is not None:
            return self._in_three_pieces(name, self._config(path=path, **attributes))
        if self._fields is not None:
            own = {"path": path, "name": name, "uuid": uuid.uuid4()}
            return self.implementation(**{key: value for key, value in own.items() if key in self._fields}, **attributes)
        if not _has_constructor(self.implementation):
            made = self.implementation()
            for key, value in {"path": path, **attributes}.items():
                setattr(made, key, value)
            return made
        takes = inspect.signature(self.implementation).parameters
        takes_path = "path" in takes or any(one.kind is one.VAR_KEYWORD for one in takes.values())
        return self.implementation(**({"path": path} if takes_path else {}), **attributes)

    def _in_three_pieces(self, name: str, config: Any) -> Any:
        """As ZenML makes a component of its own (`StackComponent.__init__`)."""
        now = datetime.now(UTC)
        kind = getattr(self._flavor, "type", "artifact_store")
        return self.implementation(
            name=name, id=uuid.uuid4(), config=config, flavor=self.name, type=kind, user=None, created=now, updated=now
        )


def _has_constructor(cls: type) -> bool:
    return inspect.getattr_static(cls, "__init__") is not object.__init__


def _has_parts(cls: type) -> bool:
    return hasattr(cls, "config_class") and hasattr(cls, "implementation_class")


def _of_model(fields: Mapping[str, Any]) -> tuple[tuple[Declared, ...], bool]:
    """What pydantic knows of a model's fields; it reads texts by itself, but for JSON."""
    return tuple(_of_field(name, field) for name, field in fields.items() if name not in _OWN), False


def _of_field(name: str, field: Any) -> Declared:
    kind = getattr(field, "annotation", str)
    required = field.is_required() if hasattr(field, "is_required") else bool(getattr(field, "required", False))
    extra = getattr(field, "json_schema_extra", None) or getattr(getattr(field, "field_info", None), "extra", None)
    marked = isinstance(extra, Mapping) and bool(extra.get("sensitive"))
    return Declared(name, kind, required, marked or is_telling(name))


def _of_signature(cls: type) -> tuple[tuple[Declared, ...], bool]:
    """What the constructor takes; of a class without one, its annotations."""
    if not _has_constructor(cls):
        return tuple(_of_annotations(cls)), False
    parameters = inspect.signature(cls).parameters.values()
    hints = _hints(inspect.getattr_static(cls, "__init__"))
    named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) and one.name not in _OWN]
    declared = tuple(Declared(one.name, hints.get(one.name, str), one.default is _EMPTY, is_telling(one.name)) for one in named)
    return declared, any(one.kind is one.VAR_KEYWORD for one in parameters)


def _of_annotations(cls: type) -> Iterable[Declared]:
    for name, kind in _hints(cls).items():
        if name not in _OWN and get_origin(kind) is not ClassVar and kind is not ClassVar and not name.isupper():
            yield Declared(name, kind, not hasattr(cls, name), is_telling(name))


def _hints(of: Any) -> dict[str, Any]:
    try:
        return get_type_hints(of)
    except Exception:  # A name that exists only for type checkers: then everything is text.
        return dict.fromkeys(getattr(of, "__annotations__", {}), str)
