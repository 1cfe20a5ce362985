"""`--supervise`: a daemon that dies comes back, with its mountpoint and its journal (S7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from storemount.errors import ExitCode
from tests.support.command import Storemount
from tests.support.mounting import Mount, mounted
from tests.support.readme import told
from tests.support.waiting import eventually, exited


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _reads(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def test_S7_a_daemon_that_was_killed_comes_back_and_programs_that_held_paths_go_on(storemount: Storemount) -> None:
    mount = Mount(storemount, "default", ("--supervise",))
    mount.expect(r"the daemon \(process \d+\) died of SIGKILL; starting it again")
    with mounted(mount):
        waiting = _parent(mount.pid)
        for _ in range(2):
            killed = mount.pid
            (mount.point / "file").write_bytes(b"%d" % killed)
            mount.kill()
            assert eventually(lambda text=b"%d" % killed: _reads(mount.point / "file", text))
            mount.pid = int(mount.status()["pid"])
            assert mount.pid != killed and _parent(mount.pid) == waiting
            assert told("died of SIGKILL; starting it again", mount.log.read_text())
        mount.stop()
        assert exited(waiting)
        assert not list(mount.point.iterdir())
        assert (storemount.home / "data/storemount/default/file").read_bytes() == b"%d" % killed


@pytest.mark.parametrize("words", [("nowhere", "mnt", "--supervise"), ("default", "mnt", "--supervise", "-f")])
def test_a_mount_that_cannot_be_supervised_ends_with_one_line(storemount: Storemount, words: tuple[str, ...]) -> None:
    (storemount.home / "mnt").mkdir(exist_ok=True)
    done = storemount.run(*words)
    assert done.returncode in (ExitCode.UNKNOWN_STORE, ExitCode.USAGE)
    assert len(done.stderr.splitlines()) == 1
