"""The daemon that is killed: the mount of one store at one place, started again and again.

What it is: starting it, plainly or with an arranged end (`doomed`), killing it, and unmounting it cleanly.
What it is not: a check of what it kept.
Invariants: only the command line and `status --json` are used. After `clear` neither process nor mount is left.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.mounting import Mount
from tests.support.waiting import eventually, exited

PATIENCE = 60.0
LAST_CALL = 15.0
_BUG = re.compile(r"Traceback|never awaited|Exception ignored")


class Victim:
    def __init__(self, mount: Mount) -> None:
        self.mount = mount
        self.point = mount.point
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else self.mount.pid

    def start(self, arranged: str = "") -> None:
        """Mount. `arranged` (a word of `doomed`) says how it will end; it may have ended when this returns."""
        if not arranged:
            self.mount.start()
            return
        self.reboot()
        words = ["mount", self.mount.store, str(self.point), "-f", "--log-file", str(self.mount.log), "--log-level", "info"]
        with self.mount.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.doomed", arranged, *words, *self.mount.options],
                env=self.mount.command.environment,
                cwd=self.mount.command.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        assert eventually(self._up_or_gone, PATIENCE), f"the mount did not come up\n{self.mount.tail()}"

    def _up_or_gone(self) -> bool:
        assert self._process is not None
        return self.mount.mounted or self._process.poll() is not None

    def note(self, line: str) -> None:
        """A line in the daemon's log, for who reads it after a failure."""
        with self.mount.log.open("a") as log:
            log.write(f"({line})\n")

    def kill(self) -> None:
        """`kill -9`, whatever it is doing."""
        os.kill(self.pid, signal.SIGKILL)
        self.died()

    def died(self) -> None:
        """It is dead, or dies now, of SIGKILL."""
        if self._process is None:
            assert exited(self.mount.pid)
            self.mount.pid = 0
        else:
            self.left(-signal.SIGKILL)

    def left(self, expected: int) -> None:
        """A daemon with an arranged end is gone, with this exit code (or signal)."""
        assert self._process is not None
        assert eventually(lambda: self._process is None or self._process.poll() is not None, LAST_CALL), "the daemon goes on"
        code, self._process = self._process.returncode, None
        assert code == expected, f"the daemon ended with {code}, not with {expected}\n{self.mount.tail()}"

    @contextmanager
    def unmounting(self) -> Iterator[subprocess.Popen[bytes]]:
        """The unmount command at work."""
        command = self.mount.command
        words = [sys.executable, "-m", "storemount", "unmount", str(self.point)]
        with subprocess.Popen(
            words, env=command.environment, cwd=command.home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def reboot(self) -> None:
        """What a dead daemon left mounted goes, as when the machine starts again."""
        if self.mount.mounted:
            subprocess.run(["umount", "--lazy", str(self.point)], check=True)

    def stop(self) -> None:
        """Unmount through the command, which says that the store has everything."""
        done = self.mount.command.run("unmount", str(self.point), within=2 * PATIENCE)
        assert done.returncode == 0, f"unmount ended with {done.returncode}: {done.stdout}{done.stderr}\n{self.mount.tail()}"
        self.mount.gone()

    def bugs(self) -> list[str]:
        """Lines of its log that no kill explains."""
        return [line for line in self.mount.log.read_text().splitlines() if _BUG.search(line)] if self.mount.log.exists() else []

    def clear(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.mount.clear()


@contextmanager
def cleared(mount: Mount) -> Iterator[Victim]:
    victim = Victim(mount)
    try:
        yield victim
    finally:
        victim.clear()


class Crew:
    """Writers at work, each in a folder of its own. `ticks` gets a byte for each line that they log."""

    def __init__(self) -> None:
        self._ticks, self._given = os.pipe()
        self._writers: list[subprocess.Popen[str]] = []

    def start(self, *words: str, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "tests.crash.writer", *words, "--ticks", str(self._given)]
        self._writers.append(subprocess.Popen(command, env=environment, pass_fds=(self._given,), stderr=subprocess.PIPE, text=True))

    def watch(self, lines: int, within: float = PATIENCE) -> bool:
        """Wait until they have logged so many lines more; False when they ended before, or are held up for so long."""
        if self._given >= 0:
            os.close(self._given)
            self._given = -1
        while lines > 0:
            if not select.select([self._ticks], [], [], within)[0]:
                return False
            ticks = len(os.read(self._ticks, min(lines, 4096)))
            if not ticks:
                return False
            lines -= ticks
        return True

    def ended(self) -> list[int]:
        """Wait for their end; the exit codes."""
        self.watch(sys.maxsize)
        codes = []
        for writer in self._writers:
            _, said = writer.communicate(timeout=PATIENCE)
            assert not said, said
            codes.append(writer.returncode)
        return codes

    def clear(self) -> None:
        for writer in self._writers:
            if writer.poll() is None:
                writer.kill()
                writer.wait()
            assert writer.stderr is not None
            writer.stderr.close()
        for fd in (self._ticks, self._given):
            if fd >= 0:
                os.close(fd)
