"""Dialects: how the metadata of a file is written into an object's user metadata, and read back (S12).

What it is: pure functions between `Meta` and the names and texts that other tools use. On S3 those of rclone (https://rclone.org/s3/) and
s3fs-fuse, on GCS those of gcsfuse and gcloud, on Azure those of rclone and blobfuse2. What is written is the store's own dialect; `read`
understands all of them, wherever an object came from.
What it is not: a request, or the choice of what is worth saying.
Invariants:
- Texts are ASCII, and names lower case, since that is what comes back. A text that cannot be read says nothing, and is left as it is.
- What somebody else says beside ours is kept by `merged`; the same thing said in another dialect is not, for it would be out of date.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import stat
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import quote, unquote

from storemount.stores.base import Meta
from storemount.stores.metadata import SECOND

Told = Mapping[str, str]
"""User metadata: names without the store's prefix (`x-amz-meta-` and the like)."""

T = TypeVar("T")

Written = Callable[[Meta], dict[str, str]]

LINK = ".rclonelink"
"""How the name of an object ends that is a symbolic link by its name: its bytes are the target (rclone, `--links`)."""

LONGEST_TARGET = 4096
"""Bytes of a link's target; an object that has more is no link, whatever it is called."""


_MODES = ("mode", "permissions", "goog-reserved-posix-mode")
_UIDS = ("uid", "owner", "goog-reserved-posix-uid")
_GIDS = ("gid", "group", "goog-reserved-posix-gid")
_TIMES = ("gcsfuse_mtime", "mtime", "goog-reserved-file-mtime")
_LINKS = ("goog-reserved-file-is-symlink", "is_symlink")
_TARGET = "gcsfuse_symlink_target"
"""Says that it is a link, and in older versions of gcsfuse alone says whereto: the object is empty."""
_XATTRS = ("xattr",)

_SAID_AS: dict[str, tuple[str, ...]] = {"mode": _MODES, "uid": _UIDS, "gid": _GIDS, "mtime_ns": _TIMES, "xattrs": _XATTRS}
"""What `Meta` says -> the names under which it is said, the one that counts first."""

_TYPES = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK}
_HIGHEST = 0o177777
"""No st_mode is more."""


def s3_written(meta: Meta) -> dict[str, str]:
    """As on S3: seconds with nine decimals; the mode in octal with a leading zero, which s3fs-fuse and rclone both read.

    A link says by its name that it is one, and has no mode of its own."""
    told = _owners(meta, "uid", "gid") | _xattrs(meta)
    if meta.mtime_ns is not None:
        told["mtime"] = _seconds(meta.mtime_ns)
    if meta.mode is not None and not stat.S_ISLNK(meta.mode):
        told["mode"] = f"0{meta.mode:o}"
    return told


