"""A mount's settings in a file: its keys are the options of the mount, and the command line wins over it."""

from __future__ import annotations

from pathlib import Path

import pytest

from storemount.cli.mount import mount
from storemount.cli.settings_file import file_of, values
from storemount.config import MIB, Places
from storemount.errors import ExitCode, Refusal


def parsed(file: Path, *words: str) -> dict[str, object]:
    """The options of a mount command with this file."""
    return mount.make_context("mount", ["--config", str(file), *words]).params


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "artifacts.toml"
    file.write_text(
        'store = "s3_store"\nmountpoint = "/mnt/artifacts"\nttl = "5m"\ncache-size = "64M"\numask = 27\nuploads = 4\nread_only = true\n'
    )
    return file


def test_each_key_is_an_option(file: Path) -> None:
    given = parsed(file)
    assert (given["store"], given["mountpoint"]) == ("s3_store", "/mnt/artifacts")
    assert (given["ttl"], given["cache_size"], given["umask"], given["uploads"], given["read_only"]) == (300.0, 64 * MIB, 0o27, 4, True)
    assert given["deadline"] == 20.0


def test_the_command_line_wins_and_so_do_mount_words(file: Path) -> None:
    given = parsed(file, "other", "/mnt/b", "--ttl", "1s", "-o", "rw,cache_size=16M")
    assert (given["store"], given["mountpoint"]) == ("other", "/mnt/b")
    assert (given["ttl"], given["cache_size"], given["read_only"], given["uploads"]) == (1.0, 16 * MIB, False, 4)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('tll = "5s"', r"tll is not known \(did you mean ttl"),
        ('config = "other"', "config is not known"),
        ("foreground = true", "foreground is not known"),
        ('ttl = "soon"', "ttl: 'soon' is not a duration"),
        ("ttl = true", "ttl takes one value"),
        ('ttl = ["5s"]', "ttl takes one value"),
        ('read_only = "yes"', "read_only is 'yes'; write true or false"),
        ('durability = "none"', "durability: 'none' is not one of"),
        ("uploads = 0", "uploads: 0 is not in the range"),
        ("ttl = ", r"Invalid value \(at line 1"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_file_and_the_key(tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(line + "\n")
    with pytest.raises(Refusal, match=rf"bad\.toml: {says}") as caught:
        values(file, mount.make_context("mount", ["store", "/mnt"]))
    assert caught.value.code is ExitCode.BAD_CONFIGURATION and "\n" not in caught.value.message


def test_a_name_is_looked_for_in_the_users_folder_and_then_in_the_machines(tmp_path: Path) -> None:
    places = Places(*(tmp_path / name for name in ("data", "config", "etc", "state", "cache", "run")))
    with pytest.raises(Refusal, match=r"no settings file .*config/mounts\.d/a\.toml or .*etc/mounts\.d/a\.toml"):
        file_of("a", places)
    for folder in (places.system_config, places.config):
        (folder / "mounts.d").mkdir(parents=True)
        (folder / "mounts.d/a.toml").touch()
        assert file_of("a", places) == folder / "mounts.d/a.toml"
    assert file_of(f"{tmp_path}/etc/mounts.d/a.toml", places) == places.system_config / "mounts.d/a.toml"
