"""Real input: the standard library's own sources go in through the mount and come back the same (S1, S7, S8)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.command import Storemount
from tests.support.mounting import REMOTE, STORES, Mount, mount_of, mounted
from tests.support.outside import Outside, contents

LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
REMOTE_FILES = 800
"""A test server takes a hundred or two requests a second: on S3 the tree is cut to so many files."""


def sources(limit: int | None) -> Iterator[Path]:
    """Files of the standard library, without tests, caches, links and other people's packages."""
    base = Path(sysconfig.get_path("stdlib"))
    count = 0
    for folder, folders, files in os.walk(base):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        for name in sorted(files):
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file():
                continue
            count += 1
            if limit is not None and count > limit:
                return
            yield path.relative_to(base)


@pytest.fixture
def tree(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy on the local disk: what the mount is compared with."""
    base, target = Path(sysconfig.get_path("stdlib")), tmp_path / "Lib"
    for name in sources(REMOTE_FILES if request.node.callspec.params["kind"] in REMOTE else None):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(base / name, target / name)
    return target


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", (STORES[0], REMOTE[0]))
def test_S1_the_standard_library(kind: str, tree: Path, fresh_store: Callable[[str], Outside], storemount: Storemount) -> None:
    outside = fresh_store(kind)
    with mounted(mount_of(storemount, kind, outside)) as mount, mount.watched(200):
        subprocess.run(["cp", "-a", tree, mount.point / "Lib"], check=True)
    expected = {f"Lib/{path.relative_to(tree)}": path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    assert len(expected) > 500
    found = contents(outside, "")
    assert found.keys() == expected.keys()
    assert [key for key, data in expected.items() if found[key] != data] == []
    with mounted(Mount(storemount, mount.store, mount.options)) as mount, mount.watched(200):
        compared = subprocess.run(["diff", "-r", tree, mount.point / "Lib"], capture_output=True, text=True)
        assert (compared.stdout, compared.returncode) == ("", 0)
