"""Metadata in the words of other tools: what is written, and that all of it is read (S12)."""

from __future__ import annotations

import json
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storemount.stores.base import Artifact, Meta
from storemount.stores.dialects import Written, azure_written, gcs_written, length, merged, read, s3_written
from storemount.stores.metadata import meta_in, meta_out

TIME = 1_700_000_000_123_456_789
FILE = Meta(mode=0o100750, uid=1000, gid=100, mtime_ns=TIME, xattrs={b"user.colour": b"red"})
XATTR = "%7B%22user.colour%22%3A%22cmVk%22%7D"
DIALECTS: list[Written] = [s3_written, gcs_written, azure_written]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (s3_written, {"mode": "0100750", "uid": "1000", "gid": "100", "mtime": "1700000000.123456789", "xattr": XATTR}),
        (
            gcs_written,
            {
                "goog-reserved-posix-mode": "750",
                "goog-reserved-posix-uid": "1000",
                "goog-reserved-posix-gid": "100",
                "gcsfuse_mtime": "2023-11-14T22:13:20.123456789Z",
                "goog-reserved-file-mtime": "1700000000",
                "xattr": XATTR,
            },
        ),
        (azure_written, {"mode": "0100750", "uid": "1000", "gid": "100", "mtime": "2023-11-14T22:13:20.123456789Z", "xattr": XATTR}),
    ],
)
def test_S12_each_store_is_written_in_its_own_dialect(written: Written, expected: dict[str, str]) -> None:
    assert written(FILE) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [(s3_written, {}), (gcs_written, {"goog-reserved-file-is-symlink": "true"}), (azure_written, {"is_symlink": "true"})],
)
def test_S12_a_link_is_marked_where_its_name_does_not_tell(written: Written, expected: dict[str, str]) -> None:
    assert written(Meta(mode=stat.S_IFLNK | 0o777)) == expected


metas = st.builds(
    Meta,
    mode=st.none() | st.integers(0, 0o7777).map(lambda bits: stat.S_IFREG | bits),
    uid=st.none() | st.integers(0, 2**32 - 2),
    gid=st.none() | st.integers(0, 2**32 - 2),
    mtime_ns=st.none() | st.integers(-(10**18), 4 * 10**18),
    xattrs=st.dictionaries(st.binary(min_size=1, max_size=20).map(lambda name: b"user." + name), st.binary(max_size=40), max_size=4),
)


@given(meta=metas, written=st.sampled_from(DIALECTS))
def test_S12_what_is_written_is_read_back(meta: Meta, written: Written) -> None:
    told = written(meta)
    assert all(f"{name}{text}".isascii() and name == name.lower() for name, text in told.items())
    found = read(told)
    bits = [None if mode is None else stat.S_IMODE(mode) for mode in (found.mode, meta.mode)]
    assert bits[0] == bits[1]
    assert (found.uid, found.gid, found.mtime_ns, found.xattrs) == (meta.uid, meta.gid, meta.mtime_ns, meta.xattrs)


@pytest.mark.parametrize(
    ("told", "mode"),
    [
        ({"mode": "33188"}, 0o100644),  # s3fs-fuse
        ({"mode": "33261"}, 0o100755),
        ({"mode": "16877"}, 0o040755),
        ({"mode": "41471"}, 0o120777),
        ({"mode": "100755"}, 0o100755),  # rclone
        ({"mode": "40755"}, 0o040755),
        ({"mode": "0100755"}, 0o100755),
        ({"mode": "448"}, 0o700),  # s3fs-fuse, of a directory
        ({"mode": "493"}, 0o755),
        ({"mode": "41777"}, 0o041777),
        ({"permissions": "33188"}, 0o100644),  # s3sync
        ({"goog-reserved-posix-mode": "644"}, 0o644),  # gcloud
        ({"goog-reserved-posix-mode": "33188"}, None),
        ({"Mode": "0644"}, 0o644),
        ({"mode": "rwx", "permissions": "0600"}, 0o600),
        ({"mode": "99999"}, None),
        ({"mode": "07777777"}, None),
        ({"mode": "-1"}, None),
        ({"is_symlink": "true"}, 0o120777),  # blobfuse2
        ({"Is_Symlink": "true", "mode": "0644"}, 0o120777),
        ({"gcsfuse_symlink_target": "a/b"}, 0o120777),
        ({"gcsfuse_symlink_target": ""}, None),
        ({"goog-reserved-file-is-symlink": "false"}, None),
    ],
)
def test_S12_modes_of_every_tool_are_read(told: dict[str, str], mode: int | None) -> None:
    assert read(told).mode == mode


@pytest.mark.parametrize(
    ("told", "mtime_ns"),
    [
        ({"mtime": "1700000000"}, 1_700_000_000 * 10**9),
        ({"mtime": "1700000000.5"}, 1_700_000_000_500_000_000),
        ({"mtime": "1700000000.1234567894"}, TIME),
        ({"mtime": "2023-11-14T22:13:20.123456789Z"}, TIME),
        ({"mtime": "2023-11-14T23:13:20+01:00"}, 1_700_000_000 * 10**9),
        ({"goog-reserved-file-mtime": "1700000000"}, 1_700_000_000 * 10**9),
        ({"gcsfuse_mtime": "2023-11-14T22:13:20.123456789Z", "goog-reserved-file-mtime": "1"}, TIME),
        ({"mtime": "yesterday"}, None),
        ({"mtime": "2023-13-45T99:99:99Z"}, None),
        ({}, None),
    ],
)
def test_S12_times_of_every_tool_are_read(told: dict[str, str], mtime_ns: int | None) -> None:
    assert read(told).mtime_ns == mtime_ns


def test_S12_an_older_gcsfuse_tells_where_a_link_points() -> None:
    """Beside nothing but an empty object; a newer one has it as the bytes, which then count."""
    meta = read({"gcsfuse_symlink_target": "a/ü"})
    assert meta_in(json.loads(json.dumps(meta_out(meta)))) == meta
    assert Artifact("link", "1", 0, 0, meta).told_target == "a/ü".encode()
    assert Artifact("link", "1", 4, 0, meta).told_target == b""


@pytest.mark.parametrize("text", ["", "%", "[1]", "%7B%22user.a%22%3A1%7D", "%7B%22user.a%22%3A%22*%22%7D", "null"])
def test_S12_attributes_that_cannot_be_read_are_none(text: str) -> None:
    assert read({"xattr": text}).xattrs == {}


def test_S12_owners_of_every_tool_are_read_and_nonsense_is_not() -> None:
    assert read({"owner": "5", "group": "6"}) == read({"uid": "5", "goog-reserved-posix-gid": "6"}) == Meta(uid=5, gid=6, xattrs={})
    assert read({"uid": "root", "gid": str(2**32 - 1)}) == Meta(xattrs={})


@pytest.mark.parametrize("written", DIALECTS)
def test_S12_a_change_keeps_what_others_said_and_replaces_what_was_said_of_the_same(written: Written) -> None:
    told = {"project": "x", "permissions": "33188", "Mode": "33188", "uid": "7", "mtime": "5", "xattr": XATTR}
    now = merged(told, Meta(mode=0o100700), written)
    assert now["project"] == "x"
    assert stat.S_IMODE(read(now).mode or 0) == 0o700
    assert (read(now).uid, read(now).mtime_ns, read(now).xattrs) == (7, 5 * 10**9, {b"user.colour": b"red"})
    assert merged(told, Meta(xattrs={}), written) == {name: text for name, text in told.items() if name != "xattr"}


def test_length_counts_bytes() -> None:
    assert length({"a": "ü", "bc": "d"}) == 6
