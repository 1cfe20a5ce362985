"""What a build tool relies on survives a remount, here and on another machine, and is what other tools write and read (S12)."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.command import Storemount
from tests.support.mounting import AZURE, GCS, REMOTE, Mount, bucket_mount, mount_of, mounted
from tests.support.outside import Outside
from tests.support.proxy import Proxy
from tests.support.servers import REGION, BucketClient
from tests.support.waiting import eventually, synced

TIME = 1_234_567_890_123_456_789
MAKEFILE = "result: source tool\n\t./tool < source > result\n"

needs_rclone = pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is not on PATH")
needs_s3fs = pytest.mark.skipif(shutil.which("s3fs") is None, reason="s3fs-fuse is not on PATH")


def run(*words: str | Path, cwd: Path | None = None, environ: dict[str, str] | None = None) -> str:
    """Run a program that has to succeed; its output. Of the environment it has the path, and `environ`."""
    env = {"PATH": os.environ["PATH"], "HOME": "/nowhere", **(environ or {})}
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def mount(bucket: BucketClient, storemount: Storemount) -> Mount:
    """Not started; of one engine: the contract of the stores compares them."""
    return bucket_mount(storemount, REMOTE[0], bucket)


def again(mount: Mount, *options: str) -> Mount:
    """The same store, mounted by this machine at another place."""
    return Mount(mount.command, mount.store, (*mount.options, *options))


def elsewhere(mount: Mount, folder: Path) -> Mount:
    """As another machine mounts it, which has nothing but the store."""
    return again(mount, "--staging-dir", str(folder / "another machine"), "--metadata", "full")


def make(base: Path) -> None:
    (base / "file").write_bytes(b"#!/bin/sh\necho works\n")
    (base / "file").chmod(0o750)
    os.setxattr(base / "file", "user.colour", "grün".encode())
    os.utime(base / "file", ns=(TIME, TIME))
    (base / "link").symlink_to("folder/below")
    (base / "folder").mkdir(mode=0o700)
    (base / "folder/below").write_bytes(b"below")
    if os.getuid() == 0:
        os.chown(base / "folder/below", 12345, 54321)


def check(base: Path, *, owner: bool = True) -> None:
    assert sorted(os.listdir(base)) == ["file", "folder", "link"]
    status = (base / "file").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o750, TIME)
    assert os.getxattr(base / "file", "user.colour") == "grün".encode()
    assert os.readlink(base / "link") == "folder/below"
    assert stat.S_IMODE((base / "folder").stat().st_mode) == 0o700
    assert (base / "link").read_bytes() == b"below"
    if owner and os.getuid() == 0:
        assert ((base / "folder/below").stat().st_uid, (base / "folder/below").stat().st_gid) == (12345, 54321)
    assert run(base / "file") == "works\n"


@pytest.mark.parametrize("kind", [*REMOTE, *AZURE, *GCS])
def test_S12_metadata_survives_remounts_on_every_machine(
    kind: str, fresh_store: Callable[[str], Outside], storemount: Storemount, tmp_path: Path
) -> None:
    mount = mount_of(storemount, kind, fresh_store(kind))
    with mounted(mount):
        make(mount.point)
        check(mount.point)
    with mounted(again(mount)) as other:
        check(other.point)
    with mounted(elsewhere(mount, tmp_path)) as other:
        check(other.point)


def test_S12_a_change_after_the_upload_resets_nothing(mount: Mount, bucket: BucketClient) -> None:
    bucket._s3.put_object(Bucket=bucket.name, Key="page", Body=b"x", ContentType="text/html", Metadata={"project": "apollo"})
    with mounted(mount):
        assert (mount.point / "page").read_bytes() == b"x"
        ino = (mount.point / "page").stat().st_ino
        (mount.point / "page").chmod(0o755)
        os.utime(mount.point / "page", ns=(TIME, TIME))
        synced(mount.point / "page")
        assert (mount.point / "page").stat().st_ino == ino
        assert (mount.point / "page").read_bytes() == b"x"
    head = bucket.head("page")
    assert head is not None and head["ContentType"] == "text/html"
    assert head["Metadata"] == {"project": "apollo", "mode": "0100755", "mtime": "1234567890.123456789"}


def test_S12_links_are_seen_by_a_listing_alone(bucket: BucketClient, proxy: Proxy, storemount: Storemount) -> None:
    for number in range(100):
        bucket.put(f"d/{number}.rclonelink", b"target")
    mount = bucket_mount(storemount, REMOTE[0], bucket, (), {"endpoint": proxy.endpoint})
    with mounted(mount):
        (mount.point / "d").stat()
        before = proxy.connections
        with os.scandir(mount.point / "d") as entries:
            assert sum(entry.is_symlink() and entry.stat(follow_symlinks=False).st_size == 6 for entry in entries) == 100
        assert proxy.connections - before <= 2


def test_S12_more_attributes_than_the_store_takes_are_refused_at_once(mount: Mount) -> None:
    with mounted(mount):
        (mount.point / "f").write_bytes(b"x")
        os.setxattr(mount.point / "f", "user.fits", bytes(500))
        with pytest.raises(OSError, match="No space left"):
            os.setxattr(mount.point / "f", "user.too-much", bytes(1000))
        synced(mount.point / "f")
        assert os.listxattr(mount.point / "f") == ["user.fits"]


def test_S12_a_work_tree_is_clean_and_built_after_a_remount(mount: Mount, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / "Makefile").write_text(MAKEFILE)
    (origin / ".gitignore").write_text("result\n")
    (origin / "tool").write_text("#!/bin/sh\ntr a-z A-Z\n")
    (origin / "tool").chmod(0o755)
    (origin / "text").write_text("words\n")
    (origin / "source").symlink_to("text")
    git = ["git", "-c", "user.name=tester", "-c", "user.email=tester@example.invalid", "-c", "safe.directory=*"]
    for words in (["init", "-q", "."], ["add", "."], ["commit", "-q", "-m", "first"]):
        run(*git, *words, cwd=origin)
    with mounted(mount):
        run(*git, "clone", "-q", origin, mount.point / "work")
        run("make", cwd=mount.point / "work")
        assert (mount.point / "work/result").read_text() == "WORDS\n"
    with mounted(again(mount)) as other:
        assert run(*git, "status", "--porcelain", cwd=other.point / "work") == ""
        run("make", "--question", cwd=other.point / "work")
    with mounted(elsewhere(mount, tmp_path)) as other:
        assert run(*git, "status", "--porcelain", cwd=other.point / "work") == ""
        run("make", "--question", cwd=other.point / "work")
        run("make", "--always-make", cwd=other.point / "work")


# other tools


@pytest.fixture
def rclone(bucket: BucketClient) -> dict[str, str]:
    """rclone's remote `it:`, as its environment wants it."""
    settings = {"type": "s3", "provider": "Other", "endpoint": bucket.server.endpoint, "region": REGION}
    settings |= {"access_key_id": bucket.server.key, "secret_access_key": bucket.server.secret}
    return {"RCLONE_CONFIG": "/dev/null", **{f"RCLONE_CONFIG_IT_{name.upper()}": value for name, value in settings.items()}}


