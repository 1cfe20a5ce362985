"""Unfinished: uploads in parts that ended because the keys did, kept in the store for the next try, which goes on with them.

What it is: a memory of which source each was of, shared by the stores that one `Renewing` makes of one bucket after the other.
What it is not: a request (`s3` asks), or kept over a restart: what a daemon that died left is swept.
Invariants: an upload is continued only for the same source (file, length, metadata). A part is taken for stored only where the server has
said so, or where its ETag is the MD5 of what is to be in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from storemount.errors import Expired
from storemount.stores.base import Source
from storemount.stores.parts import ranges, read_part

Call = Callable[..., Awaitable[dict[str, Any]]]
"""Asks S3: what it is about, the method of botocore's client, and its arguments but the bucket."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was begun: its id ("": another client knew it), and the ETags of the parts that are stored, by their numbers."""

    id: str = ""
    tags: dict[int, str] = field(default_factory=dict)


class Unfinished:
    """Nothing, at first. `keeps` is False where nobody will come with other keys."""

    def __init__(self, *, keeps: bool = True) -> None:
        self._keeps = keeps
        self._left: dict[str, tuple[Source, Upload]] = {}

    def leave(self, error: BaseException, key: str, source: Source | None, upload: Upload) -> bool:
        """Whether this upload, which ended with `error`, waits for the next try; otherwise it has to be aborted."""
        if not self._keeps or source is None or not isinstance(error, Expired):
            return False
        self._left[key] = replace(source, movable=False), upload
        return True

    def has(self, key: str) -> bool:
        return key in self._left

    def of(self, key: str, source: Source) -> Upload | None:
        """What was left of this very source; what was left of another one is of no use."""
        held = self._left.get(key)
        return held[1] if held is not None and held[0] == replace(source, movable=False) else None

    def forget(self, key: str) -> None:
        """Somebody goes on with it, or has cleared it away."""
        self._left.pop(key, None)

    def __iter__(self) -> Iterator[str]:
        """The keys at which something was left."""
        return iter(list(self._left))


async def found_in(call: Call, key: str, full: str, source: Source, part: int) -> Upload | None:
    """The upload that another client left at `key` (`full` in the bucket), as far as its parts are those of `source`; None where there is
    none, or several. Raises what `call` does."""
    told = await call(key, "list_multipart_uploads", Prefix=full)
    begun = [str(upload["UploadId"]) for upload in told.get("Uploads", ()) if upload["Key"] == full]
    if len(begun) != 1 or told.get("IsTruncated"):
        return None
    listed: dict[int, Mapping[str, Any]] = {}
    asked: dict[str, Any] = {"Key": full, "UploadId": begun[0]}
    while True:
        told = await call(key, "list_parts", **asked)
        listed |= {int(each["PartNumber"]): each for each in told.get("Parts", ())}
        if not told.get("IsTruncated"):
            ours = await trio.to_thread.run_sync(_parts_of, source, part, listed)
            # One of which nothing is known to be ours may be anybody's, with other metadata.
            return Upload(begun[0], ours) if ours else None
        asked["PartNumberMarker"] = told["NextPartNumberMarker"]


def _parts_of(source: Source, part: int, told: Mapping[int, Mapping[str, Any]]) -> dict[int, str]:
    """The ETags of those parts, of what a server lists by their numbers, that hold what `source` has there. Reads the file."""
    found = {}
    source = replace(source, sent=lambda reached: None)  # It is only looked at.
    for number, start, stop in ranges(source.size, part):
        listed = told.get(number)
        if listed is None or listed.get("Size") != stop - start:
            continue
        digest = hashlib.md5(read_part(source, start, stop), usedforsecurity=False).hexdigest()
        if str(listed.get("ETag")).strip('"') == digest:
            found[number] = str(listed["ETag"])
    return found
