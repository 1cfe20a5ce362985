"""From what somebody asked for to a served mount.

What it is: the store looked up, the checks in their order, and the call of the daemon.
What it is not: the daemon, or words on a terminal. `daemon`, trio and pyfuse3 are imported only where the mount is served: after the
fork, if there is one.
Invariants: nothing is made before every check has passed. A password is never taken from the command line, where `ps` shows it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote

from storemount.config import MountSettings, Places, Reread, locked, private_folder
from storemount.control.client import socket_path
from storemount.errors import ExitCode, Refusal
from storemount.insight.logs import start_log
from storemount.kernel import mountpoint
from storemount.kernel.mountpoint import Host
from storemount.registry.stores import Registry
from storemount.running.background import run_in_background
from storemount.running.draining import reach
from storemount.running.notify import Notifier
from storemount.running.supervision import Serve, Supervised
from storemount.stores.flavors import StoreSpec
from storemount.zenml.definition import Renewal, Resolved

PATIENCE = 5.0
"""Seconds that an earlier mount at the same place gets to finish."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One mount that was asked for. `renewal`: where fresh credentials come from, if those of `spec` end. `notifier`: who is told of a
    mount in the foreground. `reread`: reads the settings again, if they stand in a file.
    `supervise`: whether a daemon in the background that dies is started again, though its store may not answer then."""

    spec: StoreSpec
    settings: MountSettings
    engine: str
    places: Places
    renewal: Renewal | None = None
    notifier: Notifier = field(default_factory=Notifier)
    reread: Reread | None = None
    supervise: bool = False

    def check(self, host: Host, *, nonempty: bool, say: Callable[[str], None]) -> None:
        """Everything that can be known before mounting. Raises Refusal; `say` is told what was cleaned."""
        path = self.settings.mountpoint
        mountpoint.check_fuse(host, allow_other=self.settings.allow_other)
        mountpoint.check(path, nonempty=nonempty, say=say, uid=host.uid)
        ours = {
            "the staging folder": self.settings.staging_dir,
            "the log": self.settings.log_file,
            "storemount's own folder": self.places.state,
        }
        mountpoint.check_apart(path, [(what, str(where)) for what, where in ours.items() if where])
        if self.spec.flavor == "local":
            mountpoint.check_outside_store(path, self.spec.path)
        _let_earlier_end(path, socket_path(self.places, path))
        _claim(path, self._lock)

    def serve(self, ready: Callable[[], None]) -> ExitCode:
        """Mount, and return when unmounted and drained. Raises Refusal before `ready` is called."""
        from storemount import daemon

        try:
            return daemon.run(
                self.spec,
                self.settings,
                engine=self.engine,
                places=self.places,
                ready=ready,
                renewal=self.renewal,
                notifier=self.notifier,
                reread=self.reread,
            )
        finally:
            self._lock.unlink(missing_ok=True)

    @property
    def _lock(self) -> Path:
        return socket_path(self.places, self.settings.mountpoint).with_suffix(".lock")

    def in_background(self) -> None:
        """Mount, and return when the mount answers. Raises Refusal."""
        log = Path(self.settings.log_file or private_folder(self.places.state / "logs") / _log_name(self.settings.mountpoint))
        here = replace(self, settings=replace(self.settings, log_file=str(log)), notifier=Notifier())
        if (reread := self.reread) is not None:
            here = replace(here, reread=lambda: replace(reread(), log_file=str(log)))
        serve: Serve = here.serve
        if self.supervise:
            start_log(self.settings.log_level, str(log))
            serve = Supervised(serve, replace(here, settings=replace(here.settings, offline_start=True)).serve)
        run_in_background(serve, log)


def _let_earlier_end(path: str, socket: Path) -> None:
    """A daemon that was unmounted a moment ago may still be saving; its successor would take its socket away."""
    drain = reach(socket)
    if drain is None:
        return
    try:
        if not drain.ended(PATIENCE):
            message = f"an earlier mount on {path} is still saving what was written to it; wait for it: storemount unmount {quote(path)}"
            raise Refusal(ExitCode.BUSY, message)
    finally:
        drain.close()


def _claim(path: str, lock: Path) -> None:
    """Be the only one who mounts there, until this process and all that come of it have ended. Two that start at the same moment would
    both find nothing there, and the second would hide the first. Raises Refusal."""
    private_folder(lock.parent)
    until = time.monotonic() + PATIENCE
    while locked(lock) is None:  # The descriptor stays open as long as the process lives.
        if time.monotonic() > until:
            raise Refusal(ExitCode.BUSY, f"another storemount is mounting on {path}; see: storemount status") from None
        time.sleep(0.05)


def look_up(registry: Registry, store: str) -> Resolved:
    """The store that `store`, a name or a URI, means; a folder that is made on first use is made. Raises Refusal."""
    if re.match(r"[^/]*://[^/@]*:[^/@]*@", store):
        message = (
            "a password in a URI is seen by everybody in ps; register the store with --path=env:NAME or --path=@FILE, and mount it by name"
        )
        raise Refusal(ExitCode.BAD_CONFIGURATION, message)
    resolved = registry.resolved(store)
    if registry.makes_folder(store, resolved.spec):
        private_folder(Path(resolved.spec.path))
    return resolved


def _log_name(path: str) -> str:
    """`/mnt/artifacts` as `mnt-artifacts.log`; the end of a long path, as a file name has 255 bytes."""
    return path.strip("/").replace("/", "-")[-60:] + ".log"
