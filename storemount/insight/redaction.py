"""Secrets, and texts without them.

What it is: the credential values of stores' descriptions, in the forms in which they may turn up, and the replacing of each in a text.
What it is not: a guess at what looks like a secret; only values that were told are known.
Invariant: a text that was made fit to be seen has none of the values, also not as part of a URL, of JSON or of a connection string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from storemount.stores.flavors import FLAVORS, StoreSpec
from storemount.stores.flavors.spec import FILE, is_telling

SHORTEST = 4
"""Characters under which a value would make every line unreadable, and is no secret worth the name."""

HIDDEN = "***"

_SIGNATURE = re.compile(r"(?:^|[?&;])(?:sig|AccountKey|SharedAccessSignature)=([^&;]+)", re.IGNORECASE)
"""What is secret in an Azure SAS token or connection string, by itself."""

_PASSWORD = re.compile(r"://[^/@:]*:([^/@]+)@")


class Redaction:
    """Knows the secrets of every description that it was told."""

    def __init__(self) -> None:
        self._secrets: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, spec: StoreSpec) -> None:
        """From now on no credential of this description passes."""
        known = self._secrets | {form for value in secrets_of(spec) for form in _forms(value)}
        if known != self._secrets:
            self._secrets = known
            self._pattern = re.compile("|".join(re.escape(secret) for secret in sorted(known, key=len, reverse=True)))

    def fit(self, text: str) -> str:
        """`text` as it may be seen."""
        return self._pattern.sub(HIDDEN, text) if self._pattern is not None else text


def secrets_of(spec: StoreSpec) -> Iterator[str]:
    """The values that are credentials: secret attributes, what has a telling name in JSON, passwords in the path."""
    flavor = spec.own or FLAVORS[spec.flavor]
    secret = {attribute.name for attribute in flavor.attributes if attribute.secret}
    for name, value in spec.attributes.items():
        if name in secret or is_telling(name):
            yield from _within(value)
        elif (found := _parsed(value)) is not None:
            yield from _telling(found)
    yield from _PASSWORD.findall(spec.path)


def _within(value: str) -> Iterator[str]:
    """The value itself and what is secret in it; where it only names a file, that is no secret."""
    if value.startswith((FILE, "/")):
        return
    found = _parsed(value)
    if found is None:
        yield value
    else:
        yield from _telling(found)
    yield from _SIGNATURE.findall(value)


def _telling(value: Any, *, told: bool = False) -> Iterator[str]:
    """The texts in a JSON value that stand under a telling name."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _telling(inner, told=told or is_telling(str(name)))
    elif isinstance(value, list):
        for inner in value:
            yield from _telling(inner, told=told)
    elif told and isinstance(value, str):
        yield value


def _parsed(value: str) -> Any:
    """A JSON object or list; None for any other text."""
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return found if isinstance(found, dict | list) else None


def _forms(value: str) -> Iterator[str]:
    """How a value may be written; one of several lines (a private key) may also be cut into them."""
    for part in (value, *value.splitlines()):
        if len(part.strip()) >= SHORTEST and not part.startswith("-----"):
            yield from (part.strip(), quote(part, safe=""), quote(part), quote_plus(part), json.dumps(part)[1:-1], repr(part)[1:-1])
