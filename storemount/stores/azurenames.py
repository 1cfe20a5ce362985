"""Names in a container: what Azure can hold, and what stands for a directory.

What it is: the rules of the service about blob names, and the dialects of directory markers.
What it is not: a request.
Invariants: a key that Azure would keep under another name is refused before anything is sent. A directory is written as Microsoft's own
tools do it (blobfuse2, Hadoop's ABFS driver, adlfs): an empty blob with the directory's name, whose metadata has `hdi_isfolder=true`. It
is read as that, and as a blob whose name ends in "/" (rclone, and tools that come from S3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from storemount.errors import InvalidName
from storemount.stores.base import Traits
from storemount.stores.dialects import LINK

FOLDER = {"hdi_isfolder": "true"}
"""The metadata of a blob that stands for a directory; some tools write the name with a capital."""

MOST_SEGMENTS = 254

# https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata: control characters and the
# code points beside the characters are not allowed; a dot at the end of a segment, or a segment of dots, does not survive the way to the
# service, and a backslash becomes a slash.
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff\ufffe\uffff]|\.$")
"""What is found in a segment that Azure cannot hold."""


def traits(engine: str, root: str) -> Traits:
    """What a store at this root can do; either engine checks conditions with the write. The limit of metadata is Azure's own."""
    return Traits(
        engine=engine,
        conditional=True,
        modes=True,
        link_suffix=LINK,
        meta_bytes=8192,
        forbidden=FORBIDDEN,
        max_key_bytes=1024 - len(root.encode()),
    )


def is_holdable(key: str) -> bool:
    """Whether Azure keeps this key under this very name."""
    segments = key.split("/")
    return len(segments) <= MOST_SEGMENTS and not any(map(FORBIDDEN.search, segments))


def refuse_unholdable(key: str) -> None:
    """Raises InvalidName for a key that Azure cannot hold."""
    if not is_holdable(key):
        raise InvalidName(f"{key!r}: Azure holds no name with a control character, a backslash or a dot at the end of a segment")


def says_folder(metadata: Mapping[str, str] | None) -> bool:
    """Whether a blob with this metadata stands for a directory."""
    return any(name.lower() == "hdi_isfolder" and value.lower() == "true" for name, value in (metadata or {}).items())


def stub(full: str) -> str | None:
    """The blob that stands for the directory `full` (which ends in "/") without a slash; None where only one with a slash can."""
    name = full.removesuffix("/")
    return name if name and not name.endswith("/") else None