@needs_rclone
def test_S12_rclone_reads_what_we_write_and_we_read_what_it_writes(
    mount: Mount, bucket: BucketClient, rclone: dict[str, str], tmp_path: Path
) -> None:
    with mounted(mount):
        make(mount.point)
    taken, made = tmp_path / "taken", tmp_path / "made"
    run("rclone", "copy", "--metadata", "--links", f"it:{bucket.name}", taken, environ=rclone)
    assert os.readlink(taken / "link") == "folder/below"
    status = (taken / "file").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o750, TIME)
    made.mkdir()
    make(made)
    run("rclone", "copy", "--metadata", "--links", made, f"it:{bucket.name}/theirs", environ=rclone)
    with mounted(elsewhere(mount, tmp_path)) as other:
        theirs = other.point / "theirs"
        status = (theirs / "file").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o750, TIME)
        assert os.readlink(theirs / "link") == "folder/below"


@contextmanager
def s3fs(bucket: BucketClient, folder: Path, options: Sequence[str] = ()) -> Iterator[Path]:
    """The bucket, mounted by s3fs-fuse."""
    point, secret = folder / "s3fs", folder / "secret"
    point.mkdir()
    secret.write_text(f"{bucket.server.key}:{bucket.server.secret}\n")
    secret.chmod(0o600)
    words = [f"url={bucket.server.endpoint}", f"passwd_file={secret}", "use_path_request_style", "use_xattr", *options]
    run("s3fs", bucket.name, point, *(word for option in words for word in ("-o", option)))
    try:
        assert eventually(lambda: os.path.ismount(point), 10)
        yield point
    finally:
        run("fusermount3" if shutil.which("fusermount3") else "fusermount", "-u", point)


@needs_s3fs
def test_S12_s3fs_fuse_reads_what_we_write_and_we_read_what_it_writes(mount: Mount, bucket: BucketClient, tmp_path: Path) -> None:
    with mounted(mount):
        make(mount.point)
    with s3fs(bucket, tmp_path) as theirs:
        status = (theirs / "file").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns // 10**9) == (0o750, TIME // 10**9)
        assert os.getxattr(theirs / "file", "user.colour") == "grün".encode()
        assert stat.S_IMODE((theirs / "folder").stat().st_mode) == 0o700
        (theirs / "theirs").mkdir()
        make(theirs / "theirs")
    with mounted(elsewhere(mount, tmp_path)) as other:
        check(other.point / "theirs")
