"""The README's examples of stores of one's own: what stands there is what is run, word for word."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.command import CHECKOUT, Storemount
from tests.support.mounting import temporary_home


@pytest.fixture
def place() -> Iterator[Path]:
    """A home of its own, and the folder where the user is."""
    with temporary_home() as home:
        (home / "work").mkdir()
        yield home / "work"


def blocks(heading: str, language: str) -> list[str]:
    """The blocks of this language below this heading."""
    text = (CHECKOUT / "README.md").read_text()
    section = re.split(r"^#+ ", text.split(f"\n### {heading}\n", 1)[1].split("\n### ")[0], maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found, f"no {language} below {heading!r}"
    return found


def run(place: Path, script: str) -> str:
    """A shell's output, on which every command succeeds; nothing is left mounted."""
    command = f'storemount() {{ {shlex.quote(sys.executable)} -m storemount "$@"; }}\n{script}'
    environment = Storemount(place.parent).environment
    done = subprocess.run(["bash", "-euc", command], cwd=place, env=environment, capture_output=True, text=True, timeout=90)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if f" {place}/" in line:
            subprocess.run(["fusermount3", "-uz", line.split()[4]], check=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_file_system_of_fsspec(place: Path) -> None:
    script = blocks("Any file system of fsspec", "sh")[0]
    said = run(place, script)
    assert "zip:// is mounted on" in said and "\nto be read\n" in said
    assert "storemount: nothing can be written (S5): this file system of fsspec only reads\n" in said


def test_S10_S11_the_class(place: Path) -> None:
    (module,), (script,) = blocks("A class of your own", "python"), blocks("A class of your own", "sh")
    (place / "my_stores.py").write_text(module)
    said = run(place, script)
    assert f"Successfully registered flavor `sqlite` (my_stores.SqliteStore, found in {place})." in said
    assert not re.search(r"\(S\d+\)", said), "this class can do everything"
    with closing(sqlite3.connect(place / "notes.db")) as database:
        rows = database.execute("SELECT path, data FROM files ORDER BY path").fetchall()
    assert rows == [("sqlite://notes", None), ("sqlite://notes/2026", None), ("sqlite://notes/2026/first.txt", b"hello\n")]
    logs = place.parent / "state/storemount/logs"
    assert [log.read_text() for log in logs.iterdir()] == [""]
    assert os.listdir(place / "notes") == []
