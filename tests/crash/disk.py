"""A disk whose power can be cut: an ext4 image on a loop device.

What it is: making it, mounting it, and `cut`, after which it holds what had reached the block device, and nothing of what its file
system still had in memory.
What it is not: a disk with a write cache of its own: what reached the device before the cut is kept, flushed or not.
Invariants: it is used in a mount namespace that ends with its user, so no mount outlives it; the loop device goes with its mount.
The copy is of one moment: the device had no write in flight, and completed none, while it was made.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.support.waiting import eventually

SIZE = 1 << 30
COMMIT = 300
"""Seconds between the commits that ext4 makes without being asked: longer than any round."""


def missing() -> str:
    """What keeps this machine from having such a disk; empty when nothing does."""
    if os.getuid():
        return "power cuts need root, for loop devices and a mount namespace"
    if not Path("/dev/loop-control").exists():
        return "power cuts need loop devices, and there is no /dev/loop-control"
    tools = [tool for tool in ("mkfs.ext4", "losetup", "mount", "unshare") if shutil.which(tool) is None]
    return f"power cuts need {' and '.join(tools)}" if tools else ""


class Disk:
    """`point` is where it is mounted while it is `on`."""

    def __init__(self, image: Path, point: Path) -> None:
        self._image = image
        self._point = point
        self._device = ""
        with image.open("wb") as file:
            file.truncate(SIZE)
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))

    def on(self) -> None:
        """Mount it; ext4 replays its journal, as after any power cut."""
        self._device = _run("losetup", "--find", "--show", "--direct-io=on", str(self._image)).strip()
        try:
            _run("mount", "-t", "ext4", "-o", f"commit={COMMIT},noatime", self._device, str(self._point))
        finally:
            _run("losetup", "--detach", self._device)  # as soon as nothing uses it

    def cut(self, pid: int) -> None:
        """Process `pid` works on it, and now the power goes: it is killed, and what the device has at this moment is what is left."""
        os.kill(pid, signal.SIGSTOP)
        assert eventually(lambda: _stands_still(pid)), f"process {pid} did not stop"
        kept = self._image.with_suffix(".cut")
        while True:
            assert eventually(lambda: self._statistics()[-1] == 0), "the device does not come to rest"
            before = self._statistics()
            _run("cp", "--sparse=always", str(self._image), str(kept))
            if self._statistics() == before:
                break
        os.kill(pid, signal.SIGKILL)

    def off(self) -> None:
        """Everything that used it is dead: unmount it, and forget all that came after the cut."""
        _run("umount", str(self._point))
        name = Path(self._device).name
        assert eventually(lambda: not Path(f"/sys/block/{name}/loop").exists()), f"{self._device} is still attached"
        self._image.with_suffix(".cut").replace(self._image)

    def _statistics(self) -> tuple[int, int, int]:
        """Writes and flushes that were completed, and what is in flight."""
        fields = Path(f"/sys/block/{Path(self._device).name}/stat").read_text().split()
        return int(fields[4]), int(fields[15]), int(fields[8])


def _stands_still(pid: int) -> bool:
    """Whether no thread of the process runs any more."""
    states = [Path(task, "stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()]
    return all(state == "T" for state in states)


def _run(*words: str) -> str:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()}"
    return done.stdout
