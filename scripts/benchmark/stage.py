"""One subject at work on one store: mounted afresh as often as a workload wants, and gone at the end.

What it is: starting, stopping and watching one mount, and adding up what its daemons used.
What it is not: the measurements (`workloads`).
Invariants: when the context is left there is no mount, no process and no file of ours, however it is left. A mount that hangs is
killed after `LIMIT`, which fails its cell and not the run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from benchmark.machine import drop_caches, mounted, peak_memory
from benchmark.stores import Folder, Store
from benchmark.subjects import Settling, Subject

LIMIT = 600.0
"""Seconds that one mount may live."""

PATIENCE = 120.0
"""Seconds until a mount is usable, or has ended after it was unmounted, or has brought something to the store."""

_GLANCE = 0.01
_KEPT = ("PATH", "TMPDIR", "LANG", "TZ")


class Broken(Exception):
    """A mount that did not come up, ended by itself, or did not keep its word."""


@dataclass
class Usage:
    """What a subject's daemons used: `cpu` in seconds, `rss` in MiB (the largest of them)."""

    cpu: float = 0.0
    rss: float = 0.0


class Stage:
    """`root` is where the subject shows the store; valid after the first `remount`. `verify` asks a workload to check every byte."""

    def __init__(self, subject: Subject, store: Store, work: Path, *, verify: bool) -> None:
        self.subject = subject
        self.store = store
        self.verify = verify
        self.usage = Usage()
        self.root = Path()
        self._work = work
        self._point = Path()
        self._scratch = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Stage:
        self._point = Path(tempfile.mkdtemp(prefix="mnt-", dir=self._work))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.leave()
        finally:
            self._point.rmdir()

    def remount(self) -> float:
        """Start from nothing: no mount, no caches. Gives the seconds from the command to a usable mount. Raises Broken."""
        self.leave()
        self._scratch = Path(tempfile.mkdtemp(prefix="own-", dir=self._work))
        return self._mount()

    def restart(self) -> float:
        """End the mount, and start another with what the subject has kept on the disk; only the memory is empty. Seconds and errors as
        `remount`."""
        self._unmount()
        return self._mount()

    def _mount(self) -> float:
        drop_caches()
        start = self.subject.start(self.store, self._point, self._scratch)
        if start is None:
            assert isinstance(self.store, Folder)
            self.root = self.store.root
            return 0.0
        began = time.perf_counter()
        with (self._scratch / "log").open("wb") as log:
            # A session of its own: a Ctrl-C is ours, and the mount is then stopped in order.
            self._process = subprocess.Popen(
                start.command,
                env=self._environment() | start.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._timer = threading.Timer(LIMIT, self._process.kill)
        self._timer.start()
        self._wait_until_usable(self._process)
        self.root = self._point
        return time.perf_counter() - began

    def _environment(self) -> dict[str, str]:
        """Nothing of the user's own that one of the tools might read."""
        return {name: os.environ[name] for name in _KEPT if name in os.environ} | {
            "HOME": str(self._scratch),
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _wait_until_usable(self, process: subprocess.Popen[bytes]) -> None:
        for _ in _glances(f"{self.subject.name} did not mount", _GLANCE / 5):
            if process.poll() is not None:
                raise Broken(f"{self.subject.name} ended with {process.returncode}: {self._last_words()}")
            if mounted(self._point):
                os.listdir(self._point)
                return

    def _last_words(self) -> str:
        return " / ".join((self._scratch / "log").read_text(errors="replace").splitlines()[-3:])

    # ending

    def leave(self) -> None:
        """Unmount, and forget what the subject kept. Raises Broken when the mount did not end well."""
        try:
            self._unmount()
        finally:
            self._clear()

    def _unmount(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            if process.poll() is None:
                self.usage.rss = max(self.usage.rss, peak_memory(process.pid))
                self._stop(process)
        finally:
            self._kill(process)
        if process.returncode:
            raise Broken(f"{self.subject.name} ended with {process.returncode}: {self._last_words()}")

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        done = subprocess.run(
            ["fusermount3", "-u", str(self._point)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Broken(f"{self.subject.name} cannot be unmounted: {done.stderr.strip()}")
        for _ in _glances(f"{self.subject.name} did not end", _GLANCE):
            ended, status, resources = os.wait4(process.pid, os.WNOHANG)
            if ended:
                process.returncode = os.waitstatus_to_exitcode(status)
                self.usage.cpu += resources.ru_utime + resources.ru_stime
                return

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        if mounted(self._point):
            subprocess.run(["fusermount3", "-u", "-z", str(self._point)], stdin=subprocess.DEVNULL, capture_output=True, check=False)

    def _clear(self) -> None:
        if self._scratch != Path():
            shutil.rmtree(self._scratch)
            self._scratch = Path()

    # until it is in the store

    def settle_file(self, path: Path, size: int) -> None:
        """Return when the store has all of this file, as far as the subject lets a program wait. Raises Broken when it has not."""
        if self.subject.settling is Settling.FSYNC:
            _fsync(path)
        key = str(path.relative_to(self.root))
        self._see(lambda: self.store.size(key) == size, f"{key} is not whole in the store")

    def settle_folder(self, folder: Path, count: int) -> None:
        """The same for a directory that should now have so many files."""
        if self.subject.settling is Settling.FSYNC:
            self._sync_folder(folder)
        key = str(folder.relative_to(self.root)) + "/"
        self._see(lambda: self.store.count(key) == count, f"{key} has not {count} files in the store")

    def _sync_folder(self, folder: Path) -> None:
        if self.root == self._point:
            _fsync(folder if folder.exists() else folder.parent)
        else:
            # A plain directory's fsync does not reach its files; one for each would be another workload.
            os.sync()

    def _see(self, there: Callable[[], bool], otherwise: str) -> None:
        if there():
            return
        if self.subject.settling is not Settling.LATER:
            raise Broken(f"{self.subject.name}: {otherwise} {self.subject.settling.value}")
        for _ in _glances(otherwise, _GLANCE):
            if there():
                return


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _glances(otherwise: str, pause: float) -> Iterator[None]:
    """Look again and again until the caller has seen enough; raises Broken when that takes longer than `PATIENCE`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        yield
        time.sleep(pause)
    raise Broken(otherwise)
