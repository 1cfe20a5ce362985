"""Eight stores of different kinds, mounted at once by one user: each has its own files, and they share the disk (S1, S8, S15)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.command import Storemount
from tests.support.mounting import AZURE, CLASS, CUSTOM, GCS, REMOTE, Mount, mount_of
from tests.support.outside import Outside, contents
from tests.support.waiting import eventually

MEMORY = "memory"
KINDS = ("local", *REMOTE, AZURE[0], GCS[0], CUSTOM, CLASS, MEMORY)
ROUNDS = 12
DISK_CACHE = 6 << 20
OPTIONS = ("--disk-cache-size", "6M", "--cache-size", "16M", "--staging-size", "64M", "--ttl", "60s")


@dataclass
class Tenant:
    """One of the eight. `expected`: what its store has in the end; of the names, all have the same."""

    kind: str
    mount: Mount
    outside: Outside | None
    expected: dict[str, bytes]

    def work(self) -> None:
        """Read what was in the store; write, rename, edit and remove."""
        point, kind = self.mount.point, self.kind.encode()
        if self.outside is not None:
            assert (point / "d/planted").read_bytes() == self.expected["d/planted"]
        (point / "work").mkdir()
        for number in range(ROUNDS):
            file, data = point / f"work/{number}", kind * 1000 * (number + 1)
            file.write_bytes(data)
            if number % 3 == 0:
                file.rename(point / f"work/moved-{number}")
                self.expected[f"work/moved-{number}"] = data
            elif number % 3 == 1:
                file.unlink()
            else:
                with file.open("ab") as more:
                    more.write(b"more")
                self.expected[f"work/{number}"] = data + b"more"
        assert {path.name for path in (point / "work").iterdir()} == {key[5:] for key in self.expected if key.startswith("work/")}


@pytest.fixture
def eight(storemount: Storemount, fresh_store: Callable[[str], Outside]) -> list[Tenant]:
    """Not mounted. Each store has a file; the cache on the disk has room for three of them."""
    tenants = []
    for kind in KINDS:
        if kind == MEMORY:
            tenants.append(Tenant(kind, Mount(storemount, "memory://", OPTIONS), None, {}))
            continue
        outside = fresh_store("local" if kind in (CUSTOM, CLASS) else kind)
        planted = os.urandom(2 << 20)
        outside.put("d/planted", planted)
        tenants.append(Tenant(kind, mount_of(storemount, kind, outside, OPTIONS), outside, {"d/planted": planted}))
    return tenants


@contextmanager
def all_mounted(tenants: list[Tenant]) -> Iterator[ThreadPoolExecutor]:
    """They start, and are stopped, all at once; the threads that did it may be used meanwhile."""
    with ExitStack() as stack, ThreadPoolExecutor(len(tenants)) as pool:
        for tenant in tenants:
            stack.callback(tenant.mount.clear)
        list(pool.map(lambda tenant: tenant.mount.start(), tenants))
        yield pool
        list(pool.map(lambda tenant: tenant.mount.stop(), tenants))


def cached(home: Path) -> int:
    """Bytes that the cache on the disk takes."""
    return sum(path.stat().st_size for path in (home / "cache/storemount/blocks").glob("??/*"))


def test_S1_S8_S15_eight_stores_at_once(eight: list[Tenant], storemount: Storemount) -> None:
    with all_mounted(eight) as pool:
        list(pool.map(Tenant.work, eight))
        told = {row["mountpoint"]: row for row in json.loads(storemount.must("status", "--json"))["mounts"]}
        ours = [told[str(tenant.mount.point)] for tenant in eight]
        assert len({row["uri"] for row in ours}) == len({row["pid"] for row in ours}) == len(KINDS)
        assert {row["disk_cache_cap"] for row in ours if "disk_cache_cap" in row} == {DISK_CACHE}
        storemount.must("flush")
        assert eventually(lambda: 0 < cached(storemount.home) <= DISK_CACHE)

        killed = eight[KINDS.index(REMOTE[0])]
        killed.mount.kill()
        for tenant in eight:
            if tenant is not killed:
                assert (tenant.mount.point / "work/2").read_bytes() == tenant.expected["work/2"]
        killed.mount.start()
        assert (killed.mount.point / "d/planted").read_bytes() == killed.expected["d/planted"]
    for tenant in eight:
        if tenant.outside is not None:
            assert contents(tenant.outside, "") == tenant.expected, tenant.kind
    assert not {str(tenant.mount.point) for tenant in eight} & set(storemount.must("status").split())
