"""How values are written on the command line, and shown there.

What it is: click types for sizes, durations, permission bits, users and groups; the way back to text.
What it is not: the meaning of any option.
"""

from __future__ import annotations

import grp
import math
import pwd
from collections.abc import Callable
from typing import Any

import click

from storemount.config import KIB, parse_address, parse_duration, parse_size


class Parsed(click.ParamType[Any]):
    """A value that `parse` reads; its ValueError is the message for the user."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _octal(text: str) -> int:
    try:
        value = int(text, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o7777:
        raise ValueError(f"{text!r} is not a mode; write octal digits, such as 0644")
    return value


def _user(text: str) -> int:
    if text.isdecimal():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise ValueError(f"there is no user {text!r} on this machine; write a name or a number") from None


def _group(text: str) -> int:
    if text.isdecimal():
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise ValueError(f"there is no group {text!r} on this machine; write a name or a number") from None


SIZE = Parsed("size", parse_size)
DURATION = Parsed("duration", parse_duration)
MODE = Parsed("mode", _octal)
ADDRESS = Parsed("address", parse_address)
USER = Parsed("user", _user)
GROUP = Parsed("group", _group)


def printable(text: str) -> str:
    """`text` on one line, for a terminal: a name may hold a line end, an escape sequence, or bytes that are no text."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def size_text(size: float) -> str:
    """`268435456` as `256 MiB`."""
    if size < KIB:
        return f"{size:.0f} B"
    power = min(int(math.log(size, KIB)), 4)
    return f"{size / KIB**power:.4g} {'KMGT'[power - 1]}iB"


def latency_text(seconds: float) -> str:
    """`0.0000421` as `42.1 µs`, with three digits."""
    for unit, length in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def duration_text(seconds: float) -> str:
    """The two largest units: `3700` as `1h 1m`, `0.5` as `500ms`, infinity as `for ever`."""
    if math.isinf(seconds):
        return "for ever"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms" if seconds else "0"
    parts, rest = [], int(seconds)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        parts += [f"{count}{unit}"] if count else []
    return " ".join(parts[:2])
