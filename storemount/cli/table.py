"""Rows as text.

What it is: columns that line up, and `name | value` sheets.
What it is not: JSON, which each command prints by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each, two spaces between columns."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (header, *rows)]


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """To standard output."""
    for line in columns(header, rows):
        click.echo(line)


def print_sheet(values: Mapping[str, str]) -> None:
    """One value a line."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        click.echo(f"{name.ljust(width)}  {value}".rstrip())
