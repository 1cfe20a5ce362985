"""The log of a running mount: what is slow, what hangs, what it does (SIGUSR1), and never a secret."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path

import pytest

from tests.support.command import Storemount
from tests.support.faults import silence
from tests.support.mounting import REMOTE, Mount, bucket_mount, mounted
from tests.support.proxy import Proxy
from tests.support.readme import told
from tests.support.servers import BucketClient
from tests.support.waiting import eventually


def fails_to_read(path: Path) -> None:
    with pytest.raises(OSError):
        path.read_bytes()


def test_S14_what_hangs_is_named_while_it_hangs(storemount: Storemount, bucket: BucketClient, proxy: Proxy) -> None:
    """A read of a server that went silent: the operation with its path, and the request with its key; then that they took long."""
    bucket.put("dir/slow", b"x" * 100)
    options = ("--slow", "300ms", "--deadline", "3s", "--ttl", "60s")
    mount = bucket_mount(storemount, REMOTE[0], bucket, options, {"endpoint": proxy.endpoint})
    mount.expect(r"WARNING storemount\.insight\.slow: (slow|operation|request)")
    with mounted(mount):
        assert os.listdir(mount.point / "dir") == ["slow"]
        proxy.become(silence)
        reader = threading.Thread(target=fails_to_read, args=(mount.point / "dir/slow",))
        reader.start()
        for hangs in (
            r"operation without an answer yet verb=\w+ about=dir/slow ",
            r"request without an answer yet verb=\w+ about=dir/slow ",
        ):
            assert eventually(lambda pattern=hangs: re.search(pattern, mount.log.read_text())), mount.tail()
        assert told("request without an answer yet", mount.log.read_text())
        reader.join()
        assert eventually(lambda: re.search(r"slow request verb=\w+ about=dir/slow seconds=[2-9]\.", mount.log.read_text())), mount.tail()
        assert eventually(lambda: told("slow operation", mount.log.read_text())), mount.tail()
        assert told("slow request", mount.log.read_text())
        proxy.become(proxy.forward)


def test_SIGUSR1_tells_what_it_does(storemount: Storemount) -> None:
    """Its tasks and its threads, also after the log was moved away; and it goes on."""
    with mounted(Mount(storemount, "default")) as mount:
        for _ in range(2):
            os.kill(mount.pid, signal.SIGUSR1)
            assert eventually(lambda: "task ..storemount.writeback.worker.Worker.run: worker.py:" in mount.log.read_text()), mount.tail()
            assert eventually(lambda: "(most recent call first):" in mount.log.read_text()), mount.tail()
            moved = mount.log.with_suffix(".old")
            mount.log.rename(moved)
            # What was moved away gets what was under way; the next line makes the file anew.
            (mount.point / "file").write_bytes(b"it goes on")
            os.kill(mount.pid, signal.SIGUSR1)
            assert eventually(lambda: mount.log.exists() and "as asked for by SIGUSR1" in mount.log.read_text())
            moved.unlink()
        assert (mount.point / "file").read_bytes() == b"it goes on"


def test_no_secret_is_in_the_log_of_a_store_that_says_it_back(storemount: Storemount, bucket: BucketClient) -> None:
    """A key with the secret in its name is as bad as a server that repeats it."""
    secret = "hush-hush-secret"
    store = storemount.register("talkative", "s3", bucket.uri, {**bucket.server.attributes(), "secret": secret})
    with mounted(Mount(storemount, store, ("--slow", "0s", "--log-level", "debug"))) as mount:
        mount.expect(r"WARNING storemount\.insight\.slow: ")
        (mount.point / secret).write_bytes(b"x")
        assert eventually(lambda: bucket.list())
        assert os.listdir(mount.point) == [secret]
    said = mount.log.read_text()
    assert secret not in said and "about=***" in said
