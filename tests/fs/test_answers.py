"""What a mount answers on its socket: what is left and whether it is whole (S8, S16), whoever asks and however little it has left."""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from prometheus_client import CollectorRegistry
from pyfuse3 import RequestContext
from trio.testing import MockClock, wait_all_tasks_blocked

from storemount.assembly import Mount
from storemount.control import requests
from storemount.control.answers import Answers, left
from storemount.errors import Denied, Unreachable
from storemount.insight.logs import log_from, log_level
from storemount.insight.metrics import Metrics
from storemount.names.nodes import ROOT
from storemount.names.xattrs import STATS
from tests.support.bare import BareMount, bare_mount, fails, put_object
from tests.support.faulty import FaultyStore
from tests.support.readme import told

FACTS = {"mountpoint": "/nowhere", "store": "s", "uri": "memory://", "engine": "memory", "started": 1.0}
README = Path(__file__).parents[2] / "README.md"
NOT_PERMITTED, NO_DATA = 1, 61
STATUS = b'{"do": "status"}\n'


@asynccontextmanager
async def answering(m: BareMount, path: Path) -> AsyncIterator[None]:
    """The mount's socket at `path`."""
    async with trio.open_nursery() as nursery:
        metrics = Metrics(m.mount.figures, FACTS, CollectorRegistry())
        await nursery.start(Answers(path, m.mount, metrics, {}, trio.Event()).serve)
        yield
        nursery.cancel_scope.cancel()


async def asked(stream: trio.SocketStream, question: bytes) -> bytes:
    """All that comes until the mount hangs up."""
    await stream.send_all(question)
    return b"".join([data async for data in stream])


async def answers(path: Path, question: bytes) -> list[dict[str, Any]]:
    async with await trio.open_unix_socket(path) as stream:
        return [json.loads(line) for line in (await asked(stream, question)).splitlines()]


