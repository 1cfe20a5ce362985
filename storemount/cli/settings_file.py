"""A mount's settings in a file: `mounts.d/NAME.toml`.

What it is: where such a file is, and its keys read as the options of `storemount mount` that have their names.
What it is not: a second set of options; each value is read, and refused, by the option itself.
Invariants: a file that says something nobody knows is refused as a whole, with one line that names the key. What stands on the command
line wins over the file.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from storemount.config import Places
from storemount.errors import ExitCode, Refusal
from storemount.registry.tomlfile import TomlFile

FOLDER = "mounts.d"
NOT_IN_A_FILE = frozenset({"config", "foreground", "supervise", "mount_words", "fuse_options"})
"""Options that say how the command is run, not how the mount behaves."""


def file_of(name: str, places: Places) -> Path:
    """A path (with a slash) is itself; a name is looked for in this user's folder, then in the machine's. Raises Refusal."""
    candidates = [Path(name)] if "/" in name else [folder / FOLDER / f"{name}.toml" for folder in (places.config, places.system_config)]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"there is no settings file {' or '.join(map(str, candidates))}")
    return Path(os.path.abspath(found))


def values(path: Path, context: click.Context) -> dict[str, Any]:
    """What the file says, by the names of the command's parameters, each of its parameter's type. Raises Refusal."""
    try:
        content = TomlFile(path, private=False).read()
    except PermissionError:
        raise _wrong(path, "this user may not read it") from None
    known = {param.name: param for param in context.command.params if param.name and param.name not in NOT_IN_A_FILE}
    return {name: _value(path, known, name, value, context) for name, value in _spelled(content).items()}


def _spelled(content: Mapping[str, Any]) -> dict[str, Any]:
    """`cache-size` is `cache_size`, as in `-o`."""
    return {key.replace("-", "_"): value for key, value in content.items()}


def _value(path: Path, known: Mapping[str, click.Parameter], name: str, value: Any, context: click.Context) -> Any:
    parameter = known.get(name)
    if parameter is None:
        raise _wrong(path, f"{name} is not known{_near(name, known)}")
    is_flag = isinstance(parameter, click.Option) and parameter.is_flag
    if is_flag and not isinstance(value, bool):
        raise _wrong(path, f"{name} is {value!r}; write true or false")
    if not is_flag and (isinstance(value, bool) or not isinstance(value, str | int | float)):
        raise _wrong(path, f'{name} takes one value; write it as text, such as {name} = "..."')
    try:
        return value if is_flag else parameter.type_cast_value(context, str(value))
    except click.BadParameter as error:
        raise _wrong(path, f"{name}: {error.message.rstrip('.')}") from None


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=2, cutoff=0.6)
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def _wrong(path: Path, message: str) -> Refusal:
    return Refusal(ExitCode.BAD_CONFIGURATION, f"{path}: {message}")
