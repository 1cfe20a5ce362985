"""The dashboard for Grafana: it can be read, and it names only metrics and labels that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storemount.insight.metrics import METRICS

DASHBOARD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "systemd/grafana-dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
HISTOGRAMS = {metric.shown: {"mountpoint", *metric.labels} for metric in METRICS if metric.kind == "histogram"}
SERIES = {
    **{metric.shown: {"mountpoint", *metric.labels} for metric in METRICS if metric.kind != "histogram"},
    **{f"{name}_{part}": labels for name, labels in HISTOGRAMS.items() for part in ("sum", "count")},
    **{f"{name}_bucket": labels | {"le"} for name, labels in HISTOGRAMS.items()},
}
"""What a scrape has -> its labels."""

WIDTH = 24
COUNTERS = re.compile(r"(_total|_count|_sum|_bucket)$")


def queries() -> Iterator[tuple[str, str]]:
    """Each with its legend."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]


@pytest.mark.parametrize(("query", "legend"), list(queries()))
def test_a_query_names_only_what_exists(query: str, legend: str) -> None:
    names = re.findall(r"storemount_\w+", query)
    assert names and set(names) <= set(SERIES)
    labels = set.union(*(SERIES[name] for name in names))
    grouped = re.search(r"by \(([^)]*)\)", query)
    kept = set(grouped[1].split(", ")) if grouped else labels
    assert kept <= labels
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= kept
    assert query.count("(") == query.count(")")
    assert query.count('{mountpoint=~"$mountpoint"}') == query.count("{") == len(names)


@pytest.mark.parametrize(("query", "legend"), list(queries()))
def test_a_counter_of_events_is_shown_as_a_rate(query: str, legend: str) -> None:
    """Of itself only where each single one matters."""
    for name in re.findall(r"storemount_\w+", query):
        rated = re.search(rf"rate\({name}\{{[^}}]*\}}\[\$__rate_interval\]\)", query)
        assert bool(rated) == bool(COUNTERS.search(name)) or name == "storemount_conflicts_total"


def test_the_mounts_to_choose_from() -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["mountpoint"]["definition"] == "label_values(storemount_info, mountpoint)"
    assert variables["datasource"]["query"] == "prometheus"


def test_every_panel_says_what_it_shows_and_stands_on_its_own_place() -> None:
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)
    cells = [
        (place["x"] + column, place["y"] + row)
        for place in (panel["gridPos"] for panel in PANELS)
        for column in range(place["w"])
        for row in range(place["h"])
    ]
    assert len(cells) == len(set(cells)) and max(column for column, _ in cells) < WIDTH
    assert all(panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS)


def test_every_metric_is_on_it() -> None:
    text = json.dumps(DASHBOARD)
    assert [metric.shown for metric in METRICS if not re.search(rf"\b{metric.shown}(_bucket)?\b", text)] == []
