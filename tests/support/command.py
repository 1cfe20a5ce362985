"""The real command, run as a user would, in a home of its own.

What it is: `python -m storemount ...` in a subprocess, with every folder it might use below one temporary home.
What it is not: a way into the product's modules; only its words, exit codes and output are seen.
Invariants: nothing of the real user's environment that storemount or a cloud client would read gets through.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import storemount

CHECKOUT = Path(storemount.__file__).resolve().parent.parent
_KEPT = ("PATH", "TMPDIR", "TERM", "TZ")


def environment(home: Path) -> dict[str, str]:
    """What a login with this home folder would have set, and no more."""
    return {
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "STOREMOUNT_SYSTEM_CONFIG": str(home / "etc"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


class Storemount:
    """One user's storemount: the command, with this user's home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = environment(home)
        for name in ("data", "config", "state", "cache", "run", "etc"):
            (home / name).mkdir(parents=True, exist_ok=True)

    def run(self, *words: str, within: float = 60.0, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run to the end and give back exit code and output; a command that takes longer fails the test."""
        return subprocess.run(
            [sys.executable, "-m", "storemount", *words],
            env={**self.environment, **(environ or {})},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
        )

    def must(self, *words: str, within: float = 60.0) -> str:
        """Run a command that has to succeed; its standard output."""
        done = self.run(*words, within=within)
        assert done.returncode == 0, f"storemount {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def register(self, name: str, flavor: str, path: str, attributes: Mapping[str, str]) -> str:
        """Register a store; its name."""
        self.must(
            "artifact-store", "register", name, "-f", flavor, "--path", path, *(f"--{key}={value}" for key, value in attributes.items())
        )
        return name
