"""What was read, warmed or pinned is on the disk: it outlives the mount, and the server (S4, S14, S15)."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storemount.errors import ExitCode
from tests.support.command import Storemount
from tests.support.faults import refusal
from tests.support.mounting import REMOTE, Mount, bucket_mount, mounted
from tests.support.proxy import Proxy
from tests.support.readme import told
from tests.support.servers import BucketClient

LARGE = os.urandom(9 << 20)
FILES = {"d/large": LARGE, "d/small": b"small", "d/below/empty": b"", "d/below/other": b"other", "top": b"top"}
OPTIONS = ("--ttl", "0", "--deadline", "2s")
AWAY = r"the store cannot be reached"


@pytest.fixture(params=REMOTE[:1])
def mount(request: pytest.FixtureRequest, bucket: BucketClient, proxy: Proxy, storemount: Storemount) -> Mount:
    """Not started; `FILES` are in its bucket."""
    shutil.rmtree(storemount.home / "cache" / "storemount", ignore_errors=True)
    for key, data in FILES.items():
        bucket.put(key, data)
    return bucket_mount(storemount, request.param, bucket, OPTIONS, {"endpoint": proxy.endpoint})


def again(mount: Mount, *options: str) -> Mount:
    """The same store by the same user, at another place."""
    return Mount(mount.command, mount.store, (*mount.options, *options))


def blocks(mount: Mount) -> list[Path]:
    return sorted((mount.command.home / "cache" / "storemount" / "blocks").glob("??/*"))


@pytest.fixture
def pinned(mount: Mount, proxy: Proxy) -> Iterator[Mount]:
    """Started; `d` is pinned."""
    with mounted(mount), mount.watched(120):
        mount.command.must("pin", str(mount.point / "d"))
        yield mount


def test_what_was_read_is_read_after_a_remount_without_the_store(mount: Mount, proxy: Proxy) -> None:
    with mounted(mount), mount.watched(60):
        assert {key: (mount.point / key).read_bytes() for key in FILES} == FILES
        assert mount.status()["disk_misses"]
    other = again(mount)
    with mounted(other), other.watched(60):
        other.expect("WARNING")
        names = {key: (other.point / key).stat().st_size for key in FILES}
        assert names == {key: len(data) for key, data in FILES.items()}
        held = {key: (other.point / key).read_bytes() for key in FILES}
        assert held == FILES
        told = other.status()
        assert told["disk_misses"] == 0 and told["disk_hits"]
        assert 0 < told["disk_cache_bytes"] <= told["disk_cache_cap"]


def test_S4_a_damaged_cache_serves_no_wrong_byte(mount: Mount) -> None:
    with mounted(mount), mount.watched(60):
        assert (mount.point / "d/large").read_bytes() == LARGE
    damaged = blocks(mount)
    assert damaged
    for number, path in enumerate(damaged):
        data = bytearray(path.read_bytes())
        data[len(data) // 2 if number % 2 else -1] ^= 1 << number % 8
        path.write_bytes(data if number % 3 else data[: len(data) // 2])
    other = again(mount)
    with mounted(other), other.watched(60):
        other.expect("is damaged; it is fetched again")
        assert (other.point / "d/large").read_bytes() == LARGE
        assert told("on the disk is damaged; it is fetched again", other.log.read_text())


def test_S14_what_is_pinned_is_read_while_the_server_is_down(pinned: Mount, proxy: Proxy) -> None:
    pinned.expect("WARNING")
    proxy.refuse()
    assert sorted(os.listdir(pinned.point / "d")) == ["below", "large", "small"]
    assert sorted(os.listdir(pinned.point / "d/below")) == ["empty", "other"]
    for key, data in FILES.items():
        if key != "top":
            assert (pinned.point / key).read_bytes() == data
    assert pinned.status()["offline_seconds"] > 0
    assert told("what was warmed of it is shown as it was seen last", pinned.log.read_text())
    for absent in ("top", "d/not there"):
        with pytest.raises(OSError) as caught:
            (pinned.point / absent).read_bytes()
        assert not isinstance(caught.value, FileNotFoundError), "S3: never absent because of an outage"
    with pytest.raises(OSError):
        os.listdir(pinned.point)


def test_S14_the_answers_of_a_store_that_is_back_count_again(pinned: Mount, proxy: Proxy, bucket: BucketClient) -> None:
    pinned.expect("WARNING")
    proxy.become(refusal("503 Slow Down", "SlowDown"))
    assert (pinned.point / "d/small").read_bytes() == b"small"
    bucket.put("d/small", b"newer")
    bucket.delete("d/below/other")
    proxy.become(proxy.forward)
    with pinned.watched(60):
        while (pinned.point / "d/small").read_bytes() != b"newer":
            pass
        assert os.listdir(pinned.point / "d/below") == ["empty"]
    assert pinned.status()["offline_seconds"] == 0


def test_S15_what_is_pinned_outlives_what_is_only_read(mount: Mount, bucket: BucketClient) -> None:
    """The cache holds the one or the other, not both."""
    bucket.put("pinned", os.urandom(5 << 20))
    bucket.put("read", os.urandom(5 << 20))
    small = again(mount, "--disk-cache-size", "8M")
    with mounted(small), small.watched(120):
        small.command.must("pin", str(small.point / "pinned"))
        pins = set(blocks(small))
        (small.point / "read").read_bytes()
        refused = small.command.run("pin", str(small.point / "d/large"))
        assert refused.returncode == ExitCode.NOT_WARM and told("and what it has is pinned, or needed", refused.stderr)
        assert pins <= set(blocks(small))
        small.command.must("unpin", str(small.point / "pinned"))
        small.command.must("warm", str(small.point / "read"))
        assert not pins <= set(blocks(small))
        small.command.must("drop", str(small.point))
        assert not blocks(small)


def test_a_pin_is_held_against_a_list_of_digests(mount: Mount, tmp_path: Path) -> None:
    listed = tmp_path / "listed"
    lines = {key[2:]: hashlib.sha256(data).hexdigest() for key, data in FILES.items() if key.startswith("d/")}
    with mounted(mount), mount.watched(60):
        listed.write_text("".join(f"{digest}  ./{name}\n" for name, digest in lines.items()))
        assert "4 files" in mount.command.must("pin", str(mount.point / "d"), "--sha256", str(listed))
        lines["small"] = "0" * 64
        lines["gone"] = lines.pop("below/other")
        listed.write_text("".join(f"{digest} *{name}\n" for name, digest in lines.items()))
        done = mount.command.run("pin", str(mount.point / "d"), "--sha256", str(listed))
        assert done.returncode == ExitCode.NOT_WARM
        assert "3 files" in done.stderr
        for said in ("d/small: has the SHA-256", "d/below/other: is not in the list", "d/gone: is not in the store"):
            assert said in done.stderr
        listed.write_text("no digest\n")
        done = mount.command.run("pin", str(mount.point / "d"), "--sha256", str(listed))
        assert done.returncode == ExitCode.USAGE and "line 1" in done.stderr


def test_a_list_of_paths_is_warmed(mount: Mount, tmp_path: Path) -> None:
    with mounted(mount), mount.watched(60):
        listed = tmp_path / "paths"
        listed.write_text(f"{mount.point}/d/below\n{mount.point}/top\n")
        assert mount.command.must("warm", str(listed)).splitlines() == ["2 files (5 B) on the disk", "1 file (3 B) on the disk"]
        done = mount.command.run("warm", str(tmp_path / "none"))
        assert done.returncode == ExitCode.NOT_MOUNTED
        done = mount.command.run("warm", str(mount.point / "none"))
        assert done.returncode == ExitCode.NOT_WARM and "none" in done.stderr


def test_without_a_disk_cache_nothing_can_be_warmed(mount: Mount) -> None:
    bare = again(mount, "--disk-cache-size", "0")
    with mounted(bare), bare.watched(60):
        assert (bare.point / "top").read_bytes() == b"top"
        done = bare.command.run("warm", str(bare.point))
        assert done.returncode == ExitCode.NOT_WARM and "no disk cache" in done.stderr
    assert not blocks(bare)


def test_S15_two_mounts_share_one_cache_under_load(mount: Mount, bucket: BucketClient) -> None:
    """Both read the same files, more than the cache holds, while one of them pins and drops."""
    files = {f"load/{number}": os.urandom(256 << 10) for number in range(40)}
    for key, data in files.items():
        bucket.put(key, data)
    options = ("--disk-cache-size", "4M", "--cache-size", "16M", "--ttl", "10s")
    one, two = again(mount, *options), again(mount, *options)

    def read(point: Path, order: list[str]) -> None:
        for key in order * 3:
            assert (point / key).read_bytes() == files[key]

    with mounted(one), mounted(two), one.watched(120), two.watched(120), ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read, each.point, order) for each in (one, two) for order in (sorted(files), sorted(files)[::-1])]
        for _ in range(3):
            one.command.must("pin", str(one.point / "load/7"))
            two.command.must("drop", str(two.point / "load/7"))
        for reader in readers:
            reader.result()
        assert one.status()["disk_cache_bytes"] <= 8 << 20


def test_S15_a_cache_folder_that_cannot_be_used_costs_a_line(mount: Mount) -> None:
    folder = mount.command.home / "cache" / "storemount"
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_bytes(b"not a folder")
    with mounted(mount), mount.watched(60):
        mount.expect("disk cache")
        assert (mount.point / "top").read_bytes() == b"top"
        assert told("there is no disk cache in", mount.log.read_text())
    folder.unlink()
