"""The flavors that users registered: which class stands for which name.

What it is: one TOML file beside each registry of stores, one table a flavor: `source`, `directory`, `schemes`, and what the class takes.
What it is not: the import of a class, or the check of a store (`stores.flavors.user`).
Invariants: the user's flavors hide the machine's of the same name; none is called like a flavor of storemount's own, or takes its schemes.
Reading runs nobody's code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storemount.config import Places
from storemount.errors import ExitCode, Invalid, Refusal
from storemount.registry.tomlfile import TomlFile
from storemount.stores.flavors import FLAVORS
from storemount.stores.flavors.spec import Flavor, near
from storemount.stores.flavors.user import UserFlavor
from storemount.stores.user.source import ClassSource

FILE = "flavors.toml"


class UserFlavors:
    """The flavors that `places` name."""

    def __init__(self, places: Places) -> None:
        self._system = TomlFile(places.system_config / FILE, private=False)
        self._user = TomlFile(places.config / FILE, private=True)

    def entries(self) -> dict[str, UserFlavor]:
        """Every one by its name. Raises Refusal when a file is broken."""
        found: dict[str, UserFlavor] = {}
        for file in (self._system, self._user):
            found.update({name: _read(file, name, table) for name, table in self._content(file).items()})
        return dict(sorted(found.items()))

    def flavor(self, name: str) -> Flavor | None:
        """The description of one; None when there is none of this name."""
        entry = self.entries().get(name)
        return entry.flavor() if entry is not None else None

    def flavors(self) -> list[Flavor]:
        return [entry.flavor() for entry in self.entries().values()]

    def register(self, path: str, directory: str, *, system: bool = False) -> tuple[UserFlavor, bool]:
        """The flavor of the class with this dotted path, looked for in `directory` too; and whether its name was there before, for the same
        class, which is what registering it again is for. Raises Refusal."""
        try:
            flavor = UserFlavor.of(ClassSource(path, directory))
        except Invalid as error:
            raise Refusal(ExitCode.BAD_CONFIGURATION, f"cannot register {path}: {error}") from error
        self._check(flavor)
        file = self._system if system else self._user
        with file.edit() as document:
            held = _read(file, flavor.name, document[flavor.name]) if flavor.name in document else None
            if held is not None and held.source.path != path:
                raise _refusal(flavor.name, f"is taken by {held.source.path}; delete that one first, or call this one otherwise")
            document[flavor.name] = flavor.row()
        return flavor, held is not None

    def delete(self, name: str, *, system: bool = False) -> None:
        """Forget one; the class itself is not touched. Raises Refusal when there is none of this name."""
        file = self._system if system else self._user
        with file.edit() as document:
            if name not in document:
                self._refuse_delete(name, system)
            del document[name]

    def _refuse_delete(self, name: str, system: bool) -> None:
        if name in FLAVORS:
            raise _refusal(name, "is storemount's own, and stays")
        entries = self.entries()
        if name in entries:
            raise _refusal(
                name, f"is in the {'user' if system else 'system'} registry; {'leave --system out' if system else 'add --system'}"
            )
        raise _refusal(name, f"is not registered{near(name, entries)}; see: storemount artifact-store flavor list")

    def _content(self, file: TomlFile) -> Mapping[str, Any]:
        try:
            return file.read()
        except PermissionError:
            if file is self._system:
                return {}  # the machine's flavors are not for everybody
            raise Refusal(ExitCode.BAD_CONFIGURATION, f"{file.path}: this user may not read it; mend its owner or mode") from None

    def _check(self, flavor: UserFlavor) -> None:
        if flavor.name in FLAVORS:
            raise _refusal(flavor.name, f"is storemount's own; give {flavor.source.path} another FLAVOR")
        others = {entry.name: entry.schemes for entry in self.entries().values() if entry.name != flavor.name}
        others |= {own.name: own.schemes for own in FLAVORS.values()}
        for name, schemes in others.items():
            taken = [scheme for scheme in flavor.schemes if scheme and scheme in schemes]
            if taken:
                raise _refusal(flavor.name, f"takes {taken[0]}, which the flavor {name} has; choose another scheme")


def _read(file: TomlFile, name: str, table: Any) -> UserFlavor:
    try:
        return UserFlavor.of_row(name, table if isinstance(table, Mapping) else {})
    except ValueError as error:
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"{file.path}: {error}; mend it by hand") from None


def _refusal(name: str, message: str) -> Refusal:
    return Refusal(ExitCode.BAD_CONFIGURATION, f"the flavor {name!r} {message}")
