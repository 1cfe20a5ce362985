"""The mount's side of its unix socket: the listener that `control` talks to.

What it is: connections, each with one question (a line of JSON) and its answers (JSON, one object a line).
What it is not: the answers themselves (`requests`), or a way to change the mount's settings.
Invariant: a client that says nonsense, or goes away, disturbs nobody.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio

from storemount.assembly import Mount
from storemount.control.client import VERSION, address
from storemount.control.report import rows
from storemount.control.requests import Nonsense, Requests
from storemount.insight.metrics import Metrics

LINE = 1 << 16
"""Bytes of the longest question: a path of PATH_MAX bytes, each of which JSON may write as six."""

PATIENCE = 5.0
"""Seconds that a client has for its question."""

BREATH = 0.1
"""Seconds until the listener tries again when it could not accept."""

log = logging.getLogger(__name__)


def left(mount: Mount) -> list[dict[str, Any]]:
    """What the store does not have."""
    return rows(mount.journal)


class Answers:
    """Serves one socket.

    facts: those of the mount that do not change. drained: set when the mount has stopped and sent what it could.
    """

    def __init__(self, path: Path, mount: Mount, metrics: Metrics, facts: Mapping[str, Any], drained: trio.Event) -> None:
        self._path = path
        self._requests = Requests(mount, metrics, facts, drained)
        self._clients = 0
        self._nobody = trio.Event()

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled."""
        self._path.unlink(missing_ok=True)
        with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as listener:
            with address(self._path) as short:
                await listener.bind(short)
            os.chmod(self._path, 0o600)
            listener.listen(16)
            task_status.started()
            try:
                async with trio.open_nursery() as nursery:
                    while True:
                        await self._welcome(listener, nursery)
            finally:
                self._path.unlink(missing_ok=True)

    async def _welcome(self, listener: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        try:
            connection, _ = await listener.accept()
        except OSError as error:
            # Out of descriptors, perhaps: the mount goes on, and the client may come again.
            log.warning("a client could not be heard: %s", error)
            await trio.sleep(BREATH)
        else:
            nursery.start_soon(self._serve_one, trio.SocketStream(connection))

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        self._clients += 1
        try:
            async with stream:
                await self._answer(stream, await _question(stream))
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("a client went away before its answer")
        except* OSError as group:
            log.warning("a client got no answer: %s", group.exceptions[0])
        except* Exception as group:
            log.error("the answer to a client failed in a way nobody named", exc_info=group)
        finally:
            self._clients -= 1
            self._nobody.set()
            self._nobody = trio.Event()

    async def _answer(self, stream: trio.SocketStream, line: bytes) -> None:
        async def say(answer: dict[str, Any]) -> None:
            await stream.send_all(json.dumps({"v": VERSION, **answer}).encode() + b"\n")

        try:
            question = _understood(line)
            await self._requests.answer_to(question["do"])(question, say)
        except* (Nonsense, ValueError, TypeError, KeyError) as group:
            error = _first(group)
            log.info("a client asked what makes no sense: %s", error)
            await say({"done": True, "error": str(error)})

    async def idle(self, patience: float) -> None:
        """Until every client has its answer, or `patience` seconds have passed."""
        with trio.move_on_after(patience):
            while self._clients:
                await self._nobody.wait()


def _first(group: BaseExceptionGroup[Exception]) -> BaseException:
    """One failure out of the groups that nurseries make."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _understood(line: bytes) -> dict[str, Any]:
    """The question in this line. Raises Nonsense: there is none, or it is of another version."""
    try:
        question = json.loads(line)
    except (ValueError, RecursionError):
        raise Nonsense("a question is one line: a JSON object in UTF-8") from None
    if not isinstance(question, dict) or not isinstance(question.get("do"), str):
        raise Nonsense('a question is an object such as {"v": 1, "do": "status"}')
    if question.get("v", VERSION) != VERSION:
        raise Nonsense(f"this mount speaks version {VERSION}, not {question['v']!r}")
    return question


async def _question(stream: trio.SocketStream) -> bytes:
    """One line, or what came of it in time."""
    said = b""
    with trio.move_on_after(PATIENCE):
        while not said.endswith(b"\n") and len(said) < LINE and (data := await stream.receive_some(LINE)):
            said += data
    return said
