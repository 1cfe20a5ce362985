"""URIs of stores: their scheme, and how they may be shown.

What it is: text only.
What it is not: a parser of any store's path.
Invariants: nothing that these functions give back contains a password.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote

FILE = "file://"
"""The scheme of this machine's own files."""


def uri_below(root: str, key: str) -> str:
    """What names `key`, relative to `root` ("": the root itself), to any other tool. In the URI of a folder it is percent-encoded."""
    lead = root if root.endswith("/") else root + "/"
    return lead + (quote(os.fsencode(key)) if root.startswith(FILE) else key) if key else root


def scheme_of(uri: str) -> str:
    """The scheme with its "://" (or, of a chain such as zip::https://..., its "::"), in lower case; "" for a plain path."""
    match = re.match(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)", uri)
    return match[0].lower() if match else ""


def without_password(uri: str) -> str:
    """`uri` as it may be shown: without the user and password before its host. What an abfs:// URI has there is a container."""
    return re.sub(r"((?:abfss?|az)://[^/@:]*@)|([A-Za-z0-9+.-]+://)[^/@]*@", r"\1\2", uri)
