"""The daemon: one mount from start to drained.

What it is: the composition root. It opens the store, asks it once, mounts, proves that the mount answers, and stops in the reverse order.
What it is not: going to the background (`cli`), or the mount's parts (`assembly`).
Invariants:
- One nursery owns every task. Readiness means: the store answered, and so did a stat through the mount.
- Stopping drains (S8): the kernel's side goes first, so nothing new comes; then the queue; then the daemon. What is left is named,
  and kept.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyfuse3
import trio

from storemount.answers import Answers
from storemount.assembly import Mount, assemble
from storemount.config import KIB, MountSettings, Places, private_folder
from storemount.control import socket_path
from storemount.errors import Denied, ExitCode, Invalid, MissingStore, Refusal, StoreMountError
from storemount.handshake import Handshake
from storemount.leases import leased
from storemount.logs import start_log
from storemount.mountinfo import wait_until_gone
from storemount.stores.base import ArtifactStore
from storemount.stores.deadline import Deadlined
from storemount.stores.flavors import StoreSpec, open_store, place_of
from storemount.writeback.ledger import Unusable
from storemount.writeback.slot import Slot, take
from storemount.zenml.definition import Renewal

MAX_TASKS = 200
"""Requests in work at once. A store that hangs holds its requests until their deadline; the others must still find a task."""

READ_AHEAD_KIB = 1024
LAST_WORDS = 2.0
NAMED = 5
"""Changes that a log line names of those that are left."""

M_ARENA_MAX = -8
M_MMAP_THRESHOLD = -3

log = logging.getLogger(__name__)


def run(
    spec: StoreSpec,
    settings: MountSettings,
    *,
    engine: str,
    places: Places,
    ready: Callable[[], None],
    renewal: Renewal | None = None,
) -> ExitCode:
    """Mount and serve until unmounted and drained. Calls `ready` once the mount answers. Raises Refusal before that."""
    start_log(settings.log_level, settings.log_file)
    _keep_heap_small()
    _allow_many_files()
    daemon = Daemon(spec, settings, engine, places, ready, renewal)
    try:
        return trio.run(daemon.live)
    except ExceptionGroup as group:
        error: Exception = _first(group)
    except (Refusal, StoreMountError) as alone:
        error = alone
    if isinstance(error, StoreMountError):
        raise _refusal(error, spec) from error
    raise error


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """What went wrong first, out of the groups that nurseries make."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error


def _refusal(error: StoreMountError, spec: StoreSpec) -> Refusal:
    """The store's first answer was a failure: whose move is it?"""
    where = f"store {spec.name!r} ({spec.path})"
    if isinstance(error, MissingStore):
        return Refusal(ExitCode.STORE_MISSING, f"{where}: {error}; create it, or mend the store's path")
    if isinstance(error, Invalid):
        return Refusal(ExitCode.BAD_CONFIGURATION, f"{where}: {error}")
    if isinstance(error, Denied):
        return Refusal(ExitCode.STORE_REFUSED, f"{where}: refused ({error}); check the credentials and what they allow")
    return Refusal(ExitCode.STORE_UNREACHABLE, f"{where}: no answer ({error}); check the endpoint and the network")


