"""Typed, frozen settings, and the folders storemount uses.

What it is: the only reader of the environment, and the one place where defaults stand.
What it is not: the registry of stores (`registry`), or the words on the command line (`cli`).
Invariants: sizes are bytes, durations are seconds; nothing here is changed after it is made.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from storemount.errors import ExitCode, Refusal

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_UNITS = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": 1024 * GIB}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str) -> int:
    """`512M`, `4GiB`, `1073741824` as bytes (powers of 1024). Raises ValueError with a message for the user."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise ValueError(f"{text!r} is not a size; write a number with K, M, G or T, such as 512M")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def parse_duration(text: str) -> float:
    """`10`, `500ms`, `5m`, `2h` as seconds. Raises ValueError with a message for the user."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)", text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a duration; write a number with ms, s, m, h or d, such as 10s")
    return float(match[1]) * _SECONDS[match[2]]


def parse_address(text: str) -> tuple[str, int]:
    """`127.0.0.1:9100`, `[::1]:9100` as host and port; port 0 is any that is free. Raises ValueError with a message for the user."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]/\s]+)):(\d{1,5})", text.strip())
    if not match or int(match[3]) > 65535:
        raise ValueError(f"{text!r} is not an address; write HOST:PORT, such as 127.0.0.1:9100")
    return match[1] or match[2], int(match[3])


@dataclass(frozen=True, slots=True)
class MountSettings:
    """How one mount behaves.

    ttl: how old a listing or an attribute may be (S3); infinite for an immutable store. cache_size: cap of the block cache in memory
    (S15). disk_cache_size: cap of the blocks that persist on the disk, for all mounts of this user together; 0 for none. names: how many
    names are known at most, but for those in use (S15). staging_size: cap of what waits for its upload and of the disk cache together
    (None: the disk, less a floor); staging_wait: how long a write waits for room.
    deadline: how long one request to the store may take (S14). upload_delay: how long a closed file waits for further changes
    before it goes up. uploads: how many go up at once. drain_timeout: how long a stop waits for the queue (S8). offline_start: mount
    though the store does not answer yet. durability: what a close waits for (S7): "crash" (the journal), "power" (the disk under it) or
    "store". fsync: what an fsync waits for, "store" or "local" (the
    disk). exclusive_create: whether O_EXCL is a claim on this machine ("local") or in the store ("store", at once an empty object).
    metadata: what of the metadata of files is known without opening them: what a "listing" and this machine tell, or "full" (S12).
    metrics_listen: host and port at which Prometheus may fetch the metrics.
    slow: from how many seconds on an operation of a program, or a request to the store, stands in the log.
    file_mode and dir_mode are permission bits shown for what the store does not say; umask is taken off them.
    """

    mountpoint: str
    read_only: bool = False
    ttl: float = 10.0
    cache_size: int = 256 * MIB
    disk_cache_size: int = 10 * GIB
    names: int = 500_000
    staging_dir: str | None = None
    staging_size: int | None = None
    staging_wait: float = 30.0
    uid: int | None = None
    gid: int | None = None
    umask: int = 0o022
    file_mode: int = 0o666
    dir_mode: int = 0o777
    allow_other: bool = False
    deadline: float = 20.0
    upload_delay: float = 0.5
    uploads: int = 32
    drain_timeout: float = 3600.0
    durability: str = "crash"
    fsync: str = "store"
    exclusive_create: str = "local"
    metadata: str = "listing"
    metrics_listen: tuple[str, int] | None = None
    offline_start: bool = False
    slow: float = 30.0
    log_file: str | None = None
    log_level: str = "warning"
    fuse_options: tuple[str, ...] = ()


Reread = Callable[[], MountSettings]
"""Reads the settings of a mount again. Raises Refusal."""


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one user (the XDG base directories) and of the system.

    data: the built-in store. config: this user's registry. system_config: the registry of the machine. state: staging and logs.
    cache: blocks that persist. runtime: sockets of running mounts.
    """

    data: Path
    config: Path
    system_config: Path
    state: Path
    cache: Path
    runtime: Path

    @classmethod
    def of(cls, environ: Mapping[str, str] | None = None, uid: int | None = None) -> Places:
        """From the environment: XDG_* and STOREMOUNT_SYSTEM_CONFIG."""
        env = os.environ if environ is None else environ
        user = os.getuid() if uid is None else uid
        home = Path(env.get("HOME") or os.path.expanduser("~"))

        def base(variable: str, default: Path) -> Path:
            value = env.get(variable)
            return (Path(value) if value and os.path.isabs(value) else default) / "storemount"

        state = base("XDG_STATE_HOME", home / ".local/state")
        # Root's sockets are in one place, whether a login session has given it a folder of its own or not (a service of systemd has none).
        # The root of a user namespace, or of a read-only container, has none there.
        root = user == 0 and os.access("/run", os.W_OK)
        everywhere = root and env.get("XDG_RUNTIME_DIR") in (None, "", "/run/user/0")
        default_runtime = Path("/run") if root else state.parent / "run"
        return cls(
            data=base("XDG_DATA_HOME", home / ".local/share"),
            config=base("XDG_CONFIG_HOME", home / ".config"),
            system_config=Path(env.get("STOREMOUNT_SYSTEM_CONFIG") or "/etc/storemount"),
            state=state,
            cache=base("XDG_CACHE_HOME", home / ".cache"),
            runtime=Path("/run/storemount") if everywhere else base("XDG_RUNTIME_DIR", default_runtime),
        )


def private_folder(path: Path) -> Path:
    """Make `path` (mode 0700) with its parents, and give it back."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(
            ExitCode.BAD_CONFIGURATION, f"cannot make the folder {path}: {error.strerror}; choose another or mend its permissions"
        ) from error
    return path


def locked(path: Path) -> int | None:
    """A descriptor of the file `path`, which is made if need be, with its lock: this process's alone as long as it is open. None when
    another has it, or has just removed the file. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.stat(path)):
            return fd
    os.close(fd)
    return None


def boot() -> str:
    """What tells this run of the kernel from the one before a power cut."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def environment() -> Mapping[str, str]:
    """The variables of this process."""
    return os.environ
