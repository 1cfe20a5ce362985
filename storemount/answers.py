"""The mount's side of its unix socket: what `control` asks for.

What it is: a listener that answers "status" once and "drain" until the queue is empty.
What it is not: a way to change the mount's settings.
Invariant: a client that says nonsense, or goes away, disturbs nobody.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import trio

from storemount.assembly import Mount
from storemount.control import VERSION, address
from storemount.writeback.change import Change, Kind, State

LINE = 4096
PULSE = 0.1
NOT_SENT = "not sent yet"

log = logging.getLogger(__name__)


def _pending_bytes(changes: list[Change]) -> int:
    return sum(change.staged.size for change in changes if change.staged is not None)


def _resident() -> int:
    """The daemon's memory, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def left(mount: Mount) -> list[dict[str, Any]]:
    """What the store does not have: path, kind, the last error, whether it was refused for good, where its bytes are kept, and whether all
    of them are there (`whole`); a file edited in place holds only what was written until it is sent."""
    rows = []
    for change in mount.journal:
        row = {"path": change.key, "kind": change.kind.value, "to": change.to, "refused": change.state is State.REFUSED}
        kept = change.staged
        place = {"kept": kept.path, "whole": kept.whole} if kept is not None else {"kept": None, "whole": False}
        rows.append({**row, "error": str(change.error or NOT_SENT), **place})
    return rows


class Answers:
    """Serves one socket.

    facts: those of the mount that do not change. drained: set when the mount has stopped and sent what it could.
    """

    def __init__(self, path: Path, mount: Mount, facts: dict[str, Any], drained: trio.Event) -> None:
        self._path = path
        self._mount = mount
        self._facts = facts
        self._drained = drained
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
            await trio.sleep(PULSE)
        else:
            nursery.start_soon(self._serve_one, trio.SocketStream(connection))

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        self._clients += 1
        try:
            async with stream:
                question = json.loads(await stream.receive_some(LINE) or b"null")
                await self._answer(stream, question)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("a client went away before its answer")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            log.info("a client asked what makes no sense: %s", error)
        except OSError as error:
            log.warning("a client got no answer: %s", error)
        finally:
            self._clients -= 1
            self._nobody.set()
            self._nobody = trio.Event()

    async def _answer(self, stream: trio.SocketStream, question: dict[str, Any]) -> None:
        answers: dict[str, Callable[[trio.SocketStream], Any]] = {"status": self._status, "drain": self._drain}
        await answers[question["do"]](stream)

    async def _say(self, stream: trio.SocketStream, answer: dict[str, Any]) -> None:
        await stream.send_all(json.dumps({"v": VERSION, **answer}).encode() + b"\n")

    def _progress(self) -> dict[str, Any]:
        changes = list(self._mount.journal)
        return {
            "pending": len(changes),
            "pending_bytes": _pending_bytes(changes),
            "uploading": sum(change.kind is Kind.PUT and change.state is State.RUNNING for change in changes),
        }

    async def _status(self, stream: trio.SocketStream) -> None:
        blocks = self._mount.blocks
        await self._say(
            stream,
            {
                **self._facts,
                **self._progress(),
                "conflicts": [asdict(conflict) for conflict in self._mount.conflicts.seen],
                "failed": [row for row in left(self._mount) if row["error"] != NOT_SENT],
                "cache_bytes": blocks.held,
                "cache_cap": blocks.capacity,
                "hits": blocks.hits,
                "misses": blocks.misses,
                "rss_bytes": _resident(),
                "now": time.time(),
            },
        )

    async def _drain(self, stream: trio.SocketStream) -> None:
        while not self._drained.is_set():
            await self._say(stream, self._progress())
            with trio.move_on_after(PULSE):
                await self._drained.wait()
        await self._say(stream, {**self._progress(), "done": True, "left": left(self._mount)})

    async def idle(self, patience: float) -> None:
        """Until every client has its answer, or `patience` seconds have passed."""
        with trio.move_on_after(patience):
            while self._clients:
                await self._nobody.wait()
