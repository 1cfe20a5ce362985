"""Who may do what: other users with and without `--allow-other`, permission bits and owners, and mounts that are read-only (S12).

Other users are real ones: each look from outside is a process with another uid.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storemount.errors import ExitCode
from tests.support.command import Storemount
from tests.support.mounting import Mount, mount_of, mounted, temporary_home
from tests.support.ordinary import NOBODY, SOMEBODY, as_user, home_of_nobody, readable_copy, readable_python
from tests.support.outside import Outside, contents

KINDS = ("local", "s3-native")

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be several users")


@pytest.fixture
def storemount() -> Iterator[Storemount]:
    """In a home that others may pass through."""
    with temporary_home() as home:
        home.chmod(0o711)
        yield Storemount(home)


@pytest.fixture(params=KINDS)
def outside(request: pytest.FixtureRequest, fresh_store: Callable[[str], Outside]) -> Outside:
    return fresh_store(request.param)


@contextmanager
def shown(storemount: Storemount, outside: Outside, request: pytest.FixtureRequest, *options: str) -> Iterator[Mount]:
    """The store with one file in one directory, mounted with these options."""
    kind = request.node.callspec.params["outside"]
    outside.put("d/file", b"content")
    with mounted(mount_of(storemount, kind, outside, options)) as mount:
        yield mount


def shell(script: str, place: Path, uid: int = NOBODY.pw_uid) -> tuple[int, str]:
    """What came of this script in `place` as this user (and its group): exit code, and what it said."""
    done = as_user("sh", "-c", f'ls -d "$0/." >/dev/null && cd "$0" && {script}', place, home=Path("/"), uid=uid, gid=uid, within=30)
    return done.returncode, done.stdout + done.stderr


@as_root
@pytest.mark.parametrize("outside", KINDS[1:], indirect=True)
def test_without_allow_other_another_user_is_not_let_in(storemount: Storemount, outside: Outside, request: pytest.FixtureRequest) -> None:
    with shown(storemount, outside, request) as mount:
        code, said = shell("cat d/file", mount.point)
        assert code and "Permission denied" in said
        assert (mount.point / "d/file").read_bytes() == b"content"


@as_root
@pytest.mark.parametrize("outside", KINDS[1:], indirect=True)
def test_with_allow_other_the_permission_bits_decide(storemount: Storemount, outside: Outside, request: pytest.FixtureRequest) -> None:
    with shown(storemount, outside, request, "--allow-other") as mount:
        assert shell("cat d/file && ls", mount.point) == (0, "contentd\n")
        for changes in ("echo > new", "echo >> d/file", "rm -f d/file", "mkdir other", "mv d other", "chmod 777 d", "touch d/file"):
            code, said = shell(changes, mount.point)
            assert code and ("Permission denied" in said or "not permitted" in said), changes
        assert os.listdir(mount.point) == ["d"]
        (mount.point / "d").chmod(0o700)
        assert shell("cat d/file", mount.point)[0]


@as_root
def test_S12_what_another_user_makes_is_that_users_also_after_a_remount(
    storemount: Storemount, outside: Outside, request: pytest.FixtureRequest
) -> None:
    with shown(storemount, outside, request, "--allow-other", "--umask", "000") as mount:
        mount.point.chmod(0o777)
        (mount.point / "d/file").chmod(0o666)  # a local store has said what its mode is
        assert shell("umask 022 && printf theirs > new && mkdir made && printf more >> d/file", mount.point) == (0, "")

        def owned(name: str) -> tuple[int, int, str]:
            status = (mount.point / name).stat()
            return status.st_uid, status.st_gid, oct(stat.S_IMODE(status.st_mode))

        assert owned("new") == (NOBODY.pw_uid, NOBODY.pw_uid, "0o644")
        assert owned("made") == (NOBODY.pw_uid, NOBODY.pw_uid, "0o755")
        assert owned("d/file")[0] == os.getuid()
        assert shell("echo > new", mount.point, SOMEBODY)[0]
        if request.node.callspec.params["outside"] != "local":  # that keeps no owners
            mount.stop()
            mount.start()
            assert owned("new") == (NOBODY.pw_uid, NOBODY.pw_uid, "0o644")
    assert contents(outside, "") == {"d/file": b"contentmore", "new": b"theirs"}


@as_root
@pytest.mark.parametrize("outside", KINDS[1:], indirect=True)
def test_a_store_that_is_shown_as_one_users_is_that_users_alone(
    storemount: Storemount, outside: Outside, request: pytest.FixtureRequest
) -> None:
    owner = ("--uid", str(NOBODY.pw_uid), "--gid", str(NOBODY.pw_uid))
    with shown(storemount, outside, request, "--allow-other", *owner, "--file-mode", "640", "--dir-mode", "750") as mount:
        assert shell("cat d/file && printf new > d/new", mount.point) == (0, "content")
        assert "Permission denied" in shell("cat d/file", mount.point, SOMEBODY)[1]
    assert contents(outside, "") == {"d/file": b"content", "d/new": b"new"}


# read-only

NEVER: dict[str, Callable[[Path], object]] = {
    "create": lambda point: (point / "new").touch(),
    "open for writing": lambda point: os.open(point / "d/file", os.O_WRONLY),
    "open for both": lambda point: os.open(point / "d/file", os.O_RDWR),
    "open to truncate": lambda point: os.open(point / "d/file", os.O_RDONLY | os.O_TRUNC),
    "truncate": lambda point: os.truncate(point / "d/file", 1),
    "mkdir": lambda point: (point / "new").mkdir(),
    "rmdir": lambda point: (point / "d").rmdir(),
    "unlink": lambda point: (point / "d/file").unlink(),
    "rename": lambda point: (point / "d/file").rename(point / "d/other"),
    "symlink": lambda point: (point / "new").symlink_to("d/file"),
    "link": lambda point: os.link(point / "d/file", point / "new"),
    "mkfifo": lambda point: os.mkfifo(point / "new"),
    "chmod": lambda point: (point / "d/file").chmod(0o600),
    "chown": lambda point: os.chown(point / "d/file", 1, 1),
    "utime": lambda point: os.utime(point / "d/file", (1, 1)),
    "setxattr": lambda point: os.setxattr(point / "d/file", "user.a", b"1"),
    "removexattr": lambda point: os.removexattr(point / "d/file", "user.a"),
}


def test_a_read_only_mount_refuses_every_change_and_has_none_to_save(
    storemount: Storemount, outside: Outside, request: pytest.FixtureRequest
) -> None:
    with shown(storemount, outside, request, "--read-only") as mount:
        told = {}
        for what, change in NEVER.items():
            with pytest.raises(OSError) as caught:
                change(mount.point)
            told[what] = caught.value.errno
        assert told == dict.fromkeys(NEVER, errno.EROFS)
        assert os.statvfs(mount.point).f_flag & os.ST_RDONLY
        assert (mount.point / "d/file").read_bytes() == b"content"
        status = mount.status()
        assert (status["pending"], status["staged_bytes"], status["refused"]) == (0, 0, 0)
    assert contents(outside, "") == {"d/file": b"content"}


# ordinary users


PRELUDE = """
mount --bind "$0" /etc/fuse.conf
as() { user=$1; shift; setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"; }
sm() { as "$NOBODY" "$PYTHON" -m storemount "$@"; }
"""


class Machine:
    """A machine of its own, as far as mounts go, where `sm` is the command of an ordinary user and `as UID` runs what another one does."""

    def __init__(self, home: Path) -> None:
        checkout = readable_copy(home)
        python, packages = readable_python(home)
        self._home = home
        self._environment = {
            **Storemount(home).environment,
            "PYTHONPATH": f"{checkout}:{packages}",
            "PYTHON": python,
            "NOBODY": str(NOBODY.pw_uid),
            "SOMEBODY": str(SOMEBODY),
        }
        home.chmod(0o711)
        (home / "mnt").mkdir()
        for folder in home.iterdir():
            os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)

    def run(self, script: str, settings: str) -> subprocess.CompletedProcess[str]:
        """The script, with these settings of FUSE. Its mounts end with it."""
        (self._home / "fuse.conf").write_text(settings)
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-uc", PRELUDE + script, self._home / "fuse.conf"],
            env=self._environment,
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with home_of_nobody() as home:
        yield Machine(home)


@as_root
def test_an_ordinary_user_needs_the_administrators_word_to_let_others_in(machine: Machine) -> None:
    done = machine.run("sm default mnt --allow-other", "#user_allow_other\n")
    assert (done.returncode, done.stdout) == (ExitCode.NO_FUSE, "")
    assert done.stderr.startswith("storemount: --allow-other is only for root, unless /etc/fuse.conf has a line user_allow_other; ")
    assert done.stderr.count("\n") == 1


@as_root
def test_an_ordinary_user_with_that_word_lets_others_in(machine: Machine) -> None:
    script = """
    sm default mnt --allow-other && as "$NOBODY" sh -c 'printf theirs > mnt/file' || exit
    as "$SOMEBODY" cat mnt/file && cat mnt/file && ! as "$SOMEBODY" touch mnt/other
    sm unmount mnt
    """
    done = machine.run(script, "user_allow_other\n")
    assert (done.returncode, done.stdout.count("theirs")) == (0, 2), done.stdout + done.stderr
    assert "Permission denied" in done.stderr


@as_root
def test_without_it_not_even_root_is_let_in(machine: Machine) -> None:
    script = """
    sm default mnt && as "$NOBODY" sh -c 'printf mine > mnt/file && cat mnt/file' || exit
    ! cat mnt/file && ! as "$SOMEBODY" cat mnt/file
    sm unmount mnt
    """
    done = machine.run(script, "")
    assert (done.returncode, done.stdout.count("mine")) == (0, 1), done.stdout + done.stderr
    assert done.stderr.count("Permission denied") == 2
