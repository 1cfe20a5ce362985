"""Extended attributes: what a program set, and what the store knows.

What it is: `user.*` kept for the life of the mount, and the read-only `user.storemount.uri`, `.etag` and `.state` (S12).
What it is not: stored anywhere yet.
Invariant: every other namespace is refused, as a local disk refuses what its kernel was not told to keep.
"""

from __future__ import annotations

from storemount.errors import AttributeTooLarge, Forbidden, NoAttribute, Unsupported
from storemount.tree import Node

USER = b"user."
OURS = b"user.storemount."
LARGEST = 64 * 1024


class Xattrs:
    """`uri`: the store's root."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def get(self, node: Node, name: bytes) -> bytes:
        if name.startswith(OURS):
            value = self._known(node).get(name)
        elif not name.startswith(USER):
            # Not "no such attribute": `ls -l` asks for an ACL once, hears this, and then asks for no other file's.
            raise Unsupported(f"{name.decode(errors='replace')}: only user.* attributes are kept")
        else:
            value = node.attributes.xattrs.get(name) if node.attributes is not None else None
        if value is None:
            raise NoAttribute(name.decode(errors="replace"))
        return value

    def _known(self, node: Node) -> dict[bytes, bytes]:
        state = b"pending" if node.pinned else b"stored"
        known = {OURS + b"uri": f"{self._uri}/{node.path}".encode(errors="surrogateescape"), OURS + b"state": state}
        if node.artifact is not None:
            known[OURS + b"etag"] = node.artifact.version.encode()
        return known

    def names(self, node: Node) -> list[bytes]:
        """What a copy should take along: our own are about this place, and not listed."""
        return list(node.attributes.xattrs) if node.attributes is not None else []

    def set(self, node: Node, name: bytes, value: bytes) -> None:
        if name.startswith(OURS):
            raise Forbidden(f"{name.decode()} is read-only")
        if not name.startswith(USER):
            raise Unsupported(f"{name.decode(errors='replace')}: only user.* attributes are kept")
        if len(value) > LARGEST:
            raise AttributeTooLarge(name.decode())
        node.own.xattrs[name] = value

    def remove(self, node: Node, name: bytes) -> None:
        self.get(node, name)
        if name.startswith(OURS):
            raise Forbidden(f"{name.decode()} is read-only")
        del node.own.xattrs[name]
