"""What the kernel says is mounted, and who uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from storemount.kernel.mountinfo import Mounted, mounted_at, mounts, parse, users_of

LINES = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
45 27 0:42 / /mnt/with\040space\134and\011tab ro,nosuid shared:7 master:1 - fuse.storemount my\040store ro,user_id=1000,group_id=1
46 27 0:43 / /mnt/b rw - fuse.sshfs host:/ rw,group_id=5,user_id=0
"""


def test_fields_are_read_with_their_escapes() -> None:
    assert parse(LINES) == [
        Mounted("/proc", "proc", "proc", None),
        Mounted("/mnt/with space\\and\ttab", "fuse.storemount", "my store", 1000),
        Mounted("/mnt/b", "fuse.sshfs", "host:/", 0),
    ]
    assert [mounted.ours for mounted in parse(LINES)] == [False, True, False]


def test_this_machine_can_be_read() -> None:
    assert mounted_at("/proc") in mounts()
    assert mounted_at("/proc/no/such/place") is None


@pytest.mark.parametrize("way", ["cwd", "open file", "mapped file"])
def test_who_uses_a_folder_is_named(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "used"
    folder.mkdir()
    (folder / "file").write_bytes(b"x" * 100)
    (tmp_path / "used-not").mkdir()
    programs = {
        "cwd": f"os.chdir({str(folder)!r})",
        "open file": f"file = open({str(folder / 'file')!r})",
        "mapped file": f"file = open({str(folder / 'file')!r}); mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ); file.close()",
    }
    program = f"import mmap, os\n{programs[way]}\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as user:
        assert user.stdin and user.stdout
        user.stdout.readline()
        found = list(users_of(str(folder)))
        other = list(users_of(str(tmp_path / "used-not")))
        user.stdin.write(b"\n")
        user.stdin.flush()
    assert [name.rpartition(" ")[2] for name in found] == [f"({user.pid})"]
    assert not other
    assert found[0].startswith(os.path.basename(sys.executable)[:6])
