"""Rows as text.

What it is: columns that line up, and `name | value` sheets.
What it is not: JSON, which each command prints by itself.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

import click

MORE = "..."


def cells(text: str) -> int:
    """How many columns of a terminal `text` takes: two for a wide sign, none for one that combines with the sign before it."""
    return sum(map(_cells, text))


def _cells(sign: str) -> int:
    return 0 if unicodedata.combining(sign) else 1 + (unicodedata.east_asian_width(sign) in ("F", "W"))


def cut(text: str, width: int) -> str:
    """`text`, or as much of it as `width` columns of a terminal hold, with a mark that there is more."""
    if cells(text) <= width:
        return text
    kept, room = "", width - len(MORE)
    for sign in text:
        room -= _cells(sign)
        if room < 0:
            break
        kept += sign
    return (kept + MORE)[:width]


def shortened(text: str, width: int) -> str:
    """`text` in `width` columns of a terminal: of one that is longer, its first word and its end."""
    if cells(text) <= width:
        return text
    first, _, rest = text.partition(" ")
    room = width - cells(first) - len(f" {MORE}")
    while rest and cells(rest) > room:
        rest = rest[1:]
    return cut(f"{first} {MORE}{rest}", width)


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each, two spaces between columns."""
    widths = [max(cells(row[column]) for row in (header, *rows)) for column in range(len(header))]
    return [
        "  ".join(cell + " " * (width - cells(cell)) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (header, *rows)
    ]


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """To standard output."""
    for line in columns(header, rows):
        click.echo(line)


def print_sheet(values: Mapping[str, str]) -> None:
    """One value a line."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        click.echo(f"{name.ljust(width)}  {value}".rstrip())
