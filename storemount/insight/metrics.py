"""Metrics: the figures of a mount for Prometheus, each declared once with its type, its unit and its help.

What it is: `METRICS`, the table; and the collector that reads them when somebody asks.
What it is not: the counting (`measures`, `figures`), or a way to be asked (`scrapes`, `requests`).
Invariants: a metric that stands in the table is in every scrape. Between scrapes nothing is computed, so metrics cost the mount nothing
but its plain counters. Each sample carries the mountpoint, so that those of several mounts may meet in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from storemount import __version__
from storemount.insight.figures import Figures
from storemount.insight.measures import Histogram, Timings

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
Value = float | Histogram
Samples = Iterable[tuple[tuple[str, ...], Value]]
"""The values of the labels, and the value."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a scrape is taken from: the figures as they are now, and the facts of the mount, which do not change."""

    now: Mapping[str, Any]
    facts: Mapping[str, Any]
    operations: Timings
    requests: Timings


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` as Prometheus has it, but for the `_total` that it puts behind a counter's. `labels`: those beside `mountpoint`."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    unit: str
    help: str
    read: Callable[[Reading], Samples]
    labels: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """As queries write it."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def _figure(name: str) -> Callable[[Reading], Samples]:
    return lambda reading: [((), reading.now[name])]


def _persistent(name: str) -> Callable[[Reading], Samples]:
    """0 where nothing persists: a store on this disk, or a mount without a cache there."""
    return lambda reading: [((), reading.now.get(name, 0))]


def _fact(name: str) -> Callable[[Reading], Samples]:
    return lambda reading: [((), reading.facts[name])]


def _cap(name: str) -> Callable[[Reading], Samples]:
    """None is no cap."""
    return lambda reading: [((), float("inf") if reading.now[name] is None else reading.now[name])]


def _durations(of: Callable[[Reading], Timings]) -> Callable[[Reading], Samples]:
    return lambda reading: [((name,), histogram) for name, histogram in of(reading).durations.items()]


def _failures(of: Callable[[Reading], Timings]) -> Callable[[Reading], Samples]:
    return lambda reading: list(of(reading).failures.items())


def _about(reading: Reading) -> Samples:
    return [((__version__, reading.facts["store"], reading.facts["uri"], reading.facts["engine"]), 1)]


def _operations(reading: Reading) -> Timings:
    return reading.operations


def _requests(reading: Reading) -> Timings:
    return reading.requests


METRICS = (
    Metric("gauge", "storemount_info", "", "What is mounted, always 1", _about, ("version", "store", "uri", "engine")),
    Metric("gauge", "storemount_start_time_seconds", "seconds", "When the mount was started, since the epoch", _fact("started")),
    Metric("gauge", "storemount_memory_bytes", "bytes", "Resident memory of the daemon", _figure("rss_bytes")),
    Metric("counter", "storemount_cpu_seconds", "seconds", "Processor time of the daemon, user and system", _figure("cpu_seconds")),
    Metric("gauge", "storemount_names", "", "Files and directories that are known", _figure("names")),
    Metric("gauge", "storemount_open_files", "", "Files that programs have open", _figure("open_files")),
    Metric(
        "histogram",
        "storemount_operation_seconds",
        "seconds",
        "How long the kernel's operations took, the wait for the store included",
        _durations(_operations),
        ("operation",),
    ),
    Metric(
        "counter",
        "storemount_operation_failures",
        "",
        "Operations of the kernel that ended with an error, by its name in errno.h (not the lack of an extended attribute)",
        _failures(_operations),
        ("operation", "errno"),
    ),
    Metric(
        "histogram",
        "storemount_request_seconds",
        "seconds",
        "How long requests to the store took; a file is one, however many parts it goes up in",
        _durations(_requests),
        ("request",),
    ),
    Metric(
        "counter",
        "storemount_request_failures",
        "",
        "Requests to the store that failed, by the name of the failure; that nothing has a name is an answer",
        _failures(_requests),
        ("request", "failure"),
    ),
    Metric("gauge", "storemount_running_requests", "", "Requests to the store that have no answer yet", _figure("running_requests")),
    Metric("counter", "storemount_read_bytes", "bytes", "What the kernel read for programs, its own cache aside", _figure("read_bytes")),
    Metric("counter", "storemount_written_bytes", "bytes", "What the kernel wrote for programs", _figure("written_bytes")),
    Metric("counter", "storemount_fetched_bytes", "bytes", "What was read from the store", _figure("fetched_bytes")),
    Metric("counter", "storemount_uploaded_bytes", "bytes", "What was written to the store, whole files only", _figure("uploaded_bytes")),
    Metric("counter", "storemount_cache_hits", "", "Reads that the block cache answered at once", _figure("hits")),
    Metric("counter", "storemount_cache_misses", "", "Reads that had to wait, for the disk or the store", _figure("misses")),
    Metric("gauge", "storemount_cache_bytes", "bytes", "What the block cache holds", _figure("cache_bytes")),
    Metric("gauge", "storemount_cache_limit_bytes", "bytes", "What the block cache may hold", _figure("cache_cap")),
    Metric("counter", "storemount_disk_cache_hits", "", "Blocks that the cache on the disk had", _persistent("disk_hits")),
    Metric("counter", "storemount_disk_cache_misses", "", "Blocks that it had to fetch from the store", _persistent("disk_misses")),
    Metric("gauge", "storemount_disk_cache_bytes", "bytes", "What it holds, of all mounts of this user", _persistent("disk_cache_bytes")),
    Metric("gauge", "storemount_disk_cache_limit_bytes", "bytes", "What it may hold", _persistent("disk_cache_cap")),
    Metric(
        "gauge",
        "storemount_offline_seconds",
        "seconds",
        "For how long the store has been out of reach, as far as requests tell",
        _persistent("offline_seconds"),
    ),
    Metric("gauge", "storemount_pending_changes", "", "Changes that the store does not have, refused ones included", _figure("pending")),
    Metric(
        "gauge", "storemount_pending_bytes", "bytes", "Bytes of the files among them that are not under way yet", _figure("pending_bytes")
    ),
    Metric("gauge", "storemount_oldest_pending_seconds", "seconds", "Age of the oldest of them", _figure("oldest_pending_seconds")),
    Metric("gauge", "storemount_running_uploads", "", "Files that are going up now", _figure("uploading")),
    Metric("gauge", "storemount_refused_changes", "", "Changes that the store has refused and that are kept", _figure("refused")),
    Metric("counter", "storemount_refusals", "", "Attempts that the store refused for good", _figure("refusals")),
    Metric("counter", "storemount_retries", "", "Attempts that failed and are repeated", _figure("retries")),
    Metric("counter", "storemount_conflicts", "", "Files that somebody else had changed meanwhile, kept beside", _figure("conflicts_seen")),
    Metric("gauge", "storemount_staged_bytes", "bytes", "What written files take on the local disk", _figure("staged_bytes")),
    Metric(
        "gauge", "storemount_staged_limit_bytes", "bytes", "What they may take; infinite where the disk is the limit", _cap("staged_cap")
    ),
)


class Metrics(Collector):
    """Those of one mount, in `registry`, which is theirs alone."""

    def __init__(self, figures: Figures, facts: Mapping[str, Any], registry: CollectorRegistry) -> None:
        self._figures = figures
        self._facts = facts
        self._registry = registry
        registry.register(self)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Everything, and the media type of that: what `accept` (an HTTP header) prefers, OpenMetrics, or Prometheus's text format."""
        encode, kind = choose_encoder(accept)
        return encode(self._registry), kind

    def collect(self) -> Iterator[Family]:
        reading = Reading(self._figures.now(), self._facts, self._figures.operations, self._figures.requests)
        return (_family(metric, reading) for metric in METRICS)


def _family(metric: Metric, reading: Reading) -> Family:
    labels = ("mountpoint", *metric.labels)
    family: Family
    if metric.kind == "counter":
        family = CounterMetricFamily(metric.name, metric.help, labels=labels, unit=metric.unit)
    elif metric.kind == "gauge":
        family = GaugeMetricFamily(metric.name, metric.help, labels=labels, unit=metric.unit)
    else:
        family = HistogramMetricFamily(metric.name, metric.help, labels=labels, unit=metric.unit)
    for values, value in metric.read(reading):
        named = [_spelled(each) for each in (reading.facts["mountpoint"], *values)]
        if isinstance(family, HistogramMetricFamily):
            assert isinstance(value, Histogram)
            family.add_metric(named, _buckets(value), value.seconds)
        else:
            assert not isinstance(value, Histogram)
            family.add_metric(named, value)
    return family


def _spelled(text: str) -> str:
    """As UTF-8 can have it: a path may hold bytes that are none."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus has them; the last one is without a bound."""
    bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
