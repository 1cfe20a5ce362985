"""What the store refuses for good: who is told, where it stays, and how it goes on (S16, S7).

A cloud refuses everything in its own words; a local folder refuses a file whose directory somebody has replaced by a file, as nothing else
is refused to root.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from storemount.errors import ExitCode
from tests.support.clouds import refusals
from tests.support.command import Storemount
from tests.support.mounting import AZURE, GCS, REMOTE, STORES, Mount, bucket_mount, mount_of, mounted
from tests.support.outside import Outside
from tests.support.proxy import Proxy
from tests.support.servers import BucketClient
from tests.support.waiting import eventually

SUBJECTS = (STORES[0], REMOTE[0], AZURE[0], GCS[1])
DATA = os.urandom(300_000)
OPTIONS = ("--deadline", "4s", "--ttl", "60s")


@dataclass
class Trouble:
    """A mount whose store takes nothing below `d/` between `begin` and `end`; a program hears one of `numbers`."""

    mount: Mount
    outside: Outside
    numbers: frozenset[int]
    begin: Callable[[], object]
    end: Callable[[], object]

    @property
    def file(self) -> Path:
        return self.mount.point / "d/file"


def in_a_bucket(mount: Mount, outside: Outside, relay: Proxy, kind: str) -> Trouble:
    outside.put("d/", b"")
    denied = frozenset({errno.EACCES})
    return Trouble(mount, outside, denied, lambda: relay.become(refusals(kind).denied), lambda: relay.become(relay.forward))


def in_a_folder(mount: Mount, outside: Outside) -> Trouble:
    def begin() -> None:
        outside.delete("d/")
        outside.put("d", b"")

    outside.put("d/", b"")
    return Trouble(mount, outside, frozenset({errno.ENOTDIR, errno.EEXIST}), begin, lambda: outside.delete("d"))


@pytest.fixture
def trouble(request: pytest.FixtureRequest, storemount: Storemount, kind: str, outside: Outside) -> Iterator[Trouble]:
    """Mounted by the test."""
    if kind in (*REMOTE, *AZURE, *GCS):
        relay: Proxy = request.getfixturevalue("relay")
        made = in_a_bucket(mount_of(storemount, kind, outside, OPTIONS, {"endpoint": relay.endpoint}), outside, relay, kind)
    else:
        made = in_a_folder(mount_of(storemount, kind, outside, OPTIONS), outside)
    made.mount.expect(r"WARNING storemount\.kernel\.verbs")
    made.mount.expect(r"put of '(d/file|another)' was refused")
    yield made


def begin(trouble: Trouble) -> None:
    """The mount knows its directories, and asks nothing more of a store that now refuses."""
    assert os.listdir(trouble.mount.point) == ["d"]
    assert os.listdir(trouble.mount.point / "d") == []
    trouble.begin()


def refused(trouble: Trouble) -> bool:
    return bool(trouble.mount.status()["refused"])


def code_of(act: Callable[[], object]) -> int | None:
    try:
        act()
    except OSError as error:
        return error.errno
    return None


def write(path: Path, data: bytes) -> int | None:
    """The errno of the close alone."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, data)
    return code_of(lambda: os.close(descriptor))


