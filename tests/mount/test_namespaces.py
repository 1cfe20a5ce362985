"""In a user namespace that an ordinary user has made, as rootless containers do: /run is somebody else's (S14, S7)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ordinary import as_user, home_of_nobody, readable_copy, readable_python

NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
AS_A_CONTAINER = (*NAMESPACE, "--pid", "--fork", "--mount-proc", "--kill-child")
"""What runs in it ends with its first process, as in a container."""

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become an ordinary user who can read this checkout")


@pytest.fixture
def home() -> Iterator[Path]:
    with home_of_nobody() as home:
        done = as_user(*NAMESPACE, "true", home=home)
        if done.returncode:
            pytest.skip(f"this kernel makes no user namespace for an ordinary user: {done.stderr.strip()}")
        for name in ("mnt", "store"):
            (home / name).mkdir()
            os.chown(home / name, home.stat().st_uid, home.stat().st_gid)
        yield home


def inside(home: Path, script: str, namespace: tuple[str, ...] = NAMESPACE) -> subprocess.CompletedProcess[str]:
    """A shell in a new namespace, with `storemount` as a command; its first failure ends it."""
    python, packages = readable_python(home)
    checkout = home / "checkout"
    if not checkout.exists():
        readable_copy(home)
    script = f'set -e; storemount() {{ "{python}" -m storemount "$@"; }}\n{script}'
    return as_user(*namespace, "sh", "-c", script, home=home, path=f"{checkout}:{packages}", within=120)


def test_a_mount_in_a_user_namespace_works_and_is_seen_there_only(home: Path) -> None:
    done = inside(
        home,
        """
        storemount $PWD/store mnt
        echo hello > mnt/file
        mkdir mnt/folder
        stat --format '%u %s' mnt/file
        storemount flush mnt
        storemount status
        storemount doctor $PWD/store mnt
        storemount unmount mnt
        ls -A mnt
        """,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "0 6\n" in done.stdout and f"{home}/mnt" in done.stdout
    assert ", 0 FAIL" in done.stdout
    assert (home / "store/file").read_text() == "hello\n"
    assert (home / "store/folder").is_dir()
    assert str(home) not in Path("/proc/self/mountinfo").read_text()


def test_S7_what_was_closed_outlives_a_namespace_that_ends(home: Path) -> None:
    """All its processes are killed with it, the daemon too; the next container takes up what waits."""
    writes = "for n in 1 2 3 4 5 6 7 8 9; do echo $n > mnt/$n; done; mv mnt/9 mnt/nine"
    done = inside(home, f"storemount $PWD/store mnt; {writes}", AS_A_CONTAINER)
    assert (done.returncode, done.stderr) == (0, "")
    done = inside(home, "storemount $PWD/store mnt; cat mnt/*; storemount unmount mnt")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1\n2\n3\n4\n5\n6\n7\n8\n9\n" in done.stdout
    assert {path.name: path.read_text() for path in (home / "store").iterdir()} == {
        **{str(n): f"{n}\n" for n in range(1, 9)},
        "nine": "9\n",
    }
