"""How mount(8) and umount(8) call mount.storemount and umount.storemount."""

from __future__ import annotations

import pytest

from storemount.cli import mount_program
from storemount.cli.mount_program import called, mount, unmount
from storemount.errors import ExitCode


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that would have been run."""
    ran: list[list[str]] = []

    def run(words: list[str]) -> int:
        ran.append(words)
        return ExitCode.OK

    monkeypatch.setattr(mount_program, "run", run)
    return ran


def test_words_of_mount_become_words_of_storemount(ran: list[list[str]]) -> None:
    assert called(mount, ["s3_store", "/mnt/a", "-sn", "-v", "-t", "storemount", "-o", "rw,ttl=5s,_netdev"]) == ExitCode.OK
    assert ran == [["mount", "-orw,ttl=5s,_netdev", "--", "s3_store", "/mnt/a"]]


def test_a_fake_mount_mounts_nothing(ran: list[list[str]]) -> None:
    assert called(mount, ["s3_store", "/mnt/a", "-f", "-o", "rw"]) == ExitCode.OK
    assert not ran


def test_words_of_umount_become_words_of_unmount(ran: list[list[str]]) -> None:
    assert called(unmount, ["/mnt/a", "-v", "-t", "fuse.storemount"]) == called(unmount, ["/mnt/a", "-l"]) == ExitCode.OK
    assert ran == [["unmount", "--", "/mnt/a"], ["unmount", "--lazy", "--", "/mnt/a"]]


@pytest.mark.parametrize(("words", "says"), [(["s3_store"], "DIRECTORY"), (["s3_store", "/mnt", "-N", "/proc/1/ns/mnt"], "nsenter")])
def test_what_makes_no_sense_is_one_line(ran: list[list[str]], capsys: pytest.CaptureFixture[str], words: list[str], says: str) -> None:
    assert called(mount, words) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert says in said and len(said.splitlines()) == 1
    assert not ran