async def status(path: Path) -> dict[str, Any]:
    (answer,) = await answers(path, STATUS)
    return answer


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Nothing can be opened or accepted; what is open stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_S8_what_is_left_says_whether_all_its_bytes_are_kept(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    """Copied over its object, a file that holds only what was edited would destroy it."""
    await put_object(store, "edited", b"A" * 100_000, staging)
    async with bare_mount(store, staging) as m:
        writer = await m.open("edited", os.O_RDWR)
        await m.write(writer, 50_000, b"XX")
        for verb in ("read", "write"):
            store.fail(verb, Unreachable("down"), times=1000)
        await m.close(writer)
        await m.put("new", b"new")
        await trio.sleep(5)
        rows = {row["path"]: row for row in left(m.mount)}
        assert {path: row["whole"] for path, row in rows.items()} == {"edited": False, "new": True}
        assert await trio.Path(rows["new"]["kept"]).read_bytes() == b"new"
        assert "down" in rows["edited"]["error"]


NO_QUESTION = "a question is "
NONSENSE = (b"[" * 4096, b"not json", b"\xff\xfe", b"[]", b"null", b"7", b"{}", b'{"do": []}', b'{"do": null}')


@pytest.mark.parametrize(
    ("nonsense", "says"),
    [
        *(
            (said, NO_QUESTION)
            for said in (b"[" * 4096, b"not json", b"\xff\xfe", b"[]", b"null", b"7", b"{}", b'{"do": []}', b'{"do": null}')
        ),
        (b'{"do": "dance"}', "'dance' is not known; this mount answers to status, "),
        (b'{"v": 2, "do": "status"}', "this mount speaks version 1, not 2"),
        (b'{"v": "1", "do": "status"}', "this mount speaks version 1, not '1'"),
        (b'{"do": "flush"}', "flush needs 'path', a string"),
        (b'{"do": "flush", "path": 7}', "flush needs 'path', a string"),
        (b'{"do": "flush", "path": "", "timeout": "1s"}', "flush takes 'timeout' in seconds, not '1s'"),
        (b'{"do": "flush", "path": "", "timeout": -1}', "flush takes 'timeout' in seconds, not -1"),
        (b'{"do": "flush", "path": "", "timeout": 1' + b"0" * 400 + b"}", "flush takes 'timeout' in seconds, not 1000000"),
        (b'{"do": "status", "most": "2"}', "status takes 'most', a number, not '2'"),
        (b'{"do": "export", "path": "f"}', "export needs 'dest', a string"),
        (b'{"do": "log-level", "level": "loud"}', "'loud' is not a level; write debug, info, warning, error"),
    ],
)
async def test_S16_nonsense_has_an_answer_and_disturbs_nobody(
    clock: MockClock, store: FaultyStore, staging: Path, tmp_path: Path, nonsense: bytes, says: str
) -> None:
    async with bare_mount(store, staging) as m, answering(m, tmp_path / "sock"):
        answer = (await answers(tmp_path / "sock", nonsense + b"\n"))[-1]
        assert (answer["v"], answer["done"]) == (1, True) and says in answer["error"]
        assert (await status(tmp_path / "sock"))["pending"] == 0


async def test_S16_the_socket_is_its_owners(clock: MockClock, store: FaultyStore, staging: Path, tmp_path: Path) -> None:
    async with bare_mount(store, staging) as m, answering(m, tmp_path / "sock"):
        assert stat.S_IMODE(os.stat(tmp_path / "sock").st_mode) == 0o600


async def test_S16_what_is_pending_is_named_the_oldest_first(
    clock: MockClock, store: FaultyStore, staging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "BATCH", 2)
    async with bare_mount(store, staging) as m, answering(m, tmp_path / "sock"):
        await m.mkdir("d")
        await m.settle()
        store.fail("write", Denied("not you"), times=1)
        await m.put("d/refused", b"123")
        await trio.sleep(5)
        store.hold("write", times=3)
        for number in range(3):
            await m.put(f"d/{number}", b"x" * number)
            await trio.sleep(1)
        *batches, last = await answers(tmp_path / "sock", b'{"do": "ls-pending", "path": "/d/"}\n')
        rows = [row for batch in batches for row in batch["rows"]]
        assert [len(batch["rows"]) for batch in batches] == [2, 2]
        assert (last["done"], last["count"]) == (True, 4)
        assert [(row["path"], row["kind"], row["bytes"], row["state"]) for row in rows] == [
            ("d/refused", "put", 3, "refused"),
            ("d/0", "put", 0, "running"),
            ("d/1", "put", 1, "running"),
            ("d/2", "put", 2, "running"),
        ]
        assert (rows[0]["tries"], rows[0]["refused"], rows[0]["error"]) == (1, True, "not you")
        assert [round(row["age_seconds"]) for row in rows] == [8, 3, 2, 1]
        assert (await answers(tmp_path / "sock", b'{"do": "ls-pending", "path": "elsewhere"}\n')) == [{"v": 1, "done": True, "count": 0}]


async def test_S16_status_names_as_many_failures_as_are_wanted(clock: MockClock, store: FaultyStore, staging: Path, tmp_path: Path) -> None:
    async with bare_mount(store, staging) as m, answering(m, tmp_path / "sock"):
        store.fail("write", Unreachable("down"), times=1000)
        for number in range(5):
            await m.put(str(number), b"x")
        await trio.sleep(2)
        (few,) = await answers(tmp_path / "sock", b'{"do": "status", "most": 2}\n')
        assert ([row["path"] for row in few["failed"]], few["failing"]) == (["0", "1"], 5)
        assert len((await status(tmp_path / "sock"))["failed"]) == 5


async def test_the_level_of_the_log_changes(clock: MockClock, store: FaultyStore, staging: Path, tmp_path: Path) -> None:
    before, chatty = log_level(), logging.getLogger("azure")
    try:
        async with bare_mount(store, staging) as m, answering(m, tmp_path / "sock"):
            (answer,) = await answers(tmp_path / "sock", b'{"do": "log-level", "level": "info"}\n')
            assert (answer["before"], answer["level"], log_level()) == (before, "info", "info")
            assert chatty.getEffectiveLevel() == logging.WARNING
            await answers(tmp_path / "sock", b'{"do": "log-level", "level": "debug"}\n')
            assert chatty.getEffectiveLevel() == logging.DEBUG
    finally:
        log_from(before)


async def test_S12_the_figures_are_an_attribute_of_the_root(clock: MockClock, store: FaultyStore, staging: Path) -> None:
    context = RequestContext()
    async with bare_mount(store, staging) as m:
        await m.put("f", b"123")
        figures = json.loads(await m.fs.getxattr(ROOT, STATS, context))
        assert (figures["pending"], figures["pending_bytes"]) == (1, 3)
        assert figures["operations"]["create"] == {"count": 1, "seconds": figures["operations"]["create"]["seconds"], "failed": {}}
        assert await m.fs.listxattr(ROOT, context) == []
        with fails(NO_DATA):
            await m.fs.getxattr(await m.ino("f"), STATS, context)
        with fails(NOT_PERMITTED):
            await m.fs.setxattr(ROOT, STATS, b"1", context)


async def test_S16_a_client_that_goes_away_disturbs_nobody(clock: MockClock, store: FaultyStore, staging: Path, tmp_path: Path) -> None:
    async with bare_mount(store, staging) as m, answering(m, tmp_path / "sock"):
        async with await trio.open_unix_socket(tmp_path / "sock") as stream:
            await stream.send_all(b'{"do": "drain"}')
        await trio.sleep(1)
        assert (await status(tmp_path / "sock"))["pending"] == 0


async def test_S8_a_mount_without_a_descriptor_left_goes_on_and_answers_later(
    clock: MockClock, store: FaultyStore, staging: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bare_mount(store, staging) as m, answering(m, tmp_path / "sock"):
        with trio.socket.socket(trio.socket.AF_UNIX) as late, trio.socket.socket(trio.socket.AF_UNIX) as early:
            await early.connect(str(tmp_path / "sock"))
            await wait_all_tasks_blocked()
            with no_descriptor_left():
                assert await asked(trio.SocketStream(early), STATUS) == b""
                await late.connect(str(tmp_path / "sock"))
                await wait_all_tasks_blocked()
                assert caplog.text
            assert told("a client could not be heard", caplog.text)
            assert json.loads(await asked(trio.SocketStream(late), STATUS))["pending"] == 0


def test_the_readme_names_every_word() -> None:
    section = README.read_text().split("\n### Control socket\n")[1].split("\n### ")[0]
    words = [word for cell in re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE) for word in re.findall(r"`([\w-]+)`", cell)]
    with pytest.raises(requests.Nonsense, match=r"answers to (.*)$") as caught:
        requests.Requests(cast(Mount, None), cast(Metrics, None), {}, trio.Event()).answer_to("dance")
    assert sorted(words) == sorted(str(caught.value).partition("answers to ")[2].split(", "))
