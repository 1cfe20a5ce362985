"""How options, `-o` words and attributes are read, and values shown."""

from __future__ import annotations

import math
from pathlib import Path

import click
import pytest

from storemount.cli.attributes import names, pairs
from storemount.cli.mount import mount
from storemount.cli.mount_words import spelled_out
from storemount.cli.names import COMMANDS, RESERVED
from storemount.cli.values import duration_text, size_text
from storemount.config import parse_size


def parsed(*words: str) -> dict[str, object]:
    """The options of a mount command."""
    return mount.make_context("mount", ["store", "/mnt", *words]).params


def test_mount_words_become_options() -> None:
    assert list(spelled_out(["ro,ttl=5s", "uid=7,cache-size=1G,allow_other"])) == [
        "--read-only",
        "--ttl=5s",
        "--uid=7",
        "--cache-size=1G",
        "--allow-other",
    ]


def test_mount_words_for_others_are_let_through_or_handed_to_the_kernel() -> None:
    words = "defaults,_netdev,nofail,noauto,user,x-systemd.automount,x-gvfs-hide,comment=mine,relatime"
    assert not list(spelled_out([words]))
    assert list(spelled_out(["noatime,max_read=4096,nosuid"])) == [
        "--fuse-option=noatime",
        "--fuse-option=max_read=4096",
        "--fuse-option=nosuid",
    ]


def test_commas_can_be_quoted() -> None:
    assert list(spelled_out([r"log_file=/tmp/a\,b,ro", 'context="u:o:t:s0:c1,c2"'])) == [
        "--log-file=/tmp/a,b",
        "--read-only",
        "--fuse-option=context=u:o:t:s0:c1,c2",
    ]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("allow_others", "did you mean allow_other"),
        ("ttl", "needs a value"),
        ("ro=1", "takes no value"),
        ("nofail=1", "takes no value"),
        ("big_writes", "not known"),
    ],
)
def test_a_mount_word_that_nobody_knows_is_refused(word: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        list(spelled_out([word]))


def test_an_option_wins_over_a_mount_word_wherever_it_stands() -> None:
    assert parsed("--ttl", "1m", "-o", "ttl=5s,umask=027")["ttl"] == 60
    assert parsed("-o", "ttl=5s,umask=027")["umask"] == 0o027
    assert parsed("-o", "ro,rw")["read_only"] is False
    assert parsed("-oro", "-o", "noatime")["fuse_options"] == ("noatime",)


def test_write_through_is_a_durability() -> None:
    assert (parsed()["durability"], parsed()["fsync"], parsed()["write_through"]) == ("crash", "store", False)
    assert list(spelled_out(["write_through,fsync=local"])) == ["--durability=store", "--fsync=local"]
    assert parsed("-o", "write_through", "--durability", "power")["durability"] == "power"


def test_values_are_typed() -> None:
    given = parsed("--cache-size", "1G", "--uid", "root", "--gid", "0", "--dir-mode", "0750", "--deadline", "500ms")
    assert (given["cache_size"], given["uid"], given["gid"], given["dir_mode"], given["deadline"]) == (1024**3, 0, 0, 0o750, 0.5)


@pytest.mark.parametrize(
    "option", ["--cache-size=x", "--ttl=x", "--uid=no-such-user", "--gid=no-such-group", "--umask=8", "--dir-mode=10000", "--uploads=0"]
)
def test_values_that_make_no_sense_are_usage_errors(option: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        parsed(option)
    assert option.partition("=")[0] in caught.value.format_message()


def test_attributes_take_both_forms() -> None:
    assert pairs(["--key=a=b", "--secret", "x y", "--client-kwargs", "{}", "--empty="]) == {
        "key": "a=b",
        "secret": "x y",
        "client_kwargs": "{}",
        "empty": "",
    }
    assert names(["--key", "--client-kwargs"]) == ["key", "client_kwargs"]


def test_an_attribute_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush\n")
    assert pairs([f"--secret=@{tmp_path}/secret"]) == {"secret": "hush"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--key"], "--key needs a value"),
        (["--key", "--secret", "x"], "--key needs a value"),
        (["--key=a", "--key=b"], "twice"),
        (["key=value"], "write --NAME=VALUE"),
        (["--key=@/no/such/file"], "cannot read /no/such/file"),
    ],
)
def test_attributes_that_make_no_sense_are_usage_errors(words: list[str], says: str) -> None:
    with pytest.raises(click.UsageError, match=says):
        pairs(words)


def test_a_long_word_in_the_wrong_place_is_not_repeated_as_it_may_be_a_secret() -> None:
    with pytest.raises(click.UsageError) as caught:
        pairs(["wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"])
    assert "wJalr" not in caught.value.message


def test_no_store_can_be_named_like_a_command() -> None:
    assert RESERVED.issuperset(COMMANDS)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (256 * 1024**2, "256 MiB"), (5 * 1024**5, "5120 TiB")],
)
def test_a_size_is_shown_with_its_unit(size: int, text: str) -> None:
    assert size_text(size) == text
    assert size < 1024 or parse_size(text) == size


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0"), (0.25, "250ms"), (10, "10s"), (3600, "1h"), (3700, "1h 1m"), (90061, "1d 1h"), (math.inf, "for ever")]
)
def test_a_duration_is_shown_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
