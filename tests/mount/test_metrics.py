"""Metrics of a real mount after real work: each is there, and has a value that can be (S16)."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.request
from collections.abc import Callable

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from storemount.errors import ExitCode
from storemount.insight.metrics import METRICS
from tests.support.command import Storemount
from tests.support.mounting import Mount, bucket_mount, mounted
from tests.support.proxy import Proxy
from tests.support.readme import told
from tests.support.servers import BucketClient
from tests.support.waiting import eventually

MIB = 1024 * 1024
SERVED = ("--metrics-listen", "127.0.0.1:0")

Check = Callable[[float], bool]


def between(low: float, high: float) -> Check:
    return lambda value: low <= value <= high


def exactly(wanted: float) -> Check:
    return lambda value: value == wanted


PLAUSIBLE: dict[str, Check] = {
    "storemount_info": exactly(1),
    "storemount_start_time_seconds": lambda value: 0 < time.time() - value < 600,
    "storemount_memory_bytes": between(20 * MIB, 600 * MIB),
    "storemount_cpu_seconds_total": between(0.1, 120),
    "storemount_names": exactly(4),
    "storemount_open_files": exactly(1),
    "storemount_operation_seconds": between(0.001, 120),
    "storemount_operation_failures_total": between(1, 10),
    "storemount_request_seconds": between(0.001, 300),
    "storemount_request_failures_total": between(1, 1000),
    "storemount_running_requests": between(0, 8),
    "storemount_read_bytes_total": between(8 * MIB, 17 * MIB),
    "storemount_written_bytes_total": between(8000, 8000 + 4096),
    "storemount_fetched_bytes_total": exactly(8 * MIB),
    "storemount_uploaded_bytes_total": exactly(5000),
    "storemount_cache_hits_total": between(1, 1000),
    "storemount_cache_misses_total": between(1, 64),
    "storemount_cache_bytes": exactly(8 * MIB),
    "storemount_cache_limit_bytes": exactly(64 * MIB),
    "storemount_disk_cache_hits_total": exactly(0),
    "storemount_disk_cache_misses_total": between(1, 64),
    "storemount_disk_cache_bytes": between(1, 10 * 1024 * MIB),
    "storemount_disk_cache_limit_bytes": exactly(10 * 1024 * MIB),
    "storemount_offline_seconds": between(0, 60),
    "storemount_pending_changes": exactly(1),
    "storemount_pending_bytes": exactly(3000),
    "storemount_oldest_pending_seconds": between(0.5, 60),
    "storemount_running_uploads": between(0, 1),
    "storemount_refused_changes": exactly(0),
    "storemount_refusals_total": exactly(0),
    "storemount_retries_total": between(1, 20),
    "storemount_conflicts_total": exactly(0),
    "storemount_staged_bytes": exactly(3000),
    "storemount_staged_limit_bytes": exactly(float("inf")),
}
"""What each comes to after `_work`. Of a histogram it is the seconds of all together."""


def _work(mount: Mount, proxy: Proxy) -> int:
    """Read a large file cold and warm, write one that arrives and one that does not, fail once; a descriptor that stays open."""
    for _ in range(2):
        with open(mount.point / "large", "rb") as large:
            while large.read(128 * 1024):
                pass
            os.posix_fadvise(large.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # The second time it is the daemon's memory that is asked.
    (mount.point / "stored").write_bytes(b"s" * 5000)
    mount.command.must("flush", str(mount.point))
    try:
        os.link(mount.point / "stored", mount.point / "hard")
    except PermissionError:
        pass
    with open(mount.point / "waits", "wb") as late:
        proxy.refuse()
        late.write(b"w" * 3000)
    assert eventually(lambda: mount.status()["retries"] >= 1)
    return os.open(mount.point / "stored", os.O_RDONLY)


def _totals(families: dict[str, Metric]) -> dict[str, float]:
    """The sum over all labels, by the name that queries use."""
    return {
        metric.shown: sum(
            sample.value
            for sample in families[metric.shown.removesuffix("_total")].samples
            if sample.name == (f"{metric.name}_sum" if metric.kind == "histogram" else metric.shown)
        )
        for metric in METRICS
    }


def _families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_S16_every_metric_has_a_plausible_value(storemount: Storemount, bucket: BucketClient, proxy: Proxy) -> None:
    bucket.put("large", os.urandom(8 * MIB))
    options = (*SERVED, "--cache-size", "64M", "--deadline", "2s")
    mount = bucket_mount(storemount, "s3-native", bucket, options, {"endpoint": proxy.endpoint})
    mount.expect(r"upload of 'waits' failed")
    with mounted(mount):
        descriptor = _work(mount, proxy)
        try:
            (page,) = mount.status()["metrics"]
            with urllib.request.urlopen(page, timeout=10) as response:
                families = _families(response.read().decode())
            printed = _families(storemount.must("metrics", str(mount.point)))
            figures = json.loads(os.getxattr(mount.point, "user.storemount.stats"))
        finally:
            os.close(descriptor)
        proxy.become(proxy.forward)
    totals = _totals(families)
    assert {name: totals[name] for name, check in PLAUSIBLE.items() if not check(totals[name])} == {}
    assert set(PLAUSIBLE) == set(totals)
    assert {sample.labels["mountpoint"] for family in families.values() for sample in family.samples} == {str(mount.point)}
    assert printed.keys() == families.keys()
    assert (figures["uploaded_bytes"], figures["pending_bytes"]) == (5000, 3000)
    assert figures["operations"]["link"]["failed"] == {"EPERM": 1}


def test_a_port_in_use_keeps_the_mount_from_starting_with_one_line(storemount: Storemount) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        mount = Mount(storemount, "memory://", ("--metrics-listen", f"127.0.0.1:{port}"))
        done = storemount.run("mount", mount.store, str(mount.point), *mount.options)
        assert (done.returncode, done.stdout) == (ExitCode.BAD_CONFIGURATION, "")
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert f" 127.0.0.1:{port}: " in done.stderr and told("cannot serve metrics on", done.stderr)
        assert not mount.mounted
        mount.clear()


def test_of_two_mounts_one_has_to_be_named(storemount: Storemount) -> None:
    with mounted(Mount(storemount, "memory://")) as one:
        assert str(one.point) in storemount.must("metrics")
        with mounted(Mount(storemount, "memory://")):
            done = storemount.run("metrics")
            assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
            assert "2 stores are mounted; say which" in done.stderr
