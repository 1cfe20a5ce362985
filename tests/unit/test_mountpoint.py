"""What may be mounted on: each refusal is one line with what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storemount.errors import ExitCode, Refusal
from storemount.kernel.mountpoint import Host, check, check_apart, check_fuse, check_outside_store, located


@pytest.fixture
def point(tmp_path: Path) -> Path:
    point = tmp_path / "point"
    point.mkdir()
    return point


def accept(point: Path, *, nonempty: bool = False) -> None:
    """The check passes, and cleans nothing."""
    said: list[str] = []
    check(str(point), nonempty=nonempty, say=said.append, uid=os.getuid())
    assert not said


def test_an_empty_directory_is_accepted(point: Path) -> None:
    accept(point)


def test_a_missing_directory_comes_with_the_line_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"mkdir -p '.*it''?.*s here'?") as caught:
        accept(tmp_path / "it's here")
    assert caught.value.code is ExitCode.BAD_MOUNTPOINT


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refusal, match="not a directory"):
        accept(tmp_path / "file")


def test_a_directory_with_files_is_refused_unless_asked_for(point: Path) -> None:
    (point / "file").touch()
    with pytest.raises(Refusal, match="-o nonempty"):
        accept(point)
    accept(point, nonempty=True)


def test_a_mountpoint_is_spelled_as_the_kernel_does(tmp_path: Path, point: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(point)
    monkeypatch.chdir(tmp_path)
    real = os.path.realpath(point)
    assert located("point") == located("./point/") == located("link") == located(f"{tmp_path}/../{tmp_path.name}/point") == real
    assert located("/proc/") == "/proc"


@pytest.mark.parametrize(("mountpoint", "store"), [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("link", "a"), ("a", "link/b")])
def test_a_local_store_and_its_mountpoint_may_not_contain_each_other(tmp_path: Path, mountpoint: str, store: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(Refusal, match="inside") as caught:
        check_outside_store(located(str(tmp_path / mountpoint)), str(tmp_path / store))
    assert caught.value.code is ExitCode.BAD_MOUNTPOINT


def test_a_name_that_only_begins_alike_is_apart(tmp_path: Path) -> None:
    check_outside_store(located(str(tmp_path / "store-mnt")), str(tmp_path / "store"))
    check_outside_store(located(str(tmp_path / "store")), str(tmp_path / "store-data"))


def test_what_would_vanish_under_the_mount_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"the log .* is inside the mountpoint"):
        check_apart(located(str(tmp_path)), [("the staging folder", "/srv/elsewhere"), ("the log", str(tmp_path / "log"))])


def host(tmp_path: Path, *, uid: int = 1000, device: str = "/dev/null", settings: str = "", tool: str | None = "/bin/fusermount3") -> Host:
    (tmp_path / "fuse.conf").write_text(settings)
    return Host(uid, Path(device), tmp_path / "fuse.conf", lambda name: tool)


def test_fuse_is_there(tmp_path: Path) -> None:
    check_fuse(host(tmp_path), allow_other=False)
    check_fuse(host(tmp_path, settings="# allow\n  user_allow_other # yes\n"), allow_other=True)
    check_fuse(host(tmp_path, uid=0), allow_other=True)


def test_no_device(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="modprobe fuse") as caught:
        check_fuse(host(tmp_path, device=str(tmp_path / "fuse")), allow_other=False)
    assert caught.value.code is ExitCode.NO_FUSE


def test_a_device_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="cannot open") as caught:
        check_fuse(host(tmp_path, device=str(tmp_path)), allow_other=False)
    assert caught.value.code is ExitCode.NO_FUSE


@pytest.mark.skipif(os.getuid() == 0, reason="root opens everything")
def test_a_device_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "fuse").touch(mode=0o000)
    with pytest.raises(Refusal, match="chmod 666"):
        check_fuse(host(tmp_path, device=str(tmp_path / "fuse")), allow_other=False)


def test_no_fusermount3(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="apt install fuse3") as caught:
        check_fuse(host(tmp_path, tool=None), allow_other=False)
    assert caught.value.code is ExitCode.NO_FUSE


def test_root_can_do_without_fusermount3_as_long_as_there_is_umount() -> None:
    check_fuse(Host(0, Path("/dev/null"), command=lambda name: "/bin/umount" if name == "umount" else None), allow_other=False)


@pytest.mark.parametrize("settings", ["", "#user_allow_other\n", "user_allow_others\n"])
def test_allow_other_needs_the_administrators_word(tmp_path: Path, settings: str) -> None:
    with pytest.raises(Refusal, match="user_allow_other"):
        check_fuse(host(tmp_path, settings=settings), allow_other=True)
