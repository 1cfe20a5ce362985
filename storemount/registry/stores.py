"""A name -> a store: what `artifact-store register` writes and `mount` looks up.

What it is: the named stores of this user and of the machine, in TOML: one table a store, `flavor`, `path`, and the flavor's attributes;
and after them those of ZenML.
What it is not: the check of a flavor's attributes (`stores.flavors`), a connection to any store, or the way to ZenML (`zenml`).
Invariants:
- The user's stores hide the machine's of the same name, both hide the built-in `default`, and all three hide ZenML's, which
  `zenml://NAME` still reaches. ZenML is looked at only for a name that is not here, and never changed.
- Everything written was checked; everything read is checked again, as people edit the files too.
- A value `env:NAME` is kept as it is and looked up only when the store is opened. No message repeats a value.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from storemount.config import Places
from storemount.errors import ExitCode, Refusal
from storemount.registry.entry import Entry, Level
from storemount.registry.flavors import UserFlavors
from storemount.registry.tomlfile import TomlFile
from storemount.stores.flavors import FLAVORS, Flavor, StoreSpec, spec_of_uri, validate
from storemount.stores.flavors.spec import CREDENTIAL, REFERENCE
from storemount.zenml.attributes import entry_of
from storemount.zenml.definition import Renewal, Resolved
from storemount.zenml.names import ZenML

DEFAULT = "default"
OF_ZENML = "zenml://"
_CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""What a name begins with that only ZenML is to be asked for."""

FILE = "stores.toml"


