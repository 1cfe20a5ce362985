"""What OpenDAL's exceptions mean, in the words of `errors`.

What it is: the translation at the native engine's edge, by type, and inside `Unexpected` by the fields it prints.
What it is not: a policy; retries happened before, in the client. What a service calls its failures it says itself (`Answers`).
Invariants: what is not recognised is `Unavailable`, never `NotFound` (S3), and neither is a listing that the server does not find.
No message carries the client's back-trace.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from storemount.errors import (
    Changed,
    Corrupt,
    Denied,
    Invalid,
    InvalidName,
    MissingStore,
    NotFound,
    StoreMountError,
    TimedOut,
    Unavailable,
    Unreachable,
    Unsupported,
)
from storemount.stores.translation import translated


@dataclass(frozen=True, slots=True)
class Answers:
    """How the answers of one service that refuse something stand in OpenDAL's text. `code`: its first group is the service's own word.
    `listing`: what OpenDAL calls the operation of a listing. `failure(what, code, status)`: what they stand for; a code or a status can
    be missing ("", 0). `region`: its first group is where the answer says that the bucket is, which `failure` is told as `region=`."""

    code: re.Pattern[str]
    listing: str
    failure: Callable[..., StoreMountError]
    region: re.Pattern[str] | None = None


_KINDS: dict[str, type[StoreMountError]] = {
    "NotFound": NotFound,
    "PermissionDenied": Denied,
    "ConditionNotMatch": Changed,
    "RangeNotSatisfied": Corrupt,
    "RateLimited": Unavailable,
    "Unsupported": Unsupported,
    "ConfigInvalid": Invalid,
}
# The client has one exception for all of these, and says which it was only in its words.
_WORDS: tuple[tuple[str, type[StoreMountError]], ...] = (
    ("timeout reached", TimedOut),
    ("operation timed out", TimedOut),
    ("client error (Connect)", Unreachable),
    ("too little data", Corrupt),
    ("too much data", Corrupt),
    ("BytesRange::advance", Corrupt),
    ("invalid HTTP version", Corrupt),
    ("deserialize json", Corrupt),
    ("credential", Denied),
)


def translate(error: Exception, what: str, answers: Answers) -> StoreMountError:
    """The named failure for an exception of OpenDAL; `what` is the key it was about."""
    if isinstance(error, UnicodeError):
        return InvalidName(f"{what!r} is not text")
    text = str(error).partition("Backtrace:")[0]
    code = answers.code.search(text)
    said = _failure(what, code[1], text, answers) if code else None
    if f"service_operation: {answers.listing}" in text and _status(text) == 404:
        return said if isinstance(said, MissingStore) else MissingStore(f"{what}: a listing was not found: {_first_line(text)}")
    if said is not None:
        return said
    # A file object raises OSErrors that begin with the kind; an operator raises a type of that name.
    kind = _KINDS.get(type(error).__name__) or _KINDS.get(text.partition(" ")[0])
    # An answer without a body, refused: the service may know more of why.
    if kind is not None and not (kind is Denied and _status(text)):
        return kind(f"{what}: {_first_line(text)}")
    if _status(text):
        return _failure(what, "", text, answers)
    kind = next((kind for words, kind in _WORDS if words in text), Unavailable)
    return kind(f"{what}: {_first_line(text)}")


def named(what: str, answers: Answers) -> AbstractContextManager[None]:
    """Exceptions of OpenDAL leave under the names of `errors`. Nothing but OpenDAL may be called in such a block."""
    return translated(lambda error, what: translate(error, what, answers), what)


def _failure(what: str, code: str, text: str, answers: Answers) -> StoreMountError:
    region = answers.region.search(text) if answers.region else None
    return answers.failure(what, code, _status(text), region=region[1]) if region else answers.failure(what, code, _status(text))


def _status(text: str) -> int:
    found = re.search(r"response: Parts { status: (\d{3})", text)
    return int(found[1]) if found else 0


def _first_line(text: str) -> str:
    source = re.search(r"Source:\s+(.+)", text)
    line = text.partition("\n")[0].partition("=> ")[2] or text.partition("\n")[0]
    return f"{line} ({source[1].strip()})" if source else line
