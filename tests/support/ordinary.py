"""Users that are not root, for a run that root has started.

What it is: a command run as `nobody` or another user, with what it needs where that user can read it.
What it is not: a login; nothing of the user's own home or settings is there.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.command import CHECKOUT
from tests.support.mounting import temporary_home

NOBODY = pwd.getpwnam("nobody")
SOMEBODY = 54321
"""A user and a group whom no account file knows."""


@contextmanager
def home_of_nobody() -> Iterator[Path]:
    with temporary_home() as home:
        os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
        yield home


def as_user(
    *words: str | Path, home: Path, path: str = "", uid: int = NOBODY.pw_uid, gid: int = NOBODY.pw_gid, within: float = 400
) -> subprocess.CompletedProcess[str]:
    """Run to the end as this user. `path`: where Python looks for modules."""
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
        timeout=within,
        user=uid,
        group=gid,
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
    if as_user(sys.executable, "-c", "import pytest", home=home).returncode == 0:
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