class Daemon:
    def __init__(
        self,
        spec: StoreSpec,
        settings: MountSettings,
        engine: str,
        places: Places,
        ready: Callable[[], None],
        renewal: Renewal | None,
    ) -> None:
        self._spec = spec
        self._settings = settings
        self._engine = engine
        self._places = places
        self._ready = ready
        self._renewal = renewal

    async def live(self) -> ExitCode:
        async with trio.open_nursery() as nursery:
            store = Deadlined(self._open(nursery), self._settings.deadline)
            try:
                await store.check()
                for limit in store.traits.limits:
                    log.warning("%s: %s", self._spec.name, limit)
                code = await self._serve(store)
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(LAST_WORDS):
                    await store.aclose()
            nursery.cancel_scope.cancel()
        return code

    def _open(self, nursery: trio.Nursery) -> ArtifactStore:
        if self._renewal is None:
            return self._opened(self._spec)
        reopened = leased(self._spec, self._renewal, self._opened)
        nursery.start_soon(reopened.run)
        return reopened

    def _opened(self, spec: StoreSpec) -> ArtifactStore:
        return open_store(replace(spec, read_only=self._settings.read_only), engine=self._engine, deadline=self._settings.deadline)

    async def _serve(self, store: ArtifactStore) -> ExitCode:
        slot = self._slot(store)
        try:
            # Heard to the very end: a signal during the last drain must not end it.
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                return await self._serve_from(slot, store, signals)
        finally:
            slot.release()

    async def _serve_from(self, slot: Slot, store: ArtifactStore, signals: AsyncIterator[int]) -> ExitCode:
        async with trio.open_nursery() as nursery:
            mount = self._assembled(slot, store, nursery)
            await mount.recovery.confirm()
            drained = trio.Event()
            answers = Answers(socket_path(self._places, self._settings.mountpoint), mount, self._facts(store), drained)
            nursery.start_soon(mount.worker.run)
            nursery.start_soon(mount.durability.run)
            await nursery.start(answers.serve)
            try:
                await self._mounted(mount, signals)
                code = await self._drain(mount)
            finally:
                await self._close(mount)
            drained.set()
            await answers.idle(LAST_WORDS)
            nursery.cancel_scope.cancel()
        return code

    def _assembled(self, slot: Slot, store: ArtifactStore, nursery: trio.Nursery) -> Mount:
        try:
            mount = assemble(store, self._settings, slot.folder, self._identity(store), nursery)
        except (Unusable, ValueError) as error:
            raise Refusal(ExitCode.JOURNAL_UNUSABLE, f"{error}; move {slot.folder} away to go on without what it holds") from error
        if mount.taken_up:
            log.info("took up %d changes that an earlier mount of %s had left", mount.taken_up, self._spec.path)
        return mount

    async def _close(self, mount: Mount) -> None:
        """What is left stays in the journal, safe from a power cut too."""
        with trio.CancelScope(shield=True):
            try:
                await mount.durability.now()
            except (OSError, StoreMountError) as error:
                log.error("what is left may not survive a power cut: %s", error)
        if len(mount.journal):
            log.error("stopped with %d changes not in the store; the next mount of it takes them up: %s", len(mount.journal), _some(mount))
        mount.ledger.close()
        if mount.notes is not None:
            mount.notes.close()

    def _identity(self, store: ArtifactStore) -> str:
        """What tells this store from every other, in the journal: its URI, and the server where that says nothing of it."""
        uri = f"file://{quote(os.fsencode(os.path.realpath(self._spec.path)))}" if self._spec.flavor == "local" else store.uri
        attributes = self._spec.attributes
        return " ".join(filter(None, (uri, attributes.get("endpoint"), attributes.get("client_kwargs"), place_of(self._spec))))

    def _slot(self, store: ArtifactStore) -> Slot:
        private_folder(self._places.runtime)
        staging = private_folder(Path(self._settings.staging_dir) if self._settings.staging_dir else self._places.state / "staging")
        try:
            return take(staging, self._identity(store))
        except OSError as error:
            raise Refusal(ExitCode.JOURNAL_UNUSABLE, f"cannot use the staging folder {staging}: {error}") from error

    def _facts(self, store: ArtifactStore) -> dict[str, Any]:
        return {
            "mountpoint": self._settings.mountpoint,
            "store": self._spec.name,
            "uri": store.uri,
            "engine": store.traits.engine,
            "limits": store.traits.limits,
            "pid": os.getpid(),
            "started": time.time(),
        }

    # the kernel's side

    def _options(self) -> set[str]:
        options = set(pyfuse3.default_options) | {"subtype=storemount", "fsname=" + self._spec.name.replace(",", "_")}
        options |= {"allow_other"} if self._settings.allow_other else set()
        options |= {"ro"} if self._settings.read_only else set()
        return options | set(self._settings.fuse_options)

    async def _mounted(self, mount: Mount, signals: AsyncIterator[int]) -> None:
        """Serve the kernel until somebody unmounts, or a signal says stop."""
        options = self._options()
        try:
            handshake = Handshake(self._settings.mountpoint, options)
        except OSError as error:
            raise Refusal(ExitCode.NO_FUSE, f"cannot mount on {self._settings.mountpoint}: {error}") from error
        pyfuse3.init(mount.fs, f"/dev/fd/{handshake.near}", options)
        mounted = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_on_signal, mount, signals)
                nursery.start_soon(self._watch, mount, handshake)
                await pyfuse3.main(max_tasks=MAX_TASKS)
                mounted = False
                nursery.cancel_scope.cancel()
        finally:
            if mounted:
                _unmount(self._settings.mountpoint, True)
            pyfuse3.close(unmount=False)

    async def _watch(self, mount: Mount, handshake: Handshake) -> None:
        """From the first answer to an unmount that does not end the session, because another mount namespace was copied from ours
        meanwhile (a container, a service with PrivateMounts): nobody here can reach the mount any more, so it ends there, too."""
        device = await self._prove(handshake)
        await trio.to_thread.run_sync(wait_until_gone, device, abandon_on_cancel=True)
        await trio.sleep(LAST_WORDS)  # the kernel's time to end the session by itself
        log.info("%s is unmounted here, and another mount namespace still has it; leaving it all the same", self._settings.mountpoint)
        await self._drain(mount)
        pyfuse3.terminate()

    async def _prove(self, handshake: Handshake) -> int:
        """Readiness: the handshake and a stat through the kernel, then the tuning that needs the mount, then the word. The device."""
        await handshake.complete()
        with trio.fail_after(self._settings.deadline):
            status = await trio.to_thread.run_sync(os.stat, self._settings.mountpoint)
        _tune(os.minor(status.st_dev))
        self._ready()
        log.info("mounted %s on %s", self._spec.path, self._settings.mountpoint)
        return status.st_dev

    async def _stop_on_signal(self, mount: Mount, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            log.info("%s: unmounting", signal.Signals(number).name)
            if not await trio.to_thread.run_sync(_unmount, self._settings.mountpoint, False):
                log.info("programs still use %s; saving what they wrote, then leaving without them", self._settings.mountpoint)
                await self._drain(mount)
                await trio.to_thread.run_sync(_unmount, self._settings.mountpoint, True)
                pyfuse3.terminate()

    # the queue

    async def _drain(self, mount: Mount) -> ExitCode:
        """Wait until the store has everything, or nothing more can be done in time."""
        mount.publisher.seal_below("", all_closed=True)
        with trio.move_on_after(self._settings.drain_timeout):
            await mount.journal.drained()
        return ExitCode.NOT_DRAINED if len(mount.journal) else ExitCode.OK


def _some(mount: Mount) -> str:
    """The first of what is left, for one line of a log."""
    keys = [change.key for change in mount.journal]
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(repr(key) for key in keys[:NAMED]) + more


def _unmount(mountpoint: str, lazy: bool) -> bool:
    """Ask the kernel; whether it did."""
    tool = shutil.which("fusermount3")
    command = [tool, "-u", *(["-z"] if lazy else []), "--", mountpoint] if tool else ["umount", *(["-l"] if lazy else []), mountpoint]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        log.info("%s", done.stderr.strip())
    return not done.returncode


def _tune(minor: int) -> None:
    """Larger kernel read-ahead (128 KiB -> 1 MiB gave +45 %), where this user may set it."""
    try:
        Path(f"/sys/class/bdi/0:{minor}/read_ahead_kb").write_text(str(READ_AHEAD_KIB))
    except OSError as error:
        log.info("the kernel's read-ahead stays as it is (%s); sequential reads are faster when root mounts", error.strerror)


def _allow_many_files() -> None:
    """As many descriptors as this user may have: every pending file and every open local file holds one, and the usual limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _keep_heap_small() -> None:
    """Two malloc arenas instead of eight for each core, and large blocks from the system, not from a heap: blocks that one thread fetches
    are freed by another, and every arena keeps what it once had (S15; measured after 8 uploads: 80 MiB instead of 150). A C library
    without mallopt(3) has no arenas of this kind."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 2)
        mallopt(M_MMAP_THRESHOLD, 512 * KIB)
