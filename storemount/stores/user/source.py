"""Finding a user's class by its dotted path.

What it is: the import of `module.Class`, and the folder in which Python found it, so that a daemon started elsewhere finds it too.
What it is not: a judgement on the class (`form`).
Invariants: a failure is one line that names the module, the folders and the cause. The user's folder comes last on `sys.path`, so that no
file in it hides a module of Python or of an installed package.
"""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from types import ModuleType

from storemount.errors import Invalid


@dataclass(frozen=True, slots=True)
class ClassSource:
    """`path` is the dotted path of a class, `directory` where its module was found ("" when nobody looked yet)."""

    path: str
    directory: str = ""

    def load(self) -> type:
        """The class. Raises Invalid: no such module, no such class, or whatever its import raised."""
        module, _, name = self.path.rpartition(".")
        if not all(part.isidentifier() for part in (*module.split("."), name)):
            raise Invalid(f"{self.path!r} is not the dotted path of a class; write module.Class, such as my_module.MyStore")
        found = getattr(self._module(module), name, None)
        if isinstance(found, type):
            return found
        where = getattr(sys.modules[module], "__file__", None) or "a folder without such a file"
        raise Invalid(f"the module {module} ({where}) has {'no class' if found is None else 'something else called'} {name}")

    def _module(self, name: str) -> ModuleType:
        if self.directory and self.directory not in sys.path:
            sys.path.append(self.directory)
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
                place = f"in {self.directory or 'the current folder'}, nor on Python's path"
                raise Invalid(f"there is no module {name} {place}; set PYTHONPATH, or register the flavor where it is") from error
            raise self._broken(name, error) from error
        except (Exception, SystemExit) as error:
            raise self._broken(name, error) from error

    def _broken(self, name: str, error: BaseException) -> Invalid:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Invalid(f"the module {name} (looked for in {self.directory or 'the current folder'}) cannot be imported: {cause}")

    def found(self) -> str:
        """The folder that has to be on Python's path for this class, once it is loaded."""
        top = sys.modules[self.path.partition(".")[0]]
        packages: list[str] = list(getattr(top, "__path__", ()))
        return os.path.dirname(os.path.abspath(packages[0] if packages else str(top.__file__)))