class Registry:
    """The stores that `places` name. `environ` answers references; `reserved` are words that no store may be called. Without `zenml`
    its stores are not looked at."""

    def __init__(self, places: Places, *, environ: Mapping[str, str], reserved: Collection[str], zenml: ZenML | None = None) -> None:
        self._files = {
            Level.SYSTEM: TomlFile(places.system_config / FILE, private=False),
            Level.USER: TomlFile(places.config / FILE, private=True),
        }
        self._flavors = UserFlavors(places)
        self._built_in = Entry(DEFAULT, "local", str(places.data / DEFAULT), Level.BUILT_IN)
        self._environ = environ
        self._reserved = frozenset(reserved)
        self._zenml = zenml

    def entries(self) -> dict[str, Entry]:
        """Every store by its name, those that are hidden left out. Raises Refusal when a file is broken."""
        found = {DEFAULT: self._built_in}
        for level in self._files:
            found.update(self._read(level))
        return dict(sorted(found.items()))

    def entry(self, name: str) -> Entry:
        """Raises Refusal(UNKNOWN_STORE), which suggests near names."""
        own = self.entries()
        if name in own:
            return own[name]
        of_zenml = self.of_zenml()
        found = of_zenml.get(name) or (of_zenml.get(name.removeprefix(OF_ZENML)) if name.startswith(OF_ZENML) else None)
        if found is None:
            raise self._unknown(name, [*own, *of_zenml])
        return found

    def of_zenml(self) -> dict[str, Entry]:
        """Those of ZenML's stores that its files tell of, each by what it is mounted by: `zenml://NAME` where NAME means another store
        here. ZenML itself is not asked. Raises Refusal."""
        found = self._zenml.at_hand() if self._zenml else {}
        own = self.entries()
        entries = {name: self._flavored(entry_of(definition)) for name, definition in sorted(found.items())}
        return {f"{OF_ZENML}{name}" if name in own else name: entry for name, entry in entries.items()}

    def files_of_zenml(self) -> tuple[Path, ...]:
        """What `of_zenml` reads; it gives the same as long as none of them changes. Raises Refusal."""
        return self._zenml.files() if self._zenml else ()

    def spec(self, name_or_uri: str) -> StoreSpec:
        """What to open: see `resolved`."""
        return self.resolved(name_or_uri).spec

    def resolved(self, name_or_uri: str) -> Resolved:
        """What to open, and how long its credentials last: a URI or a path (anything with a slash) as it is, a name with its references
        looked up, checked. Asking again gives fresh credentials. Raises Refusal."""
        if name_or_uri.startswith(OF_ZENML):
            return self._only_of_zenml(name_or_uri.removeprefix(OF_ZENML))
        if "/" in name_or_uri:
            return Resolved(spec_of_uri(name_or_uri, self._flavors.flavors()))
        entry = self.entries().get(name_or_uri)
        if entry is None:
            return self._also_of_zenml(name_or_uri)
        values = {name: self._value(entry, name, value) for name, value in entry.attributes.items()}
        return Resolved(validate(StoreSpec(entry.name, entry.flavor, self._value(entry, "path", entry.path), values, entry.own)))

    def renewal(self, name_or_uri: str, resolved: Resolved) -> Renewal | None:
        """Where a store that was resolved gets other credentials, when those that it has end."""
        return Renewal(resolved.expires, partial(self.resolved, name_or_uri)) if resolved.expires else None

    def flavors(self) -> list[Flavor]:
        """Those that users registered, beside storemount's own. Raises Refusal when a file is broken."""
        return self._flavors.flavors()

    def makes_folder(self, name_or_uri: str, spec: StoreSpec) -> bool:
        """Whether this store is a folder that is made when it is first used: the built-in one, and ZenML's own."""
        if "/" not in name_or_uri and (entry := self.entries().get(name_or_uri)):
            return entry.level is Level.BUILT_IN
        of_zenml = "/" not in name_or_uri or name_or_uri.startswith(OF_ZENML)
        return of_zenml and spec.flavor == "local" and self._zenml is not None and self._zenml.owns(spec.path)

    def register(self, entry: Entry) -> None:
        """Add a store at `entry.level`. Raises Refusal for a bad name, one that is taken there, or a bad description."""
        self._check_name(entry.name)
        checked = self._checked(self._flavored(entry))
        with self._files[entry.level].edit() as document:
            if entry.name in document:
                raise _taken(entry.name, entry.level)
            document[entry.name] = checked.row()

    def update(self, name: str, level: Level, changes: Mapping[str, str | None]) -> None:
        """Set `path` and attributes to new values; None takes an attribute away. Raises Refusal when the outcome would not be valid."""
        with self._files[level].edit() as document:
            before = self._own(document, name, level)
            after = self._checked(_changed(before, changes)).row()
            table = document[name]
            for key in before.row().keys() - after.keys():
                del table[key]
            for key, value in after.items() - before.row().items():
                table[key] = value

    def rename(self, old: str, new: str, level: Level) -> None:
        """Raises Refusal when `old` is not at this level, or `new` is taken or no name."""
        self._check_name(new)
        with self._files[level].edit() as document:
            self._own(document, old, level)
            if new in document:
                raise _taken(new, level)
            document[new] = document.pop(old)

    def delete(self, name: str, level: Level) -> None:
        """Forget the description; the store itself is not touched. Raises Refusal when it is not at this level."""
        with self._files[level].edit() as document:
            self._own(document, name, level)
            del document[name]

    # reading

    def _read(self, level: Level) -> dict[str, Entry]:
        file = self._files[level]
        try:
            content = file.read()
        except PermissionError:
            if level is Level.SYSTEM:
                return {}  # the machine's stores are not for everybody; `_unknown` says so when it matters
            raise Refusal(ExitCode.BAD_CONFIGURATION, f"{file.path}: this user may not read it; mend its owner or mode") from None
        return {name: self._entry(name, table, level) for name, table in content.items()}

    def _entry(self, name: str, table: Any, level: Level) -> Entry:
        try:
            return self._flavored(Entry.of_table(name, table, level))
        except ValueError as error:
            raise Refusal(ExitCode.BAD_CONFIGURATION, f"{self._files[level].path}: {error}; mend it by hand") from None

    def _openable(self, resolved: Resolved) -> Resolved:
        """What ZenML gave, checked as every other description is. Raises Refusal when it is no store of storemount's."""
        flavor = resolved.spec.flavor
        own = None if flavor in FLAVORS else self._flavors.flavor(flavor)
        return replace(resolved, spec=validate(replace(resolved.spec, own=own)))

    def _flavored(self, entry: Entry) -> Entry:
        """`entry` with its flavor, where that is one that a user registered."""
        return entry if entry.flavor in FLAVORS else replace(entry, own=self._flavors.flavor(entry.flavor))

    def _own(self, document: Mapping[str, Any], name: str, level: Level) -> Entry:
        if name in document:
            return self._entry(name, document[name], level)
        elsewhere = self.entry(name).level
        if elsewhere is Level.BUILT_IN:
            raise Refusal(ExitCode.BAD_CONFIGURATION, f"store {name!r} is built in; register one of the same name to replace it")
        if elsewhere is Level.ZENML:
            hint = f"change it there, or copy it first: storemount artifact-store import-zenml {name}"
            raise Refusal(ExitCode.BAD_CONFIGURATION, f"store {name!r} is ZenML's; {hint}")
        hint = "add --system" if elsewhere is Level.SYSTEM else "leave --system out"
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"store {name!r} is in the {elsewhere} registry; {hint}")

    def _only_of_zenml(self, name: str) -> Resolved:
        if self._zenml is None:
            raise Refusal(ExitCode.UNKNOWN_STORE, f"{OF_ZENML}{name}: ZenML is not looked at here")
        return self._openable(self._zenml.resolve(name))

    def _also_of_zenml(self, name: str) -> Resolved:
        """A name that is not one of ours. Raises Refusal, which says where it was looked for."""
        if self._zenml is None or self._zenml.where is None:
            raise self._unknown(name, self.entries())
        known = self._zenml.at_hand()
        try:
            resolved = self._zenml.resolve(name)
        except Refusal as refusal:
            if name in known:
                raise
            if refusal.code is ExitCode.UNKNOWN_STORE:
                where = f" in storemount's registry or in ZenML's ({self._zenml.where})"
                raise self._unknown(name, [*self.entries(), *known], where) from None
            raise Refusal(refusal.code, f"no store is named {name!r} in storemount's registry, and {refusal.message}") from None
        return self._openable(resolved)

    def _unknown(self, name: str, entries: Iterable[str], where: str = "") -> Refusal:
        system = self._files[Level.SYSTEM]
        try:
            system.read()
            unread = ""
        except PermissionError:
            unread = f" ({system.path} was left out: this user may not read it)"
        near = _near(name, [*entries, *self._reserved])
        return Refusal(ExitCode.UNKNOWN_STORE, f"no store is named {name!r}{where}{near}{unread}; see: storemount artifact-store list")

    # checking

    def _check_name(self, name: str) -> None:
        faults = {
            "it is empty": not name,
            "it begins with '-' (the name comes first)": name.startswith("-"),
            "it is a URI": "://" in name,
            "it has a '/'": "/" in name,
            "it has white space or characters that cannot be printed": any(letter.isspace() or not letter.isprintable() for letter in name),
            "it is a word of the command line": name in self._reserved,
        }
        for fault, found in faults.items():
            if found:
                raise Refusal(ExitCode.BAD_CONFIGURATION, f"{name!r} cannot name a store: {fault}; choose another")

    def _checked(self, entry: Entry) -> Entry:
        """`entry` with its path normalised, or a Refusal."""
        values = {name: self._for_checking(entry, name, value) for name, value in entry.attributes.items()}
        spec = validate(StoreSpec(entry.name, entry.flavor, self._value(entry, "path", entry.path), values, entry.own))
        return entry if entry.path.startswith((REFERENCE, CREDENTIAL)) else replace(entry, path=spec.path)

    def _for_checking(self, entry: Entry, name: str, value: str) -> str:
        """The value, or a stand-in where its variable is not set here: then a secret is checked for its presence, others not at all."""
        absent = value.startswith(CREDENTIAL) and _CREDENTIALS not in self._environ
        if not absent and (not value.startswith(REFERENCE) or value.removeprefix(REFERENCE) in self._environ):
            return self._value(entry, name, value)
        attribute = entry.attribute(name)
        return value if attribute and attribute.secret and not attribute.json else ""

    def _value(self, entry: Entry, name: str, value: str) -> str:
        if value.startswith(CREDENTIAL):
            return self._credential(entry, name, value)
        if not value.startswith(REFERENCE):
            return value
        variable = value.removeprefix(REFERENCE)
        if variable not in self._environ:
            message = f"store {entry.name!r}: its {name} is {value}, and that variable is not set; export {variable}"
            raise Refusal(ExitCode.BAD_CONFIGURATION, message)
        return self._environ[variable]

    def _credential(self, entry: Entry, name: str, value: str) -> str:
        """What the service manager has put there for this service alone."""
        said = f"store {entry.name!r}: its {name} is {value}, and"
        if _CREDENTIALS not in self._environ:
            raise Refusal(ExitCode.BAD_CONFIGURATION, f"{said} only a service of systemd with LoadCredential= has credentials")
        path = Path(self._environ[_CREDENTIALS]) / value.removeprefix(CREDENTIAL)
        try:
            return path.read_text().rstrip("\n")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            message = f"{said} {path} cannot be read ({why}); add LoadCredential={path.name}:/PATH to the service"
            raise Refusal(ExitCode.BAD_CONFIGURATION, message) from None


def _changed(entry: Entry, changes: Mapping[str, str | None]) -> Entry:
    """`entry` with some values set or taken away. Raises Refusal for one that is not there to be taken away."""
    attributes = dict(entry.attributes)
    for key, value in changes.items():
        if value is not None:
            attributes[key] = value
        elif attributes.pop(key, None) is None:
            near = _near(key, entry.attributes)
            raise Refusal(ExitCode.BAD_CONFIGURATION, f"store {entry.name!r} has no attribute {key!r} to remove{near}")
    return replace(entry, path=attributes.pop("path", entry.path), attributes=attributes)


def _taken(name: str, level: Level) -> Refusal:
    hint = "choose another name, or update or delete that one"
    return Refusal(ExitCode.BAD_CONFIGURATION, f"the {level} registry already has a store named {name!r}; {hint}")


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
