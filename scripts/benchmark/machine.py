"""The machine: what kind it is, its page cache, and what a process used.

What it is not: exact about memory of a process tree; every daemon measured here is one process.
"""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

MIB = 1024 * 1024


def kind() -> dict[str, str | int]:
    """Cores, memory and kernel; no names."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    return {
        "cores": os.cpu_count() or 1,
        "processor": model,
        "memory_mib": memory // MIB,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def may_drop_caches() -> bool:
    return os.access("/proc/sys/vm/drop_caches", os.W_OK)


def drop_caches() -> None:
    """Empty the page cache, names included, where this user may; dirty pages go to the disk first."""
    if may_drop_caches():
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")


def peak_memory(pid: int) -> float:
    """The most memory that the process has held so far, in MiB."""
    for line in _lines(f"/proc/{pid}/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def mounted(point: Path) -> bool:
    return any(line.split()[4] == str(point) for line in _lines("/proc/self/mountinfo"))


def first_line_of(*command: str) -> str:
    """What a tool says of itself, in one line."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), f"exit {done.returncode}")
