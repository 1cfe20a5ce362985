"""What a mount answers on its socket: what is left and whether it is whole (S8, S16), whoever asks and however little it has left."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from storemount.answers import Answers, left
from storemount.errors import Unreachable
from tests.support.bare import BareMount, bare_mount, put_object
from tests.support.faulty import FaultyStore

STATUS = b'{"do": "status"}\n'


@asynccontextmanager
async def answering(m: BareMount, path: Path) -> AsyncIterator[None]:
    """The mount's socket at `path`."""
    async with trio.open_nursery() as nursery:
        await nursery.start(Answers(path, m.mount, {}, trio.Event()).serve)
        yield
        nursery.cancel_scope.cancel()


async def asked(stream: trio.SocketStream, question: bytes) -> bytes:
    """All that comes until the mount hangs up."""
    await stream.send_all(question)
    return b"".join([data async for data in stream])


async def status(path: Path) -> dict[str, Any]:
    async with await trio.open_unix_socket(path) as stream:
        answer: dict[str, Any] = json.loads(await asked(stream, STATUS))
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


@pytest.mark.parametrize(
    "nonsense", [b"[" * 4096, b"not json", b"\xff\xfe", b"[]", b"null", b"7", b"{}", b'{"do": "dance"}', b'{"do": []}', b'{"do": null}']
)
async def test_S16_nonsense_disturbs_nobody(clock: MockClock, store: FaultyStore, staging: Path, tmp_path: Path, nonsense: bytes) -> None:
    async with bare_mount(store, staging) as m, answering(m, tmp_path / "sock"):
        async with await trio.open_unix_socket(tmp_path / "sock") as stream:
            assert await asked(stream, nonsense) == b""
        assert (await status(tmp_path / "sock"))["pending"] == 0


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
                assert "a client could not be heard" in caplog.text
            assert json.loads(await asked(trio.SocketStream(late), STATUS))["pending"] == 0
