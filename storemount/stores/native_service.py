"""Service: what is particular to one kind of store behind OpenDAL.

What it is: the small object that `NativeStore` asks wherever services differ (options, errors, versions, markers, what another client
has to do), and what several of them answer in the same way.
What it is not: a store, or a client; one that reaches the same bucket by another client is what `other` makes.
Invariant: what a service says of a key or an answer depends on nothing else; it keeps no state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from storemount.errors import Corrupt
from storemount.stores.base import Artifact, ArtifactStore, Meta, Traits
from storemount.stores.budget import Uploads
from storemount.stores.metadata import whole_seconds
from storemount.stores.native_errors import Answers

if TYPE_CHECKING:
    import opendal
    from opendal.types import Metadata


class Service(Protocol):
    """One root of one service.

    `answers`: how its failures are read. `lists`: OpenDAL's listing tells all that a row needs; `marks`: OpenDAL's `create_dir` makes the
    marker that tools of this service know; where one of them is False, `other` does it. `stubs`: an empty object can stand for a
    directory, and only a HEAD tells. `pins`: a read can be held to one version; otherwise what is there is looked at after each read.
    `parts`: OpenDAL sends what is larger than one request, in an upload that `other` can clear up; otherwise `other` sends it.
    `single_deletes`: up to so many keys are deleted by requests of their own, in parallel; more go to `other` in bulk."""

    @property
    def uri(self) -> str: ...

    @property
    def traits(self) -> Traits: ...

    @property
    def answers(self) -> Answers: ...

    @property
    def lists(self) -> bool: ...

    @property
    def marks(self) -> bool: ...

    @property
    def stubs(self) -> bool: ...

    @property
    def pins(self) -> bool: ...

    @property
    def parts(self) -> bool: ...

    @property
    def single_deletes(self) -> int: ...

    def operator(self) -> opendal.Operator:
        """OpenDAL's operator at the root, without time-outs or retries. Raises Invalid for options that it refuses."""
        ...

    def metadata(self, meta: Meta) -> dict[str, str]:
        """User metadata of a write, in the names that tools of this service use."""
        ...

    def other(self, *, deadline: float, uploads: Uploads) -> ArtifactStore:
        """The same root through another client, for what OpenDAL cannot do; it connects with its first request."""
        ...

    def verbatim(self, key: str) -> bool:
        """Whether OpenDAL sends this key as it is; where it does not, `other` knows what to do with it."""
        ...

    def pin(self, artifact: Artifact) -> Mapping[str, Any]:
        """Arguments of OpenDAL's `read` by which the server gives exactly this version, or refuses."""
        ...

    def artifact(self, key: str, metadata: Metadata) -> Artifact | None:
        """What OpenDAL tells of an object; None when the object says that it is a directory. Raises Corrupt."""
        ...


def by_etag(key: str, metadata: Metadata) -> Artifact:
    """An artifact whose version is its ETag, in quotes as a condition wants it; some services leave them out in listings."""
    tag = metadata.etag
    if tag is None or metadata.last_modified is None:
        raise Corrupt(f"{key}: the store names no ETag")
    return Artifact(key, tag if tag.endswith('"') else f'"{tag}"', metadata.content_length, whole_seconds(metadata.last_modified))


def untouched(key: str) -> bool:
    """Whether OpenDAL sends this key as it is: it strips spaces, drops empty segments, replaces what is not text, and resolves dots."""
    if not key:
        return True
    segments = key.removesuffix("/").split("/")
    return key == key.strip() and not any(segment in ("", ".", "..") for segment in segments) and _is_text(key)


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
