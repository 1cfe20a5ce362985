"""Extended attributes: what a program set, and what the store knows (S12).

What it is: `user.*` as the store keeps them (or for the life of the mount, where it keeps none), and the read-only
`user.storemount.uri`, `.etag` and `.state`; on the mount's root also `.stats`, its figures as JSON.
What it is not: the form in which they are stored (`stores.dialects`).
Invariants: every other namespace is refused, as a local disk refuses what its kernel was not told to keep. Asking for the names asks the
store for nothing, since some versions of `ls -l` do that for every file; asking for one by its name does, once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from storemount.errors import AttributeTooLarge, Forbidden, NoAttribute, NoSpace, Unsupported
from storemount.names.descriptions import Descriptions
from storemount.names.nodes import ROOT, Node
from storemount.stores.base import Meta
from storemount.stores.dialects import length, s3_written
from storemount.stores.uri import uri_below

USER = b"user."
OURS = b"user.storemount."
STATS = OURS + b"stats"
LARGEST = 64 * 1024
OTHERS = 256
"""Bytes of an object's metadata that attributes leave for mode, owner and time."""


class Xattrs:
    """`uri`: the store's root. `stats`: the mount's figures. `room`: bytes of metadata that an object may have; 0 for any number."""

    def __init__(self, uri: str, descriptions: Descriptions, stats: Callable[[], Mapping[str, Any]], *, room: int) -> None:
        self._uri = uri
        self._stats = stats
        self._descriptions = descriptions
        self._room = room

    async def get(self, node: Node, name: bytes) -> bytes:
        value: bytes | None
        if name == STATS and node.ino == ROOT:
            value = json.dumps(self._stats()).encode()
        elif name.startswith(OURS):
            value = self._known(node).get(name)
        elif not name.startswith(USER):
            # Not "no such attribute": `ls -l` asks for an ACL once, hears this, and then asks for no other file's.
            raise Unsupported(f"{name.decode(errors='replace')}: only user.* attributes are kept")
        else:
            await self._descriptions.learn(node)
            value = self._descriptions.xattrs(node).get(name)
        if value is None:
            raise NoAttribute(name.decode(errors="replace"))
        return value

    def _known(self, node: Node) -> dict[bytes, bytes]:
        state = b"pending" if node.pinned else b"stored"
        known = {OURS + b"uri": uri_below(self._uri, node.key).encode(errors="surrogateescape"), OURS + b"state": state}
        if node.artifact is not None:
            known[OURS + b"etag"] = node.artifact.version.encode()
        return known

    def names(self, node: Node) -> list[bytes]:
        """What a copy should take along: our own are about this place, and not listed."""
        return list(self._descriptions.xattrs(node))

    async def set(self, node: Node, name: bytes, value: bytes) -> None:
        """Raises NoSpace (as setxattr(2) says) when the store would not take them all."""
        if name.startswith(OURS):
            raise Forbidden(f"{name.decode()} is read-only")
        if not name.startswith(USER):
            raise Unsupported(f"{name.decode(errors='replace')}: only user.* attributes are kept")
        if len(value) > LARGEST:
            raise AttributeTooLarge(name.decode())
        await self._descriptions.learn(node)
        values = {**self._descriptions.xattrs(node), name: value}
        if self._room and length(s3_written(Meta(xattrs=values))) > self._room - OTHERS:
            raise NoSpace(f"{node.name}: the store takes {self._room} bytes of metadata for each object")
        node.own.xattrs = values

    async def remove(self, node: Node, name: bytes) -> None:
        await self.get(node, name)
        if name.startswith(OURS):
            raise Forbidden(f"{name.decode()} is read-only")
        node.own.xattrs = {each: value for each, value in self._descriptions.xattrs(node).items() if each != name}
