"""The words of a flavor: what a kind of store is, and how somebody describes one store of it.

What it is: the types that each flavor's own module and the table of flavors share, and the wording of a refusal.
What it is not: any flavor.
Invariants: everything is frozen. No message repeats the value of an attribute.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from storemount.errors import ExitCode, Refusal
from storemount.stores.base import ArtifactStore

AUTO, NATIVE, FSSPEC, LOCAL, MEMORY = "auto", "native", "fsspec", "local", "memory"

FILE = "file:"
"""How the value of a secret attribute begins that is the path of a file which has it, where the flavor reads such files."""


REFERENCE, CREDENTIAL = "env:", "credential:"
"""How a value begins that is looked up when the store is opened: in a variable, or in a file of $CREDENTIALS_DIRECTORY with this name
(systemd's LoadCredential=)."""

_TELLING = re.compile("secret|token|password|passwd|credential|key", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something a store of a flavor can be told. `secret` is never shown; `json` is the text of a JSON object."""

    name: str
    help: str
    secret: bool = False
    json: bool = False


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """A store as somebody described it: raw strings, JSON still text, secrets already resolved (and kept out of the repr).

    `own` is the flavor itself where it is one that a user registered, and so not in the table. `read_only`: nobody will write to it."""

    name: str
    flavor: str
    path: str
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)
    own: Flavor | None = field(default=None, repr=False, compare=False)
    read_only: bool = field(default=False, compare=False)


Check = Callable[[StoreSpec], str]
"""The path of this description as it is kept, when the flavor can make sense of it; else raises Refusal(BAD_CONFIGURATION)."""

Open = Callable[[StoreSpec, str, float], ArtifactStore]
"""The store behind a checked description, by this engine (or `AUTO`), with this deadline in seconds. Imports the engine."""


@dataclass(frozen=True, slots=True)
class Flavor:
    """A kind of store. `schemes` are the beginnings its path may have ("" is a plain path; none at all: any protocol of fsspec).
    `engines` are what can open it, the one that `auto` takes first. `takes_any`: attributes
    that are not listed are handed on as they are."""

    name: str
    schemes: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    engines: tuple[str, ...]
    summary: str
    check: Check
    open: Open
    takes_any: bool = False


def is_telling(name: str) -> bool:
    """Whether a value of this name is one not to be shown."""
    return bool(_TELLING.search(name))


def json_attribute(spec: StoreSpec, name: str) -> dict[str, object]:
    """The JSON object that the attribute `name` holds; empty where it was not given. Raises Refusal when it does not parse."""
    text = spec.attributes.get(name, "").strip()
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise refusal(spec, f"the attribute {name} is not JSON ({error}); write an object, such as {{}}") from None
    if not isinstance(value, dict):
        raise refusal(spec, f'the attribute {name} is not a JSON object; write {{"name": value, ...}}')
    return value


def refusal(spec: StoreSpec, message: str) -> Refusal:
    """What the user has to mend in the description of this store."""
    return Refusal(ExitCode.BAD_CONFIGURATION, f"store {spec.name!r}: {message}")


def check_reference(spec: StoreSpec, name: str) -> None:
    """Raises Refusal when the attribute `name` names a file (`FILE`) in a way that depends on where the daemon runs."""
    value = spec.attributes.get(name, "")
    if value.startswith(FILE) and not re.match(r"file:(/(?!/)|~)", value):
        raise refusal(spec, f"the attribute {name} names a file by a path that is not absolute; write file:/the/path")


def known(spec: StoreSpec, name: str) -> str:
    """The attribute as far as it can be checked now: empty where it is a reference, which only the opening looks up."""
    value = spec.attributes.get(name, "").strip()
    return "" if value.startswith((REFERENCE, CREDENTIAL)) else value


def near(word: str, known: Iterable[str]) -> str:
    """A hint at the words that `word` may have been meant for; empty when none is like it."""
    found = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(found)}?)" if found else ""


def bucket_path(spec: StoreSpec, scheme: str) -> str:
    """The path of a store that is a bucket, or a prefix in one, without needless slashes. Raises Refusal."""
    bucket, _, prefix = spec.path.strip()[len(scheme) :].partition("/")
    segments = prefix.strip("/").split("/") if prefix.strip("/") else []
    if any(segment in ("", ".", "..") for segment in segments):
        raise refusal(spec, f"the prefix {prefix!r} has an empty, '.' or '..' segment; name a plain folder of the bucket")
    return scheme + "/".join([bucket, *segments])
