"""What confines this process: a container, a user namespace, a security module.

What it is: what /proc says of it, and the usual marks of container engines.
What it is not: a mount tried out; nothing is changed.
Invariant: what cannot be read is not guessed at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from storemount.doctor.finding import Finding, fail, ok, warn

SYS_ADMIN = 1 << 21
"""The capability of mount(2), as capabilities(7) numbers it."""

OLDEST = (4, 18)
"""The first kernel that mounts FUSE in a user namespace."""

EVERYBODY = "0 0 4294967295"
"""The map of user ids outside of every user namespace, user_namespaces(7)."""

FLAGS = "--device /dev/fuse --cap-add SYS_ADMIN --security-opt apparmor=unconfined"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where to look: `proc` and `root` are /proc and / but for tests; `environ` are the process's variables."""

    uid: int
    environ: Mapping[str, str]
    proc: Path = Path("/proc")
    root: Path = Path("/")

    def read(self, name: str) -> str:
        """A file below /proc, without white space at its ends; "" where there is none, or it is not for us."""
        try:
            return (self.proc / name).read_text(errors="replace").strip("\0 \n")
        except OSError:
            return ""

    def status(self, name: str) -> str:
        """A field of /proc/self/status."""
        fields = dict(line.split(":", 1) for line in self.read("self/status").splitlines() if ":" in line)
        return fields.get(name, "").strip()


def confinement(here: Surroundings) -> Iterator[Finding]:
    """Every check of what confines this process."""
    engine = _engine(here)
    yield ok("container", f"this is a container ({engine})" if engine else "none was noticed")
    yield _namespace(here)
    yield _capability(here, engine)
    yield _propagation(here, engine)
    yield _apparmor(here)


def _engine(here: Surroundings) -> str:
    """The container engine that we are in, as far as one can tell; else ""."""
    marks = {"docker": ".dockerenv", "podman": "run/.containerenv"}
    if "KUBERNETES_SERVICE_HOST" in here.environ:
        return "kubernetes"
    first = dict(entry.split("=", 1) for entry in here.read("1/environ").split("\0") if "=" in entry)
    told = here.environ.get("container") or first.get("container", "")
    return told or next((name for name, mark in marks.items() if (here.root / mark).exists()), "")


def _namespace(here: Surroundings) -> Finding:
    maps = [" ".join(line.split()) for line in here.read("self/uid_map").splitlines()]
    if maps in ([], [EVERYBODY]):
        return ok("user namespace", "none")
    release = here.read("sys/kernel/osrelease")
    if tuple(int(part) for part in release.split(".")[:2] if part.isdecimal()) < OLDEST:
        said = f"this is a user namespace, and the kernel {release} does not mount FUSE in one"
        return fail("user namespace", said, "mount outside of it, or use Linux 4.18 or newer")
    return ok("user namespace", f"this is one; the kernel {release} mounts FUSE in it")


def _capability(here: Surroundings, engine: str) -> Finding:
    """Root mounts by itself; everybody else by fusermount3, which gets at most the bounding set."""
    name = "CapBnd" if here.uid else "CapEff"
    told = here.status(name)
    remedy = f"start the container with {FLAGS}" if engine else "keep CAP_SYS_ADMIN (CapabilityBoundingSet= of a service)"
    if told and not int(told, 16) & SYS_ADMIN:
        return fail("privileges", "the capability SYS_ADMIN, which mount(2) needs, was taken away", remedy)
    if here.uid and here.status("NoNewPrivs") == "1":
        said = "no_new_privs is set, so that fusermount3 is not setuid here"
        return fail("privileges", said, "leave out NoNewPrivileges= of a service, or no-new-privileges of a container")
    return ok("privileges", "this process may have what mount(2) needs")


def _propagation(here: Surroundings, engine: str) -> Finding:
    """Who sees what is mounted here."""
    shared = any(" shared:" in line.partition(" - ")[0] for line in here.read("self/mountinfo").splitlines() if line.split()[4] == "/")
    if engine and not shared:
        said = "what is mounted here is seen in this container only"
        remedy = "for the host or other containers, mount on a volume with rshared propagation (Bidirectional in kubernetes)"
        return warn("visibility", said, remedy)
    if _apart(here):
        remedy = "mount outside of it, if others are to see it"
        return warn("visibility", "this process is in a mount namespace of its own, and only what is in there sees its mounts", remedy)
    return ok("visibility", "what is mounted here is seen by every process" + (" outside, too" if engine else ""))


def _apart(here: Surroundings) -> bool:
    """Whether the first process has another mount namespace; False where that cannot be read."""
    try:
        return os.readlink(here.proc / "self/ns/mnt") != os.readlink(here.proc / "1/ns/mnt")
    except OSError:
        return False


def _apparmor(here: Surroundings) -> Finding:
    current = here.read("self/attr/apparmor/current") or here.read("self/attr/current")
    if "(enforce)" in current:
        remedy = f"allow mount in it, or start the container with {FLAGS}"
        return warn("AppArmor", f"the profile {current.partition(' ')[0]} confines this process and may forbid to mount", remedy)
    profile = here.root / "etc/apparmor.d/fusermount3"
    if here.uid and profile.exists() and (here.root / "sys/module/apparmor").exists():
        said = f"the profile {profile} confines fusermount3 to the places that it names"
        return warn("AppArmor", said, "mount there (such as in your home, /mnt, /media), or add yours to local/fusermount3")
    return ok("AppArmor", "no profile confines this process")
