"""The daemon: one mount from start to drained.

What it is: the composition root. It opens the store, asks it once, mounts, proves that the mount answers, and stops in the reverse order.
What it is not: going to the background (`cli`), or the mount's parts (`assembly`).
Invariants:
- One nursery owns every task. Readiness means: the store answered, and so did a stat through the mount.
- Stopping drains (S8): the kernel's side goes first, so nothing new comes; then the queue; then the daemon. What is left is named,
  and kept.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

import pyfuse3
import trio
from prometheus_client import CollectorRegistry

from storemount.assembly import Mount, assemble
from storemount.config import MountSettings, Places, Reread, environment, private_folder
from storemount.control.answers import Answers
from storemount.control.client import socket_path
from storemount.control.reload import renewed
from storemount.errors import Denied, ExitCode, Invalid, MissingStore, Refusal, StoreMountError
from storemount.insight.dumps import dump_on_request
from storemount.insight.floods import Floods, by_timer
from storemount.insight.logs import goes_to_journal, start_log
from storemount.insight.metrics import Metrics
from storemount.insight.redaction import Redaction
from storemount.insight.scrapes import Scrapes, listening, page_at
from storemount.insight.slow import SlowLog
from storemount.kernel.handshake import Handshake
from storemount.kernel.mountinfo import wait_until_gone
from storemount.kernel.mountpoint import clear
from storemount.kernel.tuning import tune, unmount
from storemount.kernel.verbs import Unasked
from storemount.names.forgetting import Forgetting
from storemount.registry.leases import leased
from storemount.running.arrival import Arrival
from storemount.running.notify import Notifier
from storemount.running.process import allow_many_files, heard, keep_heap_small, say_where_it_dies
from storemount.running.service import Service
from storemount.stores.base import ArtifactStore
from storemount.stores.deadline import Deadlined
from storemount.stores.flavors import StoreSpec, open_store, place_of
from storemount.stores.uri import without_password
from storemount.writeback.ledger import Unusable
from storemount.writeback.slot import Slot, take
from storemount.zenml.definition import Renewal

MAX_TASKS = 200
"""Requests in work at once. A store that hangs holds its requests until their deadline; the others must still find a task."""

LAST_WORDS = 2.0
NAMED = 5
"""Changes that a log line names of those that are left."""

log = logging.getLogger(__name__)


def run(
    spec: StoreSpec,
    settings: MountSettings,
    *,
    engine: str,
    places: Places,
    ready: Callable[[], None],
    renewal: Renewal | None = None,
    notifier: Notifier,
    reread: Reread | None = None,
) -> ExitCode:
    """Mount and serve until unmounted and drained. Calls `ready` once the mount answers. Raises Refusal before that.

    notifier: who else is told. reread: what SIGHUP reads the settings with; without it SIGHUP is one more way to stop.
    """
    redaction = Redaction()
    redaction.learn(spec)
    error: BaseException
    target = start_log(
        settings.log_level,
        settings.log_file,
        redaction.fit,
        lambda target: Floods(target, time.monotonic, by_timer),
        journal=goes_to_journal(environment()),
    )
    logging.getLogger("pyfuse3").addFilter(Unasked())
    say_where_it_dies()
    keep_heap_small()
    allow_many_files()
    daemon = Daemon(spec, settings, engine, places, ready, renewal, notifier, reread, redaction, lambda: target.stream or sys.stderr)
    try:
        return trio.run(daemon.live)
    except BaseExceptionGroup as group:
        error = _first(group)
    except (Refusal, StoreMountError) as alone:
        error = alone
    finally:
        logging.shutdown()
    if isinstance(error, StoreMountError):
        refusal = _refusal(error, spec)
        raise Refusal(refusal.code, redaction.fit(refusal.message)) from error
    raise error


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first, out of the groups that nurseries make; an interrupt, where there is one."""
    interrupt = group.subgroup(KeyboardInterrupt)
    error = (interrupt or group).exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _refusal(error: StoreMountError, spec: StoreSpec) -> Refusal:
    """The store's first answer was a failure: whose move is it?"""
    where = f"store {spec.name!r} ({without_password(spec.path)})"
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
        notifier: Notifier,
        reread: Reread | None,
        redaction: Redaction,
        log_stream: Callable[[], TextIO],
    ) -> None:
        self._spec = spec
        self._settings = settings
        self._engine = engine
        self._places = places
        self._ready = ready
        self._renewal = renewal
        self._notifier = notifier
        self._reread = reread
        self._redaction = redaction
        self._log_stream = log_stream
        self._requests = SlowLog("request", settings.slow)

    async def live(self) -> ExitCode:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dump_on_request, self._log_stream)
            nursery.start_soon(self._requests.run)
            store = Deadlined(self._open(nursery), self._settings.deadline, self._requests.watch)
            try:
                arrival = Arrival(store, self._spec, self._notifier, may_wait=self._settings.offline_start)
                await arrival.first()
                code = await self._serve(store, arrival)
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
        self._redaction.learn(spec)
        return open_store(replace(spec, read_only=self._settings.read_only), engine=self._engine, deadline=self._settings.deadline)

    async def _serve(self, store: ArtifactStore, arrival: Arrival) -> ExitCode:
        slot = self._slot(store)
        try:
            # Heard to the very end: a signal during the last drain must not end it.
            with heard(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
                return await self._serve_from(slot, store, arrival, signals)
        finally:
            slot.release()

    async def _serve_from(self, slot: Slot, store: ArtifactStore, arrival: Arrival, signals: AsyncIterator[int]) -> ExitCode:
        listeners = await self._listeners()
        async with trio.open_nursery() as nursery:
            mount = self._assembled(slot, store, nursery)
            await self._confirmed(mount, arrival, signals)
            service = Service(self._notifier, mount, self._settings.mountpoint, lambda: arrival.online)
            drained = trio.Event()
            facts = {**self._facts(store), "metrics": [page_at(listener) for listener in listeners]}
            metrics = Metrics(mount.figures, facts, CollectorRegistry())
            answers = Answers(socket_path(self._places, self._settings.mountpoint), mount, metrics, facts, drained)
            nursery.start_soon(mount.worker.run)
            nursery.start_soon(mount.durability.run)
            if mount.tier is not None:
                nursery.start_soon(mount.tier.disk.run)
                nursery.start_soon(mount.tier.store.run)
            if listeners:
                nursery.start_soon(Scrapes(metrics).serve, listeners)
            nursery.start_soon(arrival.later)
            nursery.start_soon(service.run)
            nursery.start_soon(mount.fs.slow.run)
            if self._settings.ttl < math.inf:
                # Of an immutable store everything is known for good.
                nursery.start_soon(Forgetting(mount.tree, store.traits, self._settings.names, _let_go).run)
            await nursery.start(answers.serve)
            try:
                await self._mounted(mount, service, signals)
                code = await self._drain(mount, service)
            finally:
                await self._close(mount)
            drained.set()
            await answers.idle(LAST_WORDS)
            nursery.cancel_scope.cancel()
        return code

    def _assembled(self, slot: Slot, store: ArtifactStore, nursery: trio.Nursery) -> Mount:
        try:
            mount = assemble(store, self._settings, slot.folder, self._identity(store), nursery, self._places.cache / "blocks")
        except (Unusable, ValueError) as error:
            raise Refusal(ExitCode.JOURNAL_UNUSABLE, f"{error}; move {slot.folder} away to go on without what it holds") from error
        if mount.taken_up:
            log.info("took up %d changes that an earlier mount of %s had left", mount.taken_up, self._spec.path)
        return mount

    async def _confirmed(self, mount: Mount, arrival: Arrival, signals: AsyncIterator[int]) -> None:
        """Wait until the journal can be read, unless a signal says stop. Raises Refusal then, and what the store raises."""

        async def hear() -> None:
            async for number in signals:
                if number != signal.SIGHUP:
                    await self._close(mount)
                    where = without_password(self._spec.path)
                    raise Refusal(ExitCode.NOT_DRAINED, f"stopped before {where} had answered; the next mount of it takes up what is left")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            await arrival.confirmed(mount.recovery)
            nursery.cancel_scope.cancel()

    async def _listeners(self) -> list[trio.SocketListener]:
        return await listening(*self._settings.metrics_listen) if self._settings.metrics_listen is not None else []

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
        if mount.tier is not None:
            mount.tier.snapshot.close()

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

    async def _mounted(self, mount: Mount, service: Service, signals: AsyncIterator[int]) -> None:
        """Serve the kernel until somebody unmounts, or a signal says stop."""
        options = self._options()
        clear(self._settings.mountpoint)
        try:
            handshake = Handshake(self._settings.mountpoint, options)
        except OSError as error:
            raise Refusal(ExitCode.NO_FUSE, f"cannot mount on {self._settings.mountpoint}: {error}") from error
        pyfuse3.init(mount.fs, f"/dev/fd/{handshake.near}", options)
        mounted = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear, mount, service, signals)
                nursery.start_soon(self._watch, mount, service, handshake)
                await pyfuse3.main(max_tasks=MAX_TASKS)
                mounted = False
                nursery.cancel_scope.cancel()
        finally:
            if mounted:
                unmount(self._settings.mountpoint, True)
            pyfuse3.close(unmount=False)

    async def _watch(self, mount: Mount, service: Service, handshake: Handshake) -> None:
        """From the first answer to an unmount that does not end the session, because another mount namespace was copied from ours
        meanwhile (a container, a service with PrivateMounts): nobody here can reach the mount any more, so it ends there, too."""
        device = await self._prove(service, handshake)
        await trio.to_thread.run_sync(wait_until_gone, device, abandon_on_cancel=True)
        await trio.sleep(LAST_WORDS)  # the kernel's time to end the session by itself
        log.info("%s is unmounted here, and another mount namespace still has it; leaving it all the same", self._settings.mountpoint)
        await self._drain(mount, service)
        pyfuse3.terminate()

    async def _prove(self, service: Service, handshake: Handshake) -> int:
        """Readiness: the handshake and a stat through the kernel, then the tuning that needs the mount, then the word. The device."""
        await handshake.complete()
        with trio.fail_after(self._settings.deadline):
            status = await trio.to_thread.run_sync(os.stat, self._settings.mountpoint)
        tune(os.minor(status.st_dev))
        self._ready()
        service.mounted()
        log.info("mounted %s on %s", without_password(self._spec.path), self._settings.mountpoint)
        return status.st_dev

    async def _hear(self, mount: Mount, service: Service, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGHUP and self._reread is not None:
                await self._reload(mount, service, self._reread)
                continue
            log.info("%s: unmounting", signal.Signals(number).name)
            service.stopping()
            if not await trio.to_thread.run_sync(unmount, self._settings.mountpoint, False):
                log.info("programs still use %s; saving what they wrote, then leaving without them", self._settings.mountpoint)
                await self._drain(mount, service)
                await trio.to_thread.run_sync(unmount, self._settings.mountpoint, True)
                pyfuse3.terminate()

    async def _reload(self, mount: Mount, service: Service, reread: Reread) -> None:
        service.reloading()
        try:
            self._settings = renewed(mount, self._settings, await trio.to_thread.run_sync(reread))
        except Refusal as refusal:
            log.error("the settings stay as they were: %s", refusal.message)
        service.mounted()

    # the queue

    async def _drain(self, mount: Mount, service: Service) -> ExitCode:
        """Wait until the store has everything, or nothing more can be done in time."""
        service.stopping()
        mount.publisher.seal_below("", all_closed=True)
        with trio.move_on_after(self._settings.drain_timeout):
            await mount.journal.drained()
        return ExitCode.NOT_DRAINED if len(mount.journal) else ExitCode.OK


def _some(mount: Mount) -> str:
    """The first of what is left, for one line of a log."""
    keys = [change.key for change in mount.journal]
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(repr(key) for key in keys[:NAMED]) + more


def _let_go(parent: int, name: bytes) -> None:
    """Ask the kernel to forget a name, from a thread of pyfuse3's own."""
    pyfuse3.invalidate_entry_async(pyfuse3.InodeT(parent), pyfuse3.FileNameT(name), ignore_enoent=True)
