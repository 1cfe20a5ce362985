"""The suite as an ordinary user: the daemon, the mount and the programs on it have no rights that root has.

A mount belongs to whoever made it, so the whole test run changes its user: a second pytest, on a chosen part of the suite.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import CHECKOUT
from tests.support.mounting import temporary_home

CHOSEN = (
    "test_open_flags.py",
    "test_writes.py",
    "test_rename.py",
    "test_directories.py",
    "test_metadata.py",
    "test_locks.py",
    "test_mmap.py",
    "test_programs.py",
    "test_databases.py",
    "test_store_view.py",
)
SUBJECTS = ("local", "s3-native")
NOBODY = pwd.getpwnam("nobody")

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="the run is an ordinary user's already")


@pytest.fixture
def user_home() -> Iterator[Path]:
    with temporary_home() as home:
        os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
        yield home


def as_user(*words: str, home: Path, path: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        words,
        env=environ,
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        user=NOBODY.pw_uid,
        group=NOBODY.pw_gid,
        extra_groups=[],
    )


def readable_copy(home: Path) -> Path:
    """The package, the tests and their settings where the user can read them, whoever may enter the checkout."""
    for name in ("storemount", "tests"):
        shutil.copytree(CHECKOUT / name, home / "checkout" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", home / "checkout")
    return home / "checkout"


def readable_python(home: Path) -> tuple[str, str]:
    """An interpreter that the user can run, and where its packages are: this one, or a copy of its packages beside the system's."""
    if as_user(sys.executable, "-c", "import pytest", home=home, path="").returncode == 0:
        return sys.executable, ""
    packages = home / "packages"
    installed = next(Path(entry) for entry in sys.path if entry.endswith("site-packages"))
    shutil.copytree(installed, packages, copy_function=link_or_copy, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.pth"))
    return os.path.realpath(sys.executable), str(packages)


def link_or_copy(source: str, target: str) -> None:
    """Without copying bytes where the file system allows (the files are readable by all; their folder is not)."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.mark.timeout(450)
@pytest.mark.parametrize("kind", SUBJECTS)
def test_the_suite_as_an_ordinary_user(kind: str, user_home: Path) -> None:
    checkout = readable_copy(user_home)
    python, packages = readable_python(user_home)
    chosen = [str(checkout / "tests/mount" / name) for name in CHOSEN]
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--subjects", kind, "--rootdir", str(checkout), *chosen)
    done = as_user(python, *words, home=user_home, path=f"{checkout}:{packages}")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) > 150, done.stdout[-500:]