def sync(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return code_of(lambda: os.fsync(descriptor))
    finally:
        os.close(descriptor)


def test_S16_the_program_hears_of_it(trouble: Trouble, storemount: Storemount) -> None:
    """At the fsync, and at the next close of that file; not when some other file is closed."""
    with mounted(trouble.mount):
        begin(trouble)
        assert write(trouble.file, DATA) is None
        assert sync(trouble.file) in trouble.numbers
        assert eventually(lambda: refused(trouble))
        assert trouble.file.read_bytes() == DATA
        assert write(trouble.file, DATA) in trouble.numbers
        assert sync(trouble.file.parent) in trouble.numbers
        assert write(trouble.mount.point / "another", b"") is None
        trouble.end()
        storemount.must("retry", "--all")


def test_S16_it_is_listed_and_logged_and_retried_when_the_cause_is_mended(trouble: Trouble, storemount: Storemount) -> None:
    mount = trouble.mount
    with mounted(mount):
        begin(trouble)
        assert write(trouble.file, DATA) is None
        done = storemount.run("flush", str(mount.point))
        assert done.returncode == ExitCode.NOT_DRAINED
        assert done.stderr.startswith(f"storemount: 1 change refused by the store:\n  {trouble.file}: ")
        status = mount.status()
        assert (status["refused"], status["pending"]) == (1, 1)
        (row,) = status["failed"]
        assert (row["path"], row["kind"], row["refused"], row["whole"]) == ("d/file", "put", True, True)
        assert Path(row["kept"]).read_bytes() == DATA and Path(row["kept"]).parent.name == "kept"
        assert f"{trouble.file}: " in storemount.must("status")
        assert f"then: storemount retry {trouble.file})" in storemount.must("status", str(mount.point))
        assert "put of 'd/file' was refused" in mount.log.read_text()
        trouble.end()
        assert storemount.must("retry", str(trouble.file)) == "1 change tried again\n"
        storemount.must("flush", str(mount.point))
        assert trouble.outside.get("d/file") == DATA
        assert mount.status()["refused"] == 0
        assert write(trouble.file, b"and now?") is None


def test_S16_what_is_refused_again_is_kept_again(trouble: Trouble, storemount: Storemount) -> None:
    with mounted(trouble.mount):
        begin(trouble)
        write(trouble.file, DATA)
        assert eventually(lambda: refused(trouble))
        assert storemount.must("retry", "--all") == "1 change tried again\n"
        assert storemount.run("flush", str(trouble.file)).returncode == ExitCode.NOT_DRAINED
        assert refused(trouble) and trouble.file.read_bytes() == DATA
        trouble.end()
        storemount.must("retry", str(trouble.mount.point))


def test_S16_its_bytes_can_be_had(trouble: Trouble, storemount: Storemount, tmp_path: Path) -> None:
    with mounted(trouble.mount):
        begin(trouble)
        write(trouble.file, DATA)
        assert eventually(lambda: refused(trouble))
        assert storemount.must("export", str(trouble.file), str(tmp_path)) == f"293 KiB copied to {tmp_path}/file\n"
        assert (tmp_path / "file").read_bytes() == DATA
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
        done = storemount.run("export", str(trouble.file), str(tmp_path / "file"))
        assert done.returncode == ExitCode.USAGE and "exists already" in done.stderr
        assert storemount.run("export", str(trouble.file), str(tmp_path / "no/such/folder")).returncode == ExitCode.UNEXPECTED
        trouble.end()
        storemount.must("retry", str(trouble.file))
        storemount.must("flush", str(trouble.file))
        done = storemount.run("export", str(trouble.file), str(tmp_path / "again"))
        assert done.returncode == ExitCode.USAGE and "no upload of 'd/file' is pending" in done.stderr
        assert not (tmp_path / "again").exists()


def test_S16_it_is_kept_over_a_stop_and_a_start(trouble: Trouble, storemount: Storemount) -> None:
    mount = trouble.mount
    mount.expect("stopped with 1 changes not in the store")
    with mounted(mount):
        begin(trouble)
        write(trouble.file, DATA)
        assert eventually(lambda: refused(trouble))
        done = storemount.run("unmount", str(mount.point))
        assert done.returncode == ExitCode.NOT_DRAINED and "d/file" in done.stderr
        mount.gone()
        trouble.end()
        mount.start()
        assert mount.status()["refused"] == 1
        assert trouble.file.read_bytes() == DATA
        storemount.must("retry", "--all")
        storemount.must("flush", str(mount.point))
        assert trouble.outside.get("d/file") == DATA


def test_S16_removing_it_ends_it(trouble: Trouble, storemount: Storemount) -> None:
    """Nobody wants it any more: no retry is needed, and nothing of it is left."""
    with mounted(trouble.mount):
        begin(trouble)
        write(trouble.file, DATA)
        assert eventually(lambda: refused(trouble))
        trouble.end()
        trouble.file.unlink()
        storemount.must("flush", str(trouble.mount.point))
        status = trouble.mount.status()
        assert (status["pending"], status["refused"], status["staged_bytes"]) == (0, 0, 0)


def test_S7_write_through_tells_the_close_itself(trouble: Trouble) -> None:
    trouble.mount.options = (*trouble.mount.options, "--write-through")
    with mounted(trouble.mount):
        begin(trouble)
        assert write(trouble.file, DATA) in trouble.numbers
        assert trouble.file.read_bytes() == DATA
        trouble.end()
        trouble.file.unlink()


def test_a_write_to_a_read_only_mount(storemount: Storemount, bucket: BucketClient) -> None:
    with mounted(bucket_mount(storemount, "s3-native", bucket, (*OPTIONS, "--read-only"))) as mount:
        assert code_of(lambda: (mount.point / "new").write_bytes(b"")) == errno.EROFS
