"""What was measured, as a table and as JSON.

What it is: figures by (kind of store, workload, figure, subject), their spread, and the ratio to the reference.
What it is not: a verdict.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = {"start", "restart", "ls cold", "ls warm"}
COSTS = {"cpu": "s", "rss": "MiB", "requests": ""}
BY_METHOD = "requests "
"""How the figures begin that split `requests`; they are in the JSON, and too many for the table."""
PLAIN, OURS = "plain", "storemount"


def unit_of(figure: str) -> str:
    if is_cost(figure):
        return COSTS.get(figure, "")
    if figure in SECONDS:
        return "s"
    if figure.startswith(("read", "write")):
        return "MiB/s"
    return "/s"


def less_is_better(figure: str) -> bool:
    return figure in SECONDS or is_cost(figure)


def is_cost(figure: str) -> bool:
    """Costs stand side by side, without a ratio: a subject may well spend more to be faster."""
    return figure in COSTS or figure.startswith(BY_METHOD)


@dataclass(frozen=True, order=True)
class Row:
    """What one line of the table is about."""

    store: str
    workload: str
    figure: str


@dataclass
class Report:
    """All repetitions of all figures. `facts` says on what machine, with what amounts, and which versions."""

    facts: dict[str, Any]
    values: dict[Row, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    failures: list[dict[str, str]] = field(default_factory=list)
    interrupted: bool = False

    def add(self, store: str, workload: str, subject: str, figures: dict[str, float]) -> None:
        for figure, value in figures.items():
            self.values[Row(store, workload, figure)][subject].append(value)

    def failed(self, store: str, workload: str, subject: str, reason: str) -> None:
        self.failures.append({"store": store, "workload": workload, "subject": subject, "reason": reason})

    def save(self, path: Path) -> None:
        rows = [
            {"store": row.store, "workload": row.workload, "figure": row.figure, "unit": unit_of(row.figure), "subject": subject}
            | {"values": values, "median": statistics.median(values), "ratio": self._ratio(row, subject)}
            for row, subjects in self.values.items()
            for subject, values in subjects.items()
        ]
        path.write_text(
            json.dumps({**self.facts, "rows": rows, "failures": self.failures, "interrupted": self.interrupted}, indent=1) + "\n"
        )

    def table(self) -> Iterator[str]:
        """Lines: for each figure the subjects side by side, as median (least-most) and ratio."""
        for store in dict.fromkeys(row.store for row in self.values):
            yield from self._table_of(store)
        for failure in self.failures:
            yield "failed: {store} {workload} {subject}: {reason}".format(**failure)

    def _table_of(self, store: str) -> Iterator[str]:
        rows = [row for row in self.values if row.store == store and not row.figure.startswith(BY_METHOD)]
        subjects = list(dict.fromkeys(subject for row in rows for subject in self.values[row]))
        reference = "plain" if store == "local" else "the best rival"
        lines = [[store, "figure", "unit", *subjects, f"storemount : {reference}"]]
        for row in rows:
            ratio = self._ratio(row, OURS)
            cells = [_cell(self.values[row].get(subject)) for subject in subjects]
            lines.append([row.workload, row.figure, unit_of(row.figure), *cells, f"{ratio:.2f}" if ratio else ""])
        yield from _aligned(lines)

    def _ratio(self, row: Row, subject: str) -> float | None:
        """How many times better than the reference; None where there is none."""
        medians = {name: statistics.median(values) for name, values in self.values[row].items()}
        others = [value for name, value in medians.items() if name != OURS]
        if is_cost(row.figure) or subject not in medians:
            return None
        best = min if less_is_better(row.figure) else max
        reference = medians.get(PLAIN) if row.store == "local" else best(others, default=None)
        if not reference or not medians[subject]:
            return None
        return reference / medians[subject] if less_is_better(row.figure) else medians[subject] / reference


def _cell(values: Sequence[float] | None) -> str:
    if not values:
        return "-"
    middle = _number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({_number(min(values))}-{_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _aligned(lines: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        if number == 0:
            yield "  ".join("-" * width for width in widths)
    yield ""
