"""Threads, forks, interruptions and the end of the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trio

from storemount.api.portal import Portal
from tests.fileio.conftest import Where, place
from tests.support.command import Storemount
from tests.support.servers import BucketClient


@pytest.mark.parametrize("kind", ["memory", "s3-native"])
def test_many_threads_share_a_store(kind: str, request: pytest.FixtureRequest) -> None:
    store = place(kind, request)

    def work(number: int) -> str:
        store.write(f"d{number % 4}/t{number}", str(number))
        return store.read(f"d{number % 4}/t{number}")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(16))) == [str(number) for number in range(16)]
    assert len(store.tree()) == 20


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in the child of a fork; how that ended."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            signal.alarm(30)
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_child_of_a_fork_has_the_same_store(s3: Where) -> None:
    """A file that the parent has open, too."""
    path = s3.write("t", "x" * 300_000)
    file, draft = s3.api.open(path), s3.api.open(s3.path("draft"), "w")
    assert file.read(1) == "x"

    def work() -> None:
        assert file.read() == "x" * 299_999
        s3.write("child", "1")
        draft.close()

    assert in_child(work) == 0
    assert s3.tree() == {"t": "x" * 300_000, "child": "1"}
    assert file.read() == "x" * 299_999
    file.close()
    draft.close()
    assert s3.read("draft") == ""


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_while_other_threads_are_at_work(request: pytest.FixtureRequest) -> None:
    s3 = place("s3-native", request)
    s3.write("t", "1")
    over = threading.Event()

    def busy() -> None:
        while not over.is_set():
            assert s3.read("t") == "1"

    with ThreadPoolExecutor(2) as pool:
        working = [pool.submit(busy) for _ in range(2)]
        try:
            assert [in_child(lambda: s3.read("t")) for _ in range(2)] == [0, 0]
        finally:
            over.set()
        for each in working:
            each.result()


def test_an_interrupted_call_has_let_go_when_it_ends() -> None:
    portal, told = Portal("test"), []

    async def slow() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await trio.sleep_forever()
        finally:
            told.append("ended")

    with pytest.raises(KeyboardInterrupt):
        portal.call(slow)
    assert told == ["ended"]
    portal.close()


def test_a_portal_can_be_closed_and_used_again() -> None:
    portal = Portal("test")

    async def generation() -> int:
        return portal.generation

    portal.close()
    assert portal.call(generation) == 1
    portal.close()
    assert portal.call(generation) == 2
    portal.close()
    portal.let_go(generation)
    assert "test" not in {thread.name for thread in threading.enumerate()}


def test_what_is_going_on_when_a_portal_is_closed_fails() -> None:
    portal, begun = Portal("test"), threading.Event()
    clears: list[str] = []

    async def clear() -> None:
        clears.append("cleared")

    async def slow() -> None:
        portal.at_end(clear)
        begun.set()
        await trio.sleep_forever()

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(portal.call, slow)
        assert begun.wait(10)
        portal.close()
        with pytest.raises(RuntimeError, match="was closed"):
            call.result(10)
    assert clears == ["cleared"]


def test_a_call_from_the_portals_own_thread_is_refused() -> None:
    portal = Portal("test")

    async def nested() -> None:
        portal.call(trio.lowlevel.checkpoint)

    with pytest.raises(RuntimeError, match="would wait for itself"):
        portal.call(nested)
    portal.close()


PROGRAM = """
import sys
from storemount import fileio, io_utils
uri = sys.argv[1]
fileio.makedirs(uri)
io_utils.write_file_contents_as_string(uri + "/done", "1")
unclosed = fileio.open(uri + "/half", "w")
unclosed.write("half")
pages = fileio.iglob(uri + "/*")
print(next(pages), flush=True)
if len(sys.argv) > 2:
    sys.stdin.read()
"""


def test_S6_a_process_ends_cleanly_and_publishes_only_what_it_closed(
    registered: object, storemount: Storemount, bucket: BucketClient
) -> None:
    command = [sys.executable, "-c", PROGRAM, f"{bucket.uri}/process"]
    done = subprocess.run(command, env=storemount.environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"{bucket.uri}/process/done\n")
    with subprocess.Popen(
        [*command, "wait"], env=storemount.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == done.stdout
        process.kill()
    assert set(bucket.list("process/")) == {"process/", "process/done"}


def test_the_registry_is_found_where_the_user_has_it(registered: object, storemount: Storemount, tmp_path: Path) -> None:
    program = "import storemount; s = storemount.open_store('part'); s.makedirs('p'); print(s.path, storemount.fileio.isdir(s.path + '/p'))"
    done = subprocess.run([sys.executable, "-c", program], env=storemount.environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "s3://file-api/a True\n")
