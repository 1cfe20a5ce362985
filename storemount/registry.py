"""A name -> a store: what `artifact-store register` writes and `mount` looks up.

What it is: the named stores of this user and of the machine, in TOML: one table a store, `flavor`, `path`, and the flavor's attributes.
What it is not: the check of a flavor's attributes (`stores.flavors`), or a connection to any store.
Invariants:
- The user's stores hide the machine's of the same name, and both hide the built-in `default`.
- Everything written was checked; everything read is checked again, as people edit the files too.
- A value `env:NAME` is kept as it is and looked up only when the store is opened. No message repeats a value.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from storemount.config import Places
from storemount.entry import REFERENCE, Entry, Level
from storemount.errors import ExitCode, Refusal
from storemount.stores.flavors import FLAVORS, StoreSpec, spec_of_uri, validate
from storemount.tomlfile import TomlFile
from storemount.userflavors import UserFlavors

DEFAULT = "default"
FILE = "stores.toml"


class Registry:
    """The stores that `places` name. `environ` answers references; `reserved` are words that no store may be called."""

    def __init__(self, places: Places, *, environ: Mapping[str, str], reserved: Collection[str]) -> None:
        self._files = {
            Level.SYSTEM: TomlFile(places.system_config / FILE, private=False),
            Level.USER: TomlFile(places.config / FILE, private=True),
        }
        self._flavors = UserFlavors(places)
        self._built_in = Entry(DEFAULT, "local", str(places.data / DEFAULT), Level.BUILT_IN)
        self._environ = environ
        self._reserved = frozenset(reserved)

    def entries(self) -> dict[str, Entry]:
        """Every store by its name, those that are hidden left out. Raises Refusal when a file is broken."""
        found = {DEFAULT: self._built_in}
        for level in self._files:
            found.update(self._read(level))
        return dict(sorted(found.items()))

    def entry(self, name: str) -> Entry:
        """Raises Refusal(UNKNOWN_STORE), which suggests near names."""
        entries = self.entries()
        if name not in entries:
            raise self._unknown(name, entries)
        return entries[name]

    def spec(self, name_or_uri: str) -> StoreSpec:
        """What to open: a URI or a path (anything with a slash) as it is, a name with its references looked up, checked. Raises Refusal."""
        if "/" in name_or_uri:
            return spec_of_uri(name_or_uri, self._flavors.flavors())
        entry = self.entry(name_or_uri)
        values = {name: self._value(entry, name, value) for name, value in entry.attributes.items()}
        return validate(StoreSpec(entry.name, entry.flavor, self._value(entry, "path", entry.path), values, entry.own))

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

    def _flavored(self, entry: Entry) -> Entry:
        """`entry` with its flavor, where that is one that a user registered."""
        return entry if entry.flavor in FLAVORS else replace(entry, own=self._flavors.flavor(entry.flavor))

    def _own(self, document: Mapping[str, Any], name: str, level: Level) -> Entry:
        if name in document:
            return self._entry(name, document[name], level)
        elsewhere = self.entry(name).level
        if elsewhere is Level.BUILT_IN:
            raise Refusal(ExitCode.BAD_CONFIGURATION, f"store {name!r} is built in; register one of the same name to replace it")
        hint = "add --system" if elsewhere is Level.SYSTEM else "leave --system out"
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"store {name!r} is in the {elsewhere} registry; {hint}")

    def _unknown(self, name: str, entries: Iterable[str]) -> Refusal:
        system = self._files[Level.SYSTEM]
        try:
            system.read()
            unread = ""
        except PermissionError:
            unread = f" ({system.path} was left out: this user may not read it)"
        near = _near(name, [*entries, *self._reserved])
        return Refusal(ExitCode.UNKNOWN_STORE, f"no store is named {name!r}{near}{unread}; see: storemount artifact-store list")

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
        return entry if entry.path.startswith(REFERENCE) else replace(entry, path=spec.path)

    def _for_checking(self, entry: Entry, name: str, value: str) -> str:
        """The value, or a stand-in where its variable is not set here: then a secret is checked for its presence, others not at all."""
        if not value.startswith(REFERENCE) or value.removeprefix(REFERENCE) in self._environ:
            return self._value(entry, name, value)
        attribute = entry.attribute(name)
        return value if attribute and attribute.secret and not attribute.json else ""

    def _value(self, entry: Entry, name: str, value: str) -> str:
        if not value.startswith(REFERENCE):
            return value
        variable = value.removeprefix(REFERENCE)
        if variable not in self._environ:
            message = f"store {entry.name!r}: its {name} is {value}, and that variable is not set; export {variable}"
            raise Refusal(ExitCode.BAD_CONFIGURATION, message)
        return self._environ[variable]


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
