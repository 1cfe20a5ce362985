"""Settings: how sizes and durations are written, and where storemount keeps what is its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from storemount.config import GIB, KIB, MIB, Places, parse_duration, parse_size, private_folder
from storemount.errors import ExitCode, Refusal


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("4K", 4 * KIB), ("1.5M", 3 * MIB // 2), ("2GiB", 2 * GIB), ("1tb", 1024 * GIB), (" 8 MB ", 8 * MIB)],
)
def test_a_size_is_a_number_with_a_power_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1X", "1 2", "0x10", "1e9"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 512M"):
        parse_size(text)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("10", 10), ("500ms", 0.5), ("5m", 300), ("1.5h", 5400), ("2d", 172800)])
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1M", "10 years", "inf"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 10s"):
        parse_duration(text)


def test_places_follow_the_xdg_variables() -> None:
    names = {
        "XDG_DATA_HOME": "/d",
        "XDG_CONFIG_HOME": "/c",
        "XDG_STATE_HOME": "/s",
        "XDG_CACHE_HOME": "/h2",
        "XDG_RUNTIME_DIR": "/r",
        "STOREMOUNT_SYSTEM_CONFIG": "/e",
    }
    assert Places.of({"HOME": "/h", **names}, uid=1000) == Places(
        data=Path("/d/storemount"),
        config=Path("/c/storemount"),
        system_config=Path("/e"),
        state=Path("/s/storemount"),
        cache=Path("/h2/storemount"),
        runtime=Path("/r/storemount"),
    )


def test_places_of_a_user_without_xdg_variables_are_below_the_home() -> None:
    places = Places.of({"HOME": "/h", "XDG_DATA_HOME": "relative/is/ignored"}, uid=1000)
    assert places.data == Path("/h/.local/share/storemount")
    assert places.config == Path("/h/.config/storemount")
    assert places.system_config == Path("/etc/storemount")
    assert Path("/h") in places.runtime.parents


def test_places_of_root_have_their_sockets_in_run() -> None:
    assert Places.of({"HOME": "/root"}, uid=0).runtime == Path("/run/storemount")


def test_a_private_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "a" / "b")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert private_folder(folder) == folder


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refusal, match="cannot make the folder") as caught:
        private_folder(tmp_path / "file" / "below")
    assert caught.value.code is ExitCode.BAD_CONFIGURATION
