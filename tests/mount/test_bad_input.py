"""Bad input to the command: each is one line that says what to do, and its own exit code (S14, S16)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storemount.errors import ExitCode
from tests.support.command import Storemount
from tests.support.faults import faulty_server, refused_address, silence
from tests.support.mounting import REMOTE, Mount, mounted, temporary_home
from tests.support.servers import BucketClient, S3Server


@pytest.fixture
def home() -> Iterator[Path]:
    """A home of the test's own, so that a registry or a mountpoint it breaks is nobody else's."""
    with temporary_home() as folder:
        yield folder


@pytest.fixture
def storemount(home: Path) -> Storemount:
    (home / "store").mkdir()
    (home / "mnt").mkdir()
    return Storemount(home)


def refused(storemount: Storemount, *words: str, code: ExitCode, says: str, within: float = 30.0) -> None:
    """The command ends with this code and one line on standard error; nothing is mounted, and there is no traceback."""
    done = storemount.run(*words, within=within)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("storemount: ")
    assert re.search(says, done.stderr), done.stderr
    assert f" {storemount.home}/mnt" not in Path("/proc/self/mountinfo").read_text()


def test_unknown_store_suggests_near_ones(storemount: Storemount) -> None:
    storemount.register("training", "local", str(storemount.home / "store"), {})
    refused(storemount, "trainning", "mnt", code=ExitCode.UNKNOWN_STORE, says="training")


def test_unknown_flavor(storemount: Storemount) -> None:
    words = ("artifact-store", "register", "x", "-f", "s4", "--path", "s3://bucket")
    refused(storemount, *words, code=ExitCode.BAD_CONFIGURATION, says="s3")


def test_unknown_attribute(storemount: Storemount) -> None:
    words = ("artifact-store", "register", "x", "-f", "s3", "--path", "s3://bucket", "--secrets=x")
    refused(storemount, *words, code=ExitCode.BAD_CONFIGURATION, says="secret")


@pytest.mark.parametrize(("flavor", "path"), [("s3", "gs://bucket"), ("s3", "/folder"), ("local", "s3://bucket")])
def test_wrong_scheme_for_a_flavor(storemount: Storemount, flavor: str, path: str) -> None:
    words = ("artifact-store", "register", "x", "-f", flavor, "--path", path)
    refused(storemount, *words, code=ExitCode.BAD_CONFIGURATION, says=f"'x': the path of the flavor {flavor} begins with")


def test_unknown_scheme(storemount: Storemount) -> None:
    refused(storemount, "s33://bucket", "mnt", code=ExitCode.BAD_CONFIGURATION, says="s33")


def test_store_named_like_a_command(storemount: Storemount) -> None:
    for name in ("status", "unmount", "artifact-store"):
        words = ("artifact-store", "register", name, "-f", "local", "--path", "store")
        refused(storemount, *words, code=ExitCode.BAD_CONFIGURATION, says=name)


def s3_store(storemount: Storemount, server: S3Server, bucket: str = "some", **attributes: str) -> str:
    return storemount.register("remote", "s3", f"s3://{bucket}", {**server.attributes(), **attributes})


@pytest.mark.parametrize("kind", REMOTE)
def test_missing_bucket(storemount: Storemount, s3_server: S3Server, kind: str) -> None:
    store = s3_store(storemount, s3_server, "no-such-bucket")
    refused(storemount, store, "mnt", "--engine", kind.removeprefix("s3-"), code=ExitCode.STORE_MISSING, says="no-such-bucket")


@pytest.mark.parametrize("kind", REMOTE)
def test_endpoint_down(storemount: Storemount, s3_server: S3Server, kind: str) -> None:
    with refused_address() as address:
        store = s3_store(storemount, s3_server, endpoint=address)
        words = (store, "mnt", "--deadline", "3s", "--engine", kind.removeprefix("s3-"))
        start = time.monotonic()
        refused(storemount, *words, code=ExitCode.STORE_UNREACHABLE, says="remote")
        assert time.monotonic() - start < 3 + 3


@pytest.mark.parametrize("kind", REMOTE)
def test_endpoint_that_never_answers(storemount: Storemount, s3_server: S3Server, kind: str) -> None:
    """S14: within the deadline, and a second or two to start."""
    with faulty_server(silence) as address:
        store = s3_store(storemount, s3_server, endpoint=address)
        words = (store, "mnt", "--deadline", "2s", "--engine", kind.removeprefix("s3-"))
        start = time.monotonic()
        refused(storemount, *words, code=ExitCode.STORE_UNREACHABLE, says="remote")
        assert time.monotonic() - start < 2 + 3


def test_missing_folder_of_a_local_store(storemount: Storemount) -> None:
    refused(storemount, f"file://{storemount.home}/absent", "mnt", code=ExitCode.STORE_MISSING, says="absent")


def test_mountpoint_missing(storemount: Storemount) -> None:
    refused(storemount, "default", "absent", code=ExitCode.BAD_MOUNTPOINT, says="mkdir")


def test_mountpoint_not_a_directory(storemount: Storemount) -> None:
    (storemount.home / "file").touch()
    refused(storemount, "default", "file", code=ExitCode.BAD_MOUNTPOINT, says="directory")


def test_mountpoint_not_empty(storemount: Storemount) -> None:
    (storemount.home / "mnt/something").touch()
    refused(storemount, "default", "mnt", code=ExitCode.BAD_MOUNTPOINT, says="empty")


def test_mountpoint_inside_its_store(storemount: Storemount) -> None:
    (storemount.home / "store/mnt").mkdir()
    refused(storemount, f"file://{storemount.home}/store", "store/mnt", code=ExitCode.BAD_MOUNTPOINT, says="store")


def test_already_mounted(storemount: Storemount) -> None:
    with mounted(Mount(storemount, "default")) as mount:
        done = storemount.run("default", str(mount.point))
        assert done.returncode == ExitCode.BAD_MOUNTPOINT
        assert "already" in done.stderr and len(done.stderr.splitlines()) == 1
        (mount.point / "still").write_bytes(b"works")


def test_a_dead_mount_is_cleared(storemount: Storemount) -> None:
    """After `kill -9` the mountpoint says "transport endpoint is not connected"; mounting there again works."""
    with mounted(Mount(storemount, "default")) as mount:
        (mount.point / "file").write_bytes(b"x")
        descriptor = os.open(mount.point / "file", os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        mount.kill()
        with pytest.raises(OSError, match="not connected"):
            os.listdir(mount.point)
        mount.start()
        assert (mount.point / "file").read_bytes() == b"x"


def test_unmounting_a_dead_mount_clears_it(storemount: Storemount) -> None:
    with mounted(Mount(storemount, "default")) as mount:
        mount.kill()
        done = storemount.run("unmount", str(mount.point))
        assert done.returncode == ExitCode.OK
        assert not mount.mounted


def test_S16_unmounting_a_dead_mount_names_what_it_had_not_saved(storemount: Storemount) -> None:
    """Exit 0 means that everything is in the store; a daemon that was killed too early has not seen to that."""
    with mounted(Mount(storemount, "default")) as mount:
        (mount.point / "precious").write_bytes(b"closed, but not uploaded")
        mount.kill()
        kept = not (storemount.home / "data/storemount/default/precious").exists()
        done = storemount.run("unmount", str(mount.point))
        assert done.returncode == (ExitCode.NOT_DRAINED if kept else ExitCode.OK)


def test_unmounting_what_is_not_mounted(storemount: Storemount) -> None:
    refused(storemount, "unmount", "mnt", code=ExitCode.NOT_MOUNTED, says="mnt")


def test_unmounting_what_is_in_use(storemount: Storemount) -> None:
    """One line that names who holds it; the mount goes on."""
    with mounted(Mount(storemount, "default")) as mount:
        with subprocess.Popen(["sleep", "60"], cwd=mount.point) as holder:
            done = storemount.run("unmount", str(mount.point))
            holder.send_signal(signal.SIGTERM)
        assert done.returncode == ExitCode.BUSY
        assert "sleep" in done.stderr and len(done.stderr.splitlines()) == 1
        (mount.point / "file").write_bytes(b"it goes on")


def test_no_fusermount3(storemount: Storemount, tmp_path: Path) -> None:
    """An ordinary user cannot mount without it; root's way out is storemount's business, as long as it says what is missing."""
    done = storemount.run("default", "mnt", environ={"PATH": str(tmp_path)})
    assert done.returncode == ExitCode.NO_FUSE
    assert "fuse3" in done.stderr and len(done.stderr.splitlines()) == 1


def test_no_arguments_shows_help(storemount: Storemount) -> None:
    done = storemount.run()
    assert "Usage" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("option", "value"), [("--ttl", "soon"), ("--cache-size", "much"), ("--engine", "steam"), ("--uid", "x"), ("--umask", "9")]
)
def test_options_that_do_not_parse(storemount: Storemount, option: str, value: str) -> None:
    done = storemount.run("default", "mnt", option, value)
    assert done.returncode == ExitCode.USAGE
    assert value in done.stderr
    assert "Traceback" not in done.stderr


def test_staging_folder_that_cannot_be_made(storemount: Storemount) -> None:
    (storemount.home / "file").touch()
    refused(storemount, "default", "mnt", "--staging-dir", "file/below", code=ExitCode.BAD_CONFIGURATION, says="file/below")


def test_secrets_are_not_in_any_process_list(storemount: Storemount, bucket: BucketClient) -> None:
    """S3's secret is in the registry; the daemon's command line and environment have nothing of it."""
    store = storemount.register("vault", "s3", bucket.uri, {**bucket.server.attributes(), "secret": "hush-hush"})
    with mounted(Mount(storemount, store)) as mount:
        for name in ("cmdline", "environ"):
            assert b"hush-hush" not in Path(f"/proc/{mount.pid}/{name}").read_bytes()
        assert "hush-hush" not in mount.log.read_text()
