"""What a client can ask of a mount, word by word (S7, S8, S14, S16).

What it is: one function for each word, which says its answers as they come; the last one has `done`.
What it is not: the socket (`answers`), or the form of questions and answers (`control`).
Invariants: a path is relative to the mount, without a slash at either end; "" is all of it. While something is waited for, the client
hears of it every `PULSE` seconds.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from storemount.assembly import Mount
from storemount.config import MIB
from storemount.content.warming import Progress
from storemount.control.report import row, rows, state
from storemount.errors import StoreMountError
from storemount.insight.figures import progress
from storemount.insight.logs import log_from, log_level
from storemount.insight.metrics import Metrics
from storemount.names.nodes import Node
from storemount.writeback.change import Change, Kind, State

PULSE = 0.1
BATCH = 500
"""Changes in one answer."""

STEP = 8 * MIB
"""Bytes that an export reads and writes at once."""

NO_DISK_CACHE = "this mount has no disk cache: its store is on this disk, or --disk-cache-size is 0"

Question = Mapping[str, Any]
Say = Callable[[dict[str, Any]], Awaitable[None]]
Answer = Callable[[Question, Say], Awaitable[None]]


log = logging.getLogger(__name__)


class Nonsense(Exception):
    """What a client asked cannot be answered; the message says why."""


class Requests:
    """Of one mount. `facts` do not change; `drained` is set when the mount has stopped and sent what it could."""

    def __init__(self, mount: Mount, metrics: Metrics, facts: Mapping[str, Any], drained: trio.Event) -> None:
        self._mount = mount
        self._metrics = metrics
        self._facts = facts
        self._drained = drained

    def answer_to(self, what: str) -> Answer:
        """Raises Nonsense: nobody knows this word. So do the answers, when what it is about is missing or makes no sense."""
        answers: dict[str, Answer] = {
            "status": self._status,
            "metrics": self._exposition,
            "ls-pending": self._pending,
            "log-level": self._log_from,
            "drain": self._drain,
            "flush": self._flush,
            "retry": self._retry,
            "export": self._export,
            "warm": self._warm,
            "pin": self._warm,
            "unpin": self._let_go,
            "drop": self._let_go,
        }
        if what not in answers:
            raise Nonsense(f"{what!r} is not known; this mount answers to {', '.join(answers)}")
        return answers[what]

    async def _status(self, question: Question, say: Say) -> None:
        await say({**self._facts, **state(self._mount, _most(question)), "done": True})

    async def _exposition(self, question: Question, say: Say) -> None:
        await say({"done": True, "text": self._metrics.text()[0].decode()})

    async def _pending(self, question: Question, say: Say) -> None:
        """The changes at and below `path` that the store does not have, the oldest first, so many to an answer."""
        changes = self._unfinished(_path(question))
        for batch in range(0, len(changes), BATCH):
            await say({"rows": [row(change, change.why_stuck) for change in changes[batch : batch + BATCH]]})
        await say({"done": True, "count": len(changes)})

    async def _log_from(self, question: Question, say: Say) -> None:
        """Log events from `level` on."""
        before = log_level()
        level = _text(question, "level")
        try:
            log_from(level)
        except ValueError as error:
            raise Nonsense(str(error)) from None
        log.info("the log's level is %s now; it was %s", level, before)
        await say({"done": True, "level": level, "before": before})

    async def _drain(self, question: Question, say: Say) -> None:
        """Follow the end of the mount, which somebody else brings about."""
        async with _telling(say, lambda: progress(self._mount.journal)):
            await self._drained.wait()
        await say({**progress(self._mount.journal), "done": True, "left": rows(self._mount.journal)})

    # flush

    async def _flush(self, question: Question, say: Say) -> None:
        """Wait until the store has what is at and below `path`, for at most `timeout` seconds."""
        path, timeout = _path(question), _seconds(question)
        changes: list[Change] = []
        trouble: Exception | None = None
        async with _telling(say, lambda: progress(changes)):
            with trio.move_on_after(timeout) as limit:
                try:
                    changes += self._seal(path)
                    await self._over(changes)
                    await self._saved(path, changes)
                except (StoreMountError, OSError) as error:
                    trouble = error
        left = self._left(path, changes)
        answer = {**progress(changes), "done": True, "left": left, "timed_out": limit.cancelled_caught}
        await say(answer if trouble is None or left else {**answer, "error": str(trouble)})

    def _left(self, path: str, changes: Iterable[Change]) -> list[dict[str, Any]]:
        """What of these has not arrived, and what was refused there."""
        refused = {change for change in self._mount.journal.under(path) if change.state is State.REFUSED}
        left = refused | {change for change in changes if not change.finished}
        return [row(change, change.why_stuck) for change in sorted(left, key=lambda change: change.id)]

    def _seal(self, path: str) -> list[Change]:
        """Have all that is closed there go up now; what is unfinished at and below it, oldest first. Raises OSError."""
        self._mount.publisher.seal_below(path)
        self._mount.journal.commit()
        changes = self._unfinished(path)
        for change in changes:
            self._mount.journal.hurry(change)
        return changes

    def _unfinished(self, path: str) -> list[Change]:
        """The rows at and below `path`, and the moves that bring it there with a directory above."""
        journal, node = self._mount.journal, self._mount.tree.find(path)
        # A link's key is not its path.
        own = journal.of(node) if node is not None else ()
        return sorted({*journal.under(path), *journal.moves_above(path), *own}, key=lambda row: row.id)

    async def _over(self, changes: list[Change]) -> None:
        """Until each of them has ended or cannot go on; a file whose put was taken back is followed to its new one."""
        known = set(changes)
        for change in changes:
            while not change.finished and change.first.state is not State.REFUSED:
                await change.first.turn.wait()
            if change.state is State.CANCELLED and change.kind is Kind.PUT and change.node.attached:
                self._mount.publisher.seal_below(change.node.path)
                newer = [put for put in self._mount.journal.puts_of(change.node) if put not in known]
                for put in newer:
                    self._mount.journal.hurry(put)
                changes += newer  # Which this very loop comes to.
                known.update(newer)

    async def _saved(self, path: str, changes: list[Change]) -> None:
        """What has arrived survives a power cut of the store, too. Raises what the store raises."""
        node = self._mount.tree.find(path)
        if node is not None and _closed(node) and all(change.finished for change in changes):
            await self._mount.publisher.saved(node)

    # retry

    async def _retry(self, question: Question, say: Say) -> None:
        """Try again now what was refused, or waits for its next try, at and below `path`, or everywhere (`all`)."""
        journal = self._mount.journal
        changes = self._unfinished("" if question.get("all") else _path(question))
        failed = [change for change in changes if change.state is State.REFUSED or (change.state is State.WAITING and change.tries)]
        for change in failed:
            journal.again(change)
        try:
            journal.commit()
        except OSError as error:
            await say({"done": True, "error": str(error)})
        else:
            await say({"done": True, "retried": len(failed)})

    # export

    async def _export(self, question: Question, say: Say) -> None:
        """Copy what was closed last at `path`, and has not gone up, to the new file `dest`."""
        path, dest = _path(question), _text(question, "dest")
        change = self._unsent(path)
        if change is None:
            error = f"no upload of {path!r} is pending: the store has what there is of it"
            await say({"done": True, "pending": 0, "pending_bytes": 0, "error": error})
            return
        size = change.layers[0].size
        copied = [0]
        trouble = None
        async with _telling(say, lambda: {"pending": 1, "pending_bytes": size - copied[0]}):
            try:
                await self._copy(change, size, dest, copied)
            except (StoreMountError, OSError) as error:
                trouble = error
        told = {"done": True, "pending": 1, "pending_bytes": size - copied[0]}
        await say({**told, **({"bytes": size} if trouble is None else {"error": str(trouble)})})

    def _unsent(self, path: str) -> Change | None:
        """The newest put of the file that the mount shows at `path`, or of one that had this name."""
        node, journal = self._mount.tree.find(path), self._mount.journal
        puts = journal.puts_of(node) if node is not None else [row for row in journal.at(path) if row.kind is Kind.PUT]
        return next((change for change in reversed(puts) if change.staged is not None and change.layers), None)

    async def _copy(self, change: Change, size: int, dest: str, copied: list[int]) -> None:
        """`copied` tells how far it is. A copy that fails leaves nothing. Raises what the store raises, and OSError."""
        assert change.staged is not None
        staged = change.staged.hold()
        try:
            fd = await trio.to_thread.run_sync(os.open, dest, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                while copied[0] < size:
                    data = await staged.read(copied[0], min(STEP, size - copied[0]))
                    copied[0] += await trio.to_thread.run_sync(os.pwrite, fd, data, copied[0])
                await trio.to_thread.run_sync(os.fsync, fd)
            except BaseException:
                await _in_thread(os.unlink, dest)
                raise
            finally:
                await _in_thread(os.close, fd)
        finally:
            staged.drop()

    # the disk cache

    async def _warm(self, question: Question, say: Say) -> None:
        """Have what is at and below `path` on the disk ("pin": for good), with these `digests`."""
        tier, progress, trouble = self._mount.tier, Progress(), NO_DISK_CACHE
        if tier is not None:
            async with _telling(say, progress.told):
                try:
                    await tier.warming.bring(_path(question), progress, pinned=question["do"] == "pin", digests=question.get("digests"))
                    trouble = ""
                except (StoreMountError, OSError) as error:
                    trouble = str(error)
        answer = {**progress.told(), "done": True, "bytes": progress.done_bytes, "failed": progress.errors}
        await say({**answer, "error": trouble} if trouble else answer)

    async def _let_go(self, question: Question, say: Say) -> None:
        """Unpin what is at and below `path`, or take it off the disk ("drop")."""
        tier = self._mount.tier
        try:
            if tier is None:
                await say({"done": True, "error": NO_DISK_CACHE})
                return
            work = tier.warming.drop if question["do"] == "drop" else tier.warming.unpin
            await say({"done": True, "files": await work(_path(question))})
        except (StoreMountError, OSError) as error:
            await say({"done": True, "error": str(error)})


async def _in_thread(clear: Callable[..., None], what: int | str) -> None:
    """Also when cancelled. In a thread, as the file may lie in this very mount, which must be able to answer meanwhile."""
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(clear, what)


def _text(question: Question, name: str) -> str:
    """Raises Nonsense: there is none."""
    text = question.get(name)
    if not isinstance(text, str):
        raise Nonsense(f"{question['do']} needs {name!r}, a string")
    return text


def _path(question: Question) -> str:
    return _text(question, "path").strip("/")


def _most(question: Question) -> int | None:
    """How many of a list the client wants; all, where it does not say."""
    most = question.get("most")
    if most is not None and (not isinstance(most, int) or most < 0):
        raise Nonsense(f"{question['do']} takes 'most', a number, not {most!r}")
    return most


def _seconds(question: Question) -> float:
    """How long the client waits; for ever, where it does not say."""
    timeout = question.get("timeout")
    try:
        if timeout is None or timeout >= 0:
            return float("inf") if timeout is None else float(timeout)
    except (TypeError, OverflowError, ValueError):
        pass
    raise Nonsense(f"{question['do']} takes 'timeout' in seconds, not {timeout!r:.20}")


def _closed(node: Node) -> bool:
    """Whether no program is in the middle of writing this file; always so for a directory."""
    return node.folder is not None or node.staged is None or node.staged.flushed or not node.writers


@asynccontextmanager
async def _telling(say: Say, how_far: Callable[[], dict[str, Any]]) -> AsyncIterator[None]:
    """Say `how_far` it is again and again, while the block waits. What is being said is said to its end."""
    over = trio.Event()

    async def tell() -> None:
        while not over.is_set():
            await say(how_far())
            with trio.move_on_after(PULSE):
                await over.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        yield
        over.set()
