"""Attributes of a store on the command line: `--key=value`, `--key value`, `--key=@FILE`, `--key=env:NAME`.

What it is: the parser for options that no command declares, as each flavor has its own.
What it is not: the check of names and values (`stores.flavors`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click


def pairs(words: Sequence[str]) -> dict[str, str]:
    """Names (dashes as underscores) and values; a file's content stands for `@FILE`. Raises click.UsageError."""
    found: dict[str, str] = {}
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        key = _name(name)
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise click.UsageError(f"{name} needs a value; write {name}=VALUE")
            value = rest.pop(0)
        if key in found:
            raise click.UsageError(f"{name} is given twice; keep one of them")
        found[key] = read(value)
    return found


def names(words: Sequence[str]) -> list[str]:
    """Names without values. Raises click.UsageError."""
    for word in words:
        if "=" in word:
            raise click.UsageError(f"{word.partition('=')[0]} takes no value here")
    return [_name(word) for word in words]


def read(value: str) -> str:
    """`value`, or the content of the file that `@FILE` names, without its last line break. Raises click.UsageError."""
    if not value.startswith("@"):
        return value
    path = Path(value[1:]).expanduser()
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"cannot read {path}: it is not UTF-8 text") from None


def _name(word: str) -> str:
    if not word.startswith("--") or word == "--":
        shown = word if len(word) < 20 else "a word"  # what stands in the wrong place may be a secret
        raise click.UsageError(f"{shown!r} is not an attribute; write --NAME=VALUE, after the store's name")
    return word[2:].replace("-", "_")
