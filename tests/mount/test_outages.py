"""The store goes away while it is mounted: what is here goes on, the rest fails within the deadline, and it heals (S14, S3, S7)."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from storemount.errors import ExitCode
from tests.support.clouds import refusals
from tests.support.command import Storemount
from tests.support.faults import Treatment, answer, garbage, reset, silence
from tests.support.mounting import AZURE, GCS, REMOTE, Mount, mount_of, mounted
from tests.support.outside import Outside, contents
from tests.support.proxy import Proxy
from tests.support.readme import told
from tests.support.waiting import eventually, synced

SUBJECTS = (REMOTE[0], AZURE[0], GCS[1])
"""Each cloud once, and each engine; with --every-store all pairs."""
DEADLINE = 2.0
SLACK = 3.0
OPTIONS = ("--deadline", f"{DEADLINE}s", "--ttl", "60s", "--drain-timeout", "30s")
GONE = {errno.EIO, errno.ETIMEDOUT, errno.EHOSTUNREACH}
FAULTS = ("refused", "silent", "reset", "busy", "broken", "garbage")
RANGED = os.urandom(2 << 20)
ANY = r"WARNING storemount\."
"""During an outage the log warns; it has no traceback."""


def strike(relay: Proxy, fault: str, kind: str) -> None:
    if fault == "refused":
        relay.refuse()
        return
    told = refusals(kind)
    ways: dict[str, Treatment] = {"silent": silence, "reset": reset, "garbage": garbage, "busy": told.busy, "broken": told.broken}
    relay.become(ways[fault])


@pytest.fixture
def mount(kind: str, outside: Outside, relay: Proxy, storemount: Storemount) -> Iterator[Mount]:
    """A mounted bucket behind the proxy: `known` has been read, what is in `d` has not, `unlisted/` has not been looked into."""
    outside.put("known", b"was read before")
    outside.put("d/unread", b"was not")
    outside.put("d/ranged", RANGED)
    outside.put("unlisted/file", b"x")
    with mounted(mount_of(storemount, kind, outside, OPTIONS, {"endpoint": relay.endpoint})) as running, running.watched(90):
        running.expect(ANY)
        assert sorted(os.listdir(running.point)) == ["d", "known", "unlisted"]
        assert sorted(os.listdir(running.point / "d")) == ["ranged", "unread"]
        assert (running.point / "known").read_bytes() == b"was read before"
        yield running


def failure(act: Callable[[], object]) -> tuple[int | None, float]:
    """The errno that `act` ends with, and after how many seconds."""
    start = time.monotonic()
    try:
        act()
    except OSError as error:
        return error.errno, time.monotonic() - start
    return None, time.monotonic() - start


def complaint(act: Callable[[], object]) -> str:
    """What a program is told when `act` fails."""
    with pytest.raises(OSError) as caught:
        act()
    return str(caught.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_S14_an_outage(mount: Mount, kind: str, outside: Outside, relay: Proxy, fault: str) -> None:
    point = mount.point
    strike(relay, fault, kind)
    assert (point / "known").read_bytes() == b"was read before"
    (point / "new").write_bytes(b"written meanwhile")
    assert (point / "new").read_bytes() == b"written meanwhile"
    with open(point / "known", "ab") as file:
        file.write(b", and added to")
    questions = (
        (point / "d/unread").read_bytes,
        lambda: os.listdir(point / "unlisted"),
        lambda: (point / "unlisted/file").stat(),
        lambda: synced(point / "new"),
    )
    with ThreadPoolExecutor(len(questions)) as pool:
        for number, seconds in pool.map(failure, questions):
            assert number in GONE, number
            assert seconds < DEADLINE + SLACK
    if fault == "refused":  # A client that tries again by itself may come to its deadline first.
        assert eventually(lambda: told("No route to host", complaint((point / "d/unread").read_bytes)), 30)
        assert told("it is kept, next try in", mount.log.read_text())
    if fault == "silent":
        assert told("Connection timed out", complaint((point / "d/unread").read_bytes))
    if fault == "broken":
        assert told("failed: Unavailable", mount.log.read_text())
    assert not outside.keys("new")
    relay.become(relay.forward)
    assert eventually(lambda: failure((point / "d/unread").read_bytes)[0] is None, 10)
    assert (point / "d/unread").read_bytes() == b"was not"
    assert eventually(lambda: os.listdir(point / "unlisted") == ["file"], 10)
    assert eventually(lambda: outside.keys("new"), 10)
    assert eventually(lambda: failure(lambda: synced(point))[0] is None, 20)
    assert outside.get("new") == b"written meanwhile"
    assert outside.get("known") == b"was read before, and added to"


def test_S14_expired_credentials_that_become_good_again(
    mount: Mount, kind: str, outside: Outside, relay: Proxy, storemount: Storemount
) -> None:
    """An expired token is not a no: what is here goes on, the rest says EACCES within the deadline, and all arrives without a `retry`."""
    point = mount.point
    relay.become(refusals(kind).expired)
    assert (point / "known").read_bytes() == b"was read before"
    (point / "new").write_bytes(b"written meanwhile")
    assert (point / "new").read_bytes() == b"written meanwhile"
    questions = (
        (point / "d/unread").read_bytes,
        lambda: os.listdir(point / "unlisted"),
        lambda: (point / "unlisted/file").stat(),
        lambda: synced(point / "new"),
    )
    with ThreadPoolExecutor(len(questions)) as pool:
        for number, seconds in pool.map(failure, questions):
            assert number == errno.EACCES
            assert seconds < DEADLINE + SLACK
    (point / "known").unlink()
    status = mount.status()
    assert status["refused"] == 0 and status["pending"] == 2
    said = storemount.must("status", str(point))
    assert "new: the credentials have expired" in said and told("the credentials have expired; renew them", said)
    relay.become(relay.forward)
    assert eventually(lambda: mount.status()["pending"] == 0, 20)
    assert outside.get("new") == b"written meanwhile"
    assert outside.keys() == {"new", "d/ranged", "d/unread", "unlisted/file"}
    assert (point / "d/unread").read_bytes() == b"was not"


def test_S3_refused_credentials_are_no_empty_directory(mount: Mount, kind: str, relay: Proxy) -> None:
    relay.become(refusals(kind).denied)
    assert failure(lambda: os.listdir(mount.point / "unlisted"))[0] == errno.EACCES
    assert failure((mount.point / "d/unread").read_bytes)[0] == errno.EACCES
    assert failure((mount.point / "unlisted/file").stat)[0] == errno.EACCES


def test_S3_a_missing_bucket_is_no_empty_directory(mount: Mount, kind: str, relay: Proxy) -> None:
    relay.become(refusals(kind).missing)
    assert failure(lambda: os.listdir(mount.point / "unlisted"))[0] == errno.EIO
    assert failure((mount.point / "unlisted/file").stat)[0] == errno.EIO


def test_S3_a_plain_404_is_no_empty_directory(mount: Mount, relay: Proxy) -> None:
    """What stands in front of the store answers instead of it: that is no "not found" of an object."""
    relay.become(answer("404 Not Found", b"default backend - 404"))
    assert failure(lambda: os.listdir(mount.point / "unlisted"))[0] in GONE
    assert failure((mount.point / "unlisted/file").stat)[0] in GONE


def test_S6_an_upload_that_is_cut_is_done_again(mount: Mount, outside: Outside, relay: Proxy) -> None:
    """The connection breaks in the middle of a large upload; in the end the object is whole and no upload is left open."""
    data = os.urandom(1 << 20) * 40
    cut = threading.Event()

    def cut_off(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        cut.set()

    relay.become(cut_off)
    with open(mount.point / "large", "wb") as file:
        file.write(data)
    assert cut.wait(10)
    assert not outside.keys("large")
    relay.become(relay.forward)
    assert eventually(lambda: failure(lambda: synced(mount.point / "large"))[0] is None, 30)
    assert outside.get("large") == data
    assert eventually(lambda: outside.uploads() == [], 10)


def test_S8_unmount_during_an_outage_names_what_is_left(kind: str, outside: Outside, relay: Proxy, storemount: Storemount) -> None:
    """Past the drain time-out the command fails, names the file, and its bytes are kept on disk."""
    options = ("--deadline", "4s", "--drain-timeout", "2s")
    mount = mount_of(storemount, kind, outside, options, {"endpoint": relay.endpoint})
    with mounted(mount):
        (mount.point / "first").write_bytes(b"got through")
        synced(mount.point)
        assert os.listdir(mount.point) == ["first"]
        relay.refuse()
        (mount.point / "precious").write_bytes(b"must not be lost")
        done = storemount.run("unmount", str(mount.point), within=60)
        assert done.returncode == ExitCode.NOT_DRAINED
        assert "precious" in done.stderr + done.stdout
        mount.gone()
    kept = [path for path in (storemount.home / "state").rglob("*") if path.is_file() and b"must not be lost" in path.read_bytes()]
    assert kept
    assert outside.keys() == {"first"}


def test_S7_a_server_that_slows_down_takes_everything_in_the_end(mount: Mount, kind: str, outside: Outside, relay: Proxy) -> None:
    """Throttling is no error of the program that writes: its close says nothing, and its fsync waits when the server has had enough."""
    slow = refusals(kind).busy
    asked = threading.Event()

    def throttle(connection: socket.socket) -> None:
        asked.set()
        slow(connection)

    relay.become(throttle)
    for number in range(20):
        (mount.point / f"file-{number}").write_bytes(b"data %d" % number)
    assert asked.wait(10)
    relay.become(relay.forward)
    assert eventually(lambda: failure(lambda: synced(mount.point))[0] is None, 20)
    assert contents(outside, "file-") == {f"file-{n}": b"data %d" % n for n in range(20)}


def test_S14_a_server_that_is_started_again_under_traffic(mount: Mount, outside: Outside, relay: Proxy) -> None:
    """What its clients see of it: a listing, a ranged read and a large upload are cut, connections are refused for a while, and the
    server that comes back knows nothing of the upload that was begun."""
    data = os.urandom(1 << 20) * 60
    (mount.point / "large").write_bytes(data)
    assert eventually(lambda: outside.uploads() == ["large"], 10)
    relay.become(silence)
    before = relay.connections
    with open(mount.point / "d/ranged", "rb", buffering=0) as ranged, ThreadPoolExecutor(2) as pool:
        questions = (lambda: os.pread(ranged.fileno(), 4096, 1 << 20), lambda: os.listdir(mount.point / "unlisted"))
        answers = pool.map(failure, questions)
        assert eventually(lambda: relay.connections >= before + 3, DEADLINE)
        relay.refuse()
        outside.forget_uploads()
        for number, seconds in [*answers, failure(lambda: synced(mount.point / "large"))]:
            assert number in GONE
            assert seconds < DEADLINE + SLACK
        assert not outside.keys("large")
        relay.become(relay.forward)
        assert eventually(lambda: failure(lambda: synced(mount.point / "large"))[0] is None, 30)
        assert os.pread(ranged.fileno(), 4096, 1 << 20) == RANGED[1 << 20 :][:4096]
    assert outside.get("large") == data
    assert eventually(lambda: outside.uploads() == [], 10)
    assert os.listdir(mount.point / "unlisted") == ["file"]
