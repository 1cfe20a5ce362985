"""Keys: from a path below a store's root to the key that it means.

What it is: text only.
What it is not: an opinion on which names a store, or a mount, can have (`tree.mappable`).
Invariant: a key has no empty, "." or ".." segment, so it names something in the store or nothing.
"""

from __future__ import annotations

from storemount.errors import Forbidden


def key_below(path: str) -> str:
    """The key that `path`, relative to a store's root, means: "." and empty segments dropped, ".." resolved. Raises Forbidden when it
    leads out of the store."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == ".." and not segments:
            raise Forbidden(f"{path} leads out of the store")
        if segment == "..":
            segments.pop()
        elif segment not in ("", "."):
            segments.append(segment)
    return "/".join(segments)


def parent_of(key: str) -> str:
    return key.rpartition("/")[0]
