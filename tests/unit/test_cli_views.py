"""What the commands that look at a running mount show of it."""

from __future__ import annotations

from typing import Any

import pytest

from storemount.cli.ls_pending import _cells
from storemount.cli.values import printable
from storemount.cli.view import line, paces, screen

ROW: dict[str, Any] = {
    "mountpoint": "/mnt",
    "path": "d/f",
    "kind": "put",
    "to": None,
    "bytes": 2048,
    "age_seconds": 75.04,
    "state": "waiting",
    "tries": 2,
    "error": "503",
}


@pytest.mark.parametrize(
    ("change", "cells"),
    [
        ({}, ["/mnt/d/f", "put", "2 KiB", "1m 15s", "waiting", "2", "503"]),
        ({"mountpoint": "/", "age_seconds": 0.26}, ["/d/f", "put", "2 KiB", "300ms", "waiting", "2", "503"]),
        ({"kind": "move", "to": "e"}, ["/mnt/d/f -> /mnt/e", "move", "-", "1m 15s", "waiting", "2", "503"]),
        ({"path": "a\nb\x1b[31m\udce9é"}, ["/mnt/a\\nb\\x1b[31m\\udce9é", "put", "2 KiB", "1m 15s", "waiting", "2", "503"]),
    ],
)
def test_a_pending_change_is_one_line(change: dict[str, Any], cells: list[str]) -> None:
    assert _cells({**ROW, **change}) == cells


def test_what_can_be_shown_stays_as_it_is() -> None:
    assert printable("plain, accénted, 漢字, a space") == "plain, accénted, 漢字, a space"


# status --watch


def reading(now: float, **figures: Any) -> dict[str, Any]:
    """What a mount says of itself; nothing happened but what `figures` say."""
    zero = ("read", "written", "fetched", "uploaded", "staged", "cache", "pending")
    return {
        **{f"{name}_bytes": 0 for name in zero},
        **dict.fromkeys(("hits", "misses", "pending", "refused", "retries", "conflicts_seen", "open_files", "running_requests"), 0),
        "mountpoint": "/mnt",
        "uri": "s3://b",
        "store": "s",
        "state": "mounted",
        "engine": "native",
        "pid": 7,
        "started": 1000.0,
        "now": now,
        "cache_cap": 64 * 1024 * 1024,
        "rss_bytes": 1024 * 1024,
        "names": 1,
        "cpu_seconds": 1.0,
        "oldest_pending_seconds": 0.0,
        "failed": [],
        "failing": 0,
        "requests": {},
        "operations": {},
        **figures,
    }


BEFORE = reading(1060.0, hits=90, misses=10, requests={"read": {"count": 10, "seconds": 1.0, "failed": {}}})
NOW = reading(
    1062.0,
    read_bytes=4 * 1024 * 1024,
    hits=93,
    misses=11,
    cpu_seconds=1.5,
    pending=2,
    pending_bytes=2048,
    oldest_pending_seconds=75.0,
    failed=[{"path": f"f{number}", "error": "no\nway"} for number in range(5)],
    failing=7,
    requests={
        "read": {"count": 14, "seconds": 1.1, "failed": {"TimedOut": 2}},
        "write": {"count": 1, "seconds": 0.00005, "failed": {}},
    },
)
SILENT: dict[str, Any] = {"mountpoint": "/silent", "store": "?", "state": "not answering"}


def watched(now: list[dict[str, Any]], before: list[dict[str, Any]]) -> list[str]:
    return [" ".join(text.split()) for text in screen(paces(now, before), "12:00:00")]


def test_what_cannot_be_told_yet_is_a_dash() -> None:
    lines = watched([NOW], [])
    assert lines[:2] == ["storemount, 12:00:00; q ends this", ""]
    assert lines[2] == "/mnt mounted (native), up 1m 2s s3://b"
    assert "programs read - written - open files 0" in lines
    assert "cache hits - 89.4 % since the start 0 B of 64 MiB" in lines
    assert "read - - 14 TimedOut 2" in lines


def test_figures_that_are_old_are_said_to_be() -> None:
    assert (
        screen(paces([NOW], []), "12:00:00", late=7)[0] == "storemount, 12:00:00; q ends this; no answer for 7s, so these figures are old"
    )


def test_rates_are_those_between_two_readings() -> None:
    lines = watched([NOW], [BEFORE])
    assert "programs read 2 MiB/s written 0 B/s open files 0" in lines
    assert "cache hits 75 % 89.4 % since the start 0 B of 64 MiB" in lines
    assert "queue pending 2 (2 KiB) oldest unsaved 1m 15s staged 0 B" in lines
    assert "daemon memory 1 MiB processor 25 % names 1" in lines
    assert "read 2 25 ms 14 TimedOut 2" in lines
    assert "write 0.5 50 µs 1 -" in lines
    assert [text for text in lines if text.startswith("f")] == [f"f{number}: no\\nway" for number in range(5)]
    assert "and 2 more; see: storemount ls-pending" in lines


def test_a_cache_on_the_disk_has_a_line_of_its_own() -> None:
    gib = 1024**3
    disk = {"disk_cache_bytes": gib, "disk_cache_cap": 10 * gib, "disk_hits": 3, "disk_misses": 1, "offline_seconds": 0.0}
    before = {**BEFORE, **disk, "disk_hits": 0, "disk_misses": 0}
    assert "disk hits 75 % store in reach 1 GiB of 10 GiB" in watched([{**NOW, **disk}], [before])
    assert "disk hits - out of reach for 9s 1 GiB of 10 GiB" in watched([{**NOW, **disk, "offline_seconds": 9.0}], [])


def test_another_daemon_at_the_same_place_begins_anew() -> None:
    assert watched([NOW], [{**BEFORE, "pid": 8}]) == watched([NOW], [])


def test_of_several_mounts_the_types_are_left_out_and_a_silent_one_is_named() -> None:
    lines = watched([NOW, SILENT], [BEFORE, SILENT])
    assert "/silent not answering ?" in lines
    assert not [text for text in lines if "MEAN" in text]
    assert watched([SILENT], [])[2:] == ["/silent not answering ?", ""]
    assert watched([], [])[2:] == ["Nothing is mounted."]


def test_a_mount_in_one_line() -> None:
    assert [line(pace, "12:00:00") for pace in paces([NOW, SILENT], [BEFORE])] == [
        "12:00:00 /mnt mounted: read 2 MiB/s, written 0 B/s, fetched 0 B/s, uploaded 0 B/s, hits 75 %, pending 2 (2 KiB), "
        "oldest 1m 15s, refused 0, retries 0, memory 1 MiB",
        "12:00:00 /silent not answering",
    ]