def gcs_written(meta: Meta) -> dict[str, str]:
    """As on Google Cloud Storage: gcsfuse's time beside gcloud's (whole seconds), gcloud's POSIX attributes and mark of a link."""
    told = _owners(meta, "goog-reserved-posix-uid", "goog-reserved-posix-gid") | _xattrs(meta)
    if meta.mtime_ns is not None:
        told["gcsfuse_mtime"] = _date(meta.mtime_ns)
        told["goog-reserved-file-mtime"] = str(meta.mtime_ns // SECOND)
    if meta.mode is not None and stat.S_ISLNK(meta.mode):
        told["goog-reserved-file-is-symlink"] = "true"
    elif meta.mode is not None:
        told["goog-reserved-posix-mode"] = f"{stat.S_IMODE(meta.mode):o}"
    return told


def azure_written(meta: Meta) -> dict[str, str]:
    """As on Azure, where a name has to be an identifier: rclone's time, s3fs-fuse's words for the rest, blobfuse2's mark of a link."""
    told = _owners(meta, "uid", "gid") | _xattrs(meta)
    if meta.mtime_ns is not None:
        told["mtime"] = _date(meta.mtime_ns)
    if meta.mode is not None and stat.S_ISLNK(meta.mode):
        told["is_symlink"] = "true"
    elif meta.mode is not None:
        told["mode"] = f"0{meta.mode:o}"
    return told


def read(told: Told) -> Meta:
    """What user metadata says, in whichever dialect. Whoever asked knows the whole of it now: without attributes there are none."""
    told = {name.lower(): text for name, text in told.items()}
    mode = _first(told, _MODES[:2], _mode)
    if mode is None:
        mode = _first(told, _MODES[2:], _octal)
    if _is_link(told):
        mode = stat.S_IFLNK | 0o777
    times = [_time(told[name]) for name in _TIMES if name in told]
    return Meta(
        mode=mode,
        uid=_first(told, _UIDS, _number),
        gid=_first(told, _GIDS, _number),
        mtime_ns=next((time for time in times if time is not None), None),
        xattrs=_first(told, _XATTRS, _attributes) or {},
        target=told.get(_TARGET) or None,
    )


def merged(told: Told, meta: Meta, written: Written) -> dict[str, str]:
    """`told` with what `meta` says instead of what it said of the same things."""
    ours = written(meta)
    names = {name for said, names in _SAID_AS.items() if getattr(meta, said) is not None for name in names}
    return {name: text for name, text in told.items() if name.lower() not in names} | ours


def length(told: Told) -> int:
    """Bytes that count against the store's limit: names and texts, in UTF-8."""
    return sum(len(name.encode()) + len(text.encode()) for name, text in told.items())


def _owners(meta: Meta, uid: str, gid: str) -> dict[str, str]:
    return {name: str(number) for name, number in ((uid, meta.uid), (gid, meta.gid)) if number is not None}


def _seconds(mtime_ns: int) -> str:
    seconds, rest = divmod(mtime_ns, SECOND)
    if seconds < 0 and rest:
        return f"-{-seconds - 1}.{SECOND - rest:09}"  # The sign is that of the whole.
    return f"{seconds}.{rest:09}"


def _date(mtime_ns: int) -> str:
    """RFC 3339 with nine decimals, in UTC."""
    seconds, rest = divmod(mtime_ns, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def _xattrs(meta: Meta) -> dict[str, str]:
    """s3fs-fuse's one text for all attributes: JSON of base64, percent-encoded. Nothing says that there are none."""
    if not meta.xattrs:
        return {}
    values = {name.decode("utf-8", "surrogateescape"): base64.b64encode(value).decode() for name, value in sorted(meta.xattrs.items())}
    return {"xattr": quote(json.dumps(values, separators=(",", ":")), safe="")}


def _attributes(text: str) -> dict[bytes, bytes] | None:
    try:
        values = json.loads(unquote(text))
        return {str(name).encode("utf-8", "surrogateescape"): base64.b64decode(value, validate=True) for name, value in values.items()}
    except (ValueError, TypeError, AttributeError, binascii.Error):
        return None


def _first(told: Told, names: tuple[str, ...], parse: Callable[[str], T | None]) -> T | None:
    return next((value for name in names if name in told and (value := parse(told[name])) is not None), None)


def _number(text: str) -> int | None:
    number = int(text) if re.fullmatch(r"\d{1,10}", text) else None
    return number if number is not None and number < 2**32 - 1 else None  # The last one means "nobody" to chown(2).


def _mode(text: str) -> int | None:
    """Octal with a leading zero (ours), decimal (s3fs-fuse), or octal with the type and without the zero (rclone): as a number with a type
    it makes sense in one way only."""
    if not re.fullmatch(r"\d{1,7}", text):
        return None
    octal, decimal = _octal(text), int(text)
    if text.startswith("0"):
        return octal
    link = stat.S_ISLNK(decimal) and stat.S_IMODE(decimal) != 0o777  # Which nobody writes: rather a sticky directory in octal.
    if decimal <= 0o7777 or (decimal <= _HIGHEST and stat.S_IFMT(decimal) in _TYPES and not link):
        return decimal
    return octal if octal is not None and stat.S_IFMT(octal) in _TYPES else None


def _octal(text: str) -> int | None:
    """As gcloud writes a mode."""
    mode = int(text, 8) if re.fullmatch("[0-7]{1,7}", text) else None
    return mode if mode is not None and mode <= _HIGHEST else None


def _time(text: str) -> int | None:
    """Seconds, with or without decimals (rclone, s3fs-fuse, gcloud), or a date (gcsfuse, rclone on Azure and GCS)."""
    if found := re.fullmatch(r"(-?)(\d{1,11})(?:\.(\d{1,18}))?", text):
        whole = int(found[2]) * SECOND + int((found[3] or "0").ljust(9, "0")[:9])
        return -whole if found[1] else whole
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", text)
    if found is None:
        return None
    try:
        seconds = int(datetime.fromisoformat(found[1] + found[3]).timestamp())
    except (ValueError, OverflowError):
        return None
    return seconds * SECOND + int((found[2] or "0").ljust(9, "0"))


def _is_link(told: Told) -> bool:
    return any(told.get(name, "").lower() == "true" for name in _LINKS) or bool(told.get(_TARGET))
