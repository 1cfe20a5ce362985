"""Metrics: what is declared, what the README says of it, and that each measures what it says (S16)."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
import trio
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from pyfuse3 import ROOT_INODE, RequestContext
from trio.testing import MockClock

from storemount.errors import Denied, NotFound, Unavailable
from storemount.insight.measures import Histogram, Timings
from storemount.insight.metrics import METRICS, Metrics
from storemount.stores.measured import Measured
from tests.support.bare import BareMount, bare_mount, fails, put_object, without_threads
from tests.support.clock import clock as clock
from tests.support.faulty import FaultyStore, PromptMemoryStore

README = Path(__file__).parents[2] / "README.md"
FACTS = {"mountpoint": "/mnt/caf\udce9", "store": "s", "uri": "memory://", "engine": "memory", "started": 1e9}


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(PromptMemoryStore())


def metrics_of(m: BareMount) -> Metrics:
    return Metrics(m.mount.figures, FACTS, CollectorRegistry())


def samples(metrics: Metrics) -> dict[str, float]:
    """`name{label values}` -> value, without the mountpoint."""
    found = {}
    for family in text_string_to_metric_families(metrics.text()[0].decode()):
        for sample in family.samples:
            values = [value for label, value in sorted(sample.labels.items()) if label != "mountpoint"]
            found[f"{sample.name}{{{','.join(values)}}}" if values else sample.name] = sample.value
    return found


def test_the_readme_has_every_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `(storemount_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", README.read_text(), re.MULTILINE)
    declared = [(each.shown, each.kind, ", ".join(f"`{label}`" for label in each.labels), each.help) for each in METRICS]
    assert rows == declared


def test_names_are_said_once_and_end_with_their_unit() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert [metric.name for metric in METRICS if metric.unit and not metric.name.endswith(f"_{metric.unit}")] == []


async def test_every_metric_is_in_a_scrape_of_a_mount_that_has_done_nothing(clock: MockClock, store: FaultyStore, tmp_path: Path) -> None:
    async with bare_mount(store, tmp_path) as m:
        text, kind = metrics_of(m).text()
        assert kind.startswith("text/plain; version=0.0.4")
        assert re.findall(r"^# TYPE (\w+) (\w+)$", text.decode(), re.MULTILINE) == [(each.shown, each.kind) for each in METRICS]
        assert 'mountpoint="/mnt/caf\ufffd"' in text.decode()


async def test_openmetrics_for_who_asks_for_it(clock: MockClock, store: FaultyStore, tmp_path: Path) -> None:
    async with bare_mount(store, tmp_path) as m:
        await m.put("f", b"12345")
        text, kind = metrics_of(m).text("application/openmetrics-text; version=1.0.0")
        families = list(openmetrics.text_string_to_metric_families(text.decode()))
        assert kind.startswith("application/openmetrics-text")
        assert [(family.name, family.unit) for family in families] == [(each.name, each.unit) for each in METRICS]


async def test_what_programs_do_and_what_it_costs(clock: MockClock, store: FaultyStore, tmp_path: Path) -> None:
    await put_object(store, "there", b"x" * 5000, tmp_path)
    store.forget()
    async with bare_mount(store, tmp_path) as m:
        metrics = metrics_of(m)
        fh = await m.open("there")
        for _ in range(3):
            assert len(await m.read(fh, 0, 5000)) == 5000
        assert samples(metrics)["storemount_open_files"] == 1
        await m.close(fh)
        await m.put("new", b"y" * 700)
        seen = samples(metrics)
        assert seen["storemount_pending_changes"] == 1
        assert seen["storemount_pending_bytes"] == seen["storemount_staged_bytes"] == 700
        await trio.sleep(0.2)
        assert samples(metrics)["storemount_oldest_pending_seconds"] == pytest.approx(0.2)
        await m.settle()
        await m.names()
        seen = samples(metrics)
        assert seen["storemount_open_files"] == seen["storemount_pending_changes"] == seen["storemount_running_requests"] == 0
        assert (seen["storemount_read_bytes_total"], seen["storemount_written_bytes_total"]) == (15_000, 700)
        assert (seen["storemount_fetched_bytes_total"], seen["storemount_uploaded_bytes_total"]) == (5000, 700)
        assert (seen["storemount_cache_misses_total"], seen["storemount_cache_hits_total"]) == (1, 2)
        assert seen["storemount_cache_bytes"] == 5000
        assert seen["storemount_names"] == 3
        assert seen["storemount_operation_seconds_count{read}"] == seen["storemount_operation_seconds_bucket{+Inf,read}"] == 3
        made = {verb: seen[f"storemount_request_seconds_count{{{verb}}}"] for verb in store.count()}
        assert made == store.count()


async def test_a_request_without_its_answer_is_seen(clock: MockClock, store: FaultyStore, tmp_path: Path) -> None:
    async with bare_mount(store, tmp_path, upload_delay=0) as m:
        gate = store.hold("write")
        await m.put("f", b"1")
        await gate.wait_reached()
        seen = samples(metrics_of(m))
        assert seen["storemount_running_requests"] == seen["storemount_running_uploads"] == 1
        gate.open()
        await m.settle()


async def test_S16_failures_by_their_reason(clock: MockClock, store: FaultyStore, tmp_path: Path) -> None:
    async with bare_mount(store, tmp_path) as m:
        metrics = metrics_of(m)
        store.fail("stat", Denied("no"), times=1)
        with fails(errno.EACCES):
            await m.exists("f")
        with fails(errno.ENOENT):
            await m.unlink("absent")
        store.fail("write", Unavailable("503"), times=2)
        await m.put("late", b"1")
        await m.settle()
        store.fail("write", Denied("no"), times=1)
        await m.put("refused", b"2")
        await trio.sleep(5)
        seen = samples(metrics)
        assert seen["storemount_operation_failures_total{EACCES,lookup}"] == 1
        assert seen["storemount_operation_failures_total{ENOENT,unlink}"] == 1
        assert seen["storemount_request_failures_total{Denied,stat}"] == 1
        assert seen["storemount_request_failures_total{Unavailable,write}"] == 2
        assert not [name for name in seen if "NotFound" in name]
        assert seen["storemount_retries_total"] == 2
        assert seen["storemount_refusals_total"] == seen["storemount_refused_changes"] == seen["storemount_pending_changes"] == 1


async def test_an_attribute_that_a_file_does_not_have_is_no_failure(clock: MockClock, store: FaultyStore, tmp_path: Path) -> None:
    async with bare_mount(store, tmp_path) as m:
        for name, number in ((b"user.mine", errno.ENODATA), (b"security.capability", errno.ENOTSUP)):
            with fails(number):
                await m.fs.getxattr(ROOT_INODE, name, RequestContext())
        assert not [name for name in samples(metrics_of(m)) if name.startswith("storemount_operation_failures_total{")]


async def test_S9_conflicts_are_counted(clock: MockClock, store: FaultyStore, tmp_path: Path) -> None:
    await put_object(store, "f", b"base", tmp_path)
    async with bare_mount(store, tmp_path) as m:
        fh = await m.open("f", 2)
        await m.write(fh, 0, b"ours")
        await put_object(store, "f", b"theirs", tmp_path)
        await m.close(fh)
        await m.settle()
        assert samples(metrics_of(m))["storemount_conflicts_total"] == 1


async def test_a_page_of_a_listing_is_a_request(clock: MockClock, tmp_path: Path) -> None:
    store = FaultyStore(PromptMemoryStore())
    measured = Measured(store)
    assert [page async for page in measured.list("")] in ([], [[]])
    for number in range(2500):
        await put_object(store, f"{number}", b"", tmp_path)
    async for _ in measured.list(""):
        pass
    assert measured.requests.durations["list"].count == store.count()["list"]
    with pytest.raises(NotFound):
        await measured.stat("absent")
    assert not measured.requests.failures


def test_a_duration_is_counted_at_its_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 1.0, 7.0):
        histogram.add(seconds)
    assert (histogram.counts, histogram.count, histogram.seconds) == ([2, 2, 1], 5, pytest.approx(8.65))


def test_timings_keep_names_apart() -> None:
    timings = Timings((1.0,))
    timings.ended("a", 0.5, None)
    timings.ended("a", 2.0, "EIO")
    timings.ended("b", 2.0, "EIO")
    assert {name: histogram.counts for name, histogram in timings.durations.items()} == {"a": [1, 1], "b": [0, 1]}
    assert timings.failures == {("a", "EIO"): 1, ("b", "EIO"): 1}


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time jumps when nobody works, and who waits for a thread looks as if he did not."""
    monkeypatch.setattr(trio.to_thread, "run_sync", without_threads)
