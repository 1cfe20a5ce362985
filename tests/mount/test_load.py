"""Fifty clients at once for a while: every read is right, and in the end the store is what the model says (S5, S6, S8, S10, S15)."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import Storemount
from tests.support.mounting import PLAIN, REMOTE, STORES, Mount, mount_of, mounted
from tests.support.outside import Outside, contents
from tests.support.workload import Model, common_bytes, work

PROCESSES, THREADS = 5, 10
CACHE_MIB = 48
OVERHEAD_MIB = 150
COMMON = 96 * 1024 * 1024
"""Twice the cache, so that it has to evict."""


def fifty_workers(root: Path, seconds: float, seed: int, common: Path | None = None) -> Model:
    """What fifty workers in five processes leave below `root`."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        shared = str(common) if common else None
        tasks = [(str(root), number * THREADS, THREADS, seconds, seed, shared, COMMON) for number in range(PROCESSES)]
        parts = pool.starmap(work, tasks)
        pool.close()
        pool.join()
    assert all(steps > 0 for _, steps in parts)
    return {name: data for model, _ in parts for name, data in model.items()}


def peak_mib(mount: Mount) -> float:
    """The most memory that the daemon ever held."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{mount.pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def differences(found: Model, expected: Model) -> list[str]:
    """Names that are missing, too many, or differ in content; each says which."""
    missing = [f"{name} is missing" for name in expected.keys() - found.keys()]
    extra = [f"{name} is too many" for name in found.keys() - expected.keys()]
    differs = [f"{name} differs" for name in found.keys() & expected.keys() if found[name] != expected[name]]
    return sorted(missing + extra + differs)


def on_disk(root: Path) -> Model:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", (PLAIN, *STORES))
def test_S15_fifty_clients(
    kind: str, pytestconfig: pytest.Config, fresh_store: Callable[[str], Outside], storemount: Storemount, tmp_path: Path
) -> None:
    seconds = pytestconfig.getoption("--load-seconds")
    if kind == PLAIN:
        assert on_disk(tmp_path) == {} != (model := fifty_workers(tmp_path, 2, seed=1))
        assert on_disk(tmp_path) == model
        return
    outside = fresh_store(kind)
    outside.put("common", common_bytes(COMMON))
    # Fifty at once on a small machine may each wait long; that is no fault.
    options = ("--cache-size", f"{CACHE_MIB}M", "--slow", "300s")
    with mounted(mount_of(storemount, kind, outside, options)) as mount, mount.watched(seconds + 200):
        (mount.point / "work").mkdir()
        model = fifty_workers(mount.point / "work", seconds / 4 if kind in REMOTE else seconds, seed=7, common=mount.point / "common")
        assert peak_mib(mount) < CACHE_MIB + OVERHEAD_MIB
        assert differences(on_disk(mount.point / "work"), model) == []
    assert differences({key.removeprefix("work/"): data for key, data in contents(outside, "work/").items()}, model) == []
