"""Lines of the README's troubleshooting table that no other test of the mount suite brings about: each from a real cause (S14, S16)."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storemount.cli import INTERRUPTED
from storemount.errors import ExitCode
from tests.support.command import Storemount
from tests.support.faults import refusal
from tests.support.mounting import bucket_mount, mounted
from tests.support.proxy import Proxy
from tests.support.readme import told
from tests.support.servers import BucketClient
from tests.support.waiting import eventually

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can have a machine that lacks something")
KIND = "s3-native"
OPTIONS = ("--deadline", "2s", "--ttl", "60s")

NO_DEVICE = """
mount -t tmpfs none /dev
mknod -m 666 /dev/null c 1 3
exec "$@"
"""
NO_TABLE = """
cp /etc/passwd /etc/group "$0"
mount --bind "$0" /etc
exec setpriv --reuid 65534 --regid 65534 --clear-groups -- fusermount3 -u /
"""


def on_a_machine(script: str, *words: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    """The script, in a mount namespace of its own."""
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, *words],
        env=Storemount(home).environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=30,
    )


@as_root
def test_a_machine_without_the_device(storemount: Storemount, tmp_path: Path) -> None:
    (storemount.home / "mnt").mkdir(exist_ok=True)
    words = (sys.executable, "-m", "storemount", "default", "mnt")
    done = on_a_machine(NO_DEVICE, "sh", *words, home=storemount.home)
    assert (done.returncode, done.stdout) == (ExitCode.NO_FUSE, "")
    assert told("there is no /dev/fuse", done.stderr) and done.stderr.count("\n") == 1


@as_root
def test_a_container_without_a_table_of_mounts(tmp_path: Path) -> None:
    done = on_a_machine(NO_TABLE, tmp_path, home=tmp_path)
    assert told("failed to open /etc/mtab", done.stderr)


def test_S4_an_object_that_was_replaced_under_an_open_file(storemount: Storemount, bucket: BucketClient) -> None:
    bucket.put("large", b"A" * (24 << 20))
    with mounted(bucket_mount(storemount, KIND, bucket, ("--cache-size", "16M"))) as mount, open(mount.point / "large", "rb", 0) as file:
        assert os.pread(file.fileno(), 10, 0) == b"A" * 10
        bucket.put("large", b"B" * (24 << 20))
        with pytest.raises(OSError) as caught:
            os.pread(file.fileno(), 10, 20 << 20)
    assert caught.value.errno == errno.ESTALE and told("Stale file handle", str(caught.value))


def test_S8_an_unmount_that_is_interrupted_says_so_and_the_daemon_goes_on(
    storemount: Storemount, bucket: BucketClient, proxy: Proxy
) -> None:
    mount = bucket_mount(storemount, KIND, bucket, OPTIONS, {"endpoint": proxy.endpoint})
    mount.expect(r"WARNING storemount\.writeback\.worker")
    with mounted(mount):
        assert os.listdir(mount.point) == []
        proxy.refuse()
        (mount.point / "file").write_bytes(b"waits")
        words = [sys.executable, "-m", "storemount", "unmount", str(mount.point)]
        with subprocess.Popen(words, env=storemount.environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as unmount:
            assert eventually(lambda: not mount.mounted)
            unmount.send_signal(signal.SIGINT)
            _, said = unmount.communicate(timeout=30)
        assert unmount.returncode == INTERRUPTED
        assert said.splitlines()[-1] == "storemount: interrupted"
        proxy.become(proxy.forward)
        mount.gone()
    assert bucket.get("file") == b"waits"


# a start without the store


def test_S14_a_store_that_comes_and_says_no(storemount: Storemount, bucket: BucketClient, proxy: Proxy) -> None:
    mount = bucket_mount(storemount, KIND, bucket, (*OPTIONS, "--offline-start"), {"endpoint": proxy.endpoint})
    mount.expect(r"storemount\.running\.arrival: ")
    proxy.refuse()
    with mounted(mount):
        assert told("mounting all the same, and waiting for it", mount.log.read_text())
        proxy.become(refusal("404 Not Found", "NoSuchBucket"))
        assert eventually(lambda: told("mend that, and mount it again", mount.log.read_text()), 20), mount.tail()
        proxy.become(proxy.forward)


# the cache on the disk


@pytest.fixture
def cache(storemount: Storemount) -> Iterator[Path]:
    """Its folder, which is made anew after the test."""
    folder = storemount.home / "cache/storemount"
    yield folder
    shutil.rmtree(folder)


def test_S15_a_cache_folder_that_turns_bad_costs_a_line(cache: Path, storemount: Storemount, bucket: BucketClient) -> None:
    bucket.put("file", b"content")
    mount = bucket_mount(storemount, KIND, bucket)
    mount.expect("the store is asked instead")
    with mounted(mount):
        assert eventually((cache / "blocks").exists)
        for number in range(256):
            part = cache / f"blocks/{number:02x}"
            shutil.rmtree(part, ignore_errors=True)
            part.write_bytes(b"no folder")
        assert (mount.point / "file").read_bytes() == b"content"
        assert eventually(lambda: told("the store is asked instead", mount.log.read_text())), mount.tail()


def test_S14_names_of_what_was_pinned_that_are_damaged(cache: Path, storemount: Storemount, bucket: BucketClient) -> None:
    bucket.put("d/file", b"content")
    mount = bucket_mount(storemount, KIND, bucket)
    mount.expect("warm and pin again")
    before = set(storemount.home.rglob("*.warm"))
    with mounted(mount):
        storemount.must("pin", str(mount.point / "d"))
        mount.stop()
        (names,) = set(storemount.home.rglob("*.warm")) - before
        names.write_bytes(b"this is no database" * 100)
        mount.start()
        assert told("they are moved aside, warm and pin again", mount.log.read_text())
        assert (mount.point / "d/file").read_bytes() == b"content"
        storemount.must("pin", str(mount.point / "d"))
