"""What is in a store, seen by somebody who does not know of the mount.

What it is: one small view over a plain folder, over a bucket and over a container, for comparing what went in with what is there.
What it is not: a store of the product; nothing here shares code with it.
Invariants: keys are relative to the store's root; a directory that exists by itself is a key that ends in "/".
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from botocore.exceptions import ClientError

from tests.support.azurite import ContainerView
from tests.support.servers import BucketClient


class Outside(Protocol):
    """The same questions for every kind of store."""

    def get(self, key: str) -> bytes:
        """Raises KeyError when there is no such object."""
        ...

    def put(self, key: str, data: bytes) -> None: ...

    def delete(self, key: str) -> None: ...

    def keys(self, prefix: str = "") -> set[str]: ...

    def uploads(self) -> list[str]:
        """Keys of the uploads that were begun, and neither ended nor cancelled."""
        ...

    def forget_uploads(self) -> None:
        """No such upload is known any more, as in a server that was started again with an empty memory."""
        ...

    def close(self) -> None: ...


class Folder:
    """A folder of the local disk, as the flavor `local` uses it. What is written appears whole, as a careful program would do it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, key: str) -> bytes:
        try:
            return (self.root / key).read_bytes()
        except FileNotFoundError as error:
            raise KeyError(key) from error

    def put(self, key: str, data: bytes) -> None:
        target = self.root / key
        if key.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{os.getpid()}.fresh")
        fresh.write_bytes(data)
        fresh.rename(target)

    def delete(self, key: str) -> None:
        target = self.root / key
        if key.endswith("/"):
            target.rmdir()
        else:
            target.unlink()

    def keys(self, prefix: str = "") -> set[str]:
        found = set()
        for base, folders, files in os.walk(self.root):
            inside = os.path.relpath(base, self.root)
            lead = "" if inside == "." else inside + "/"
            found |= {f"{lead}{name}/" for name in folders} | {lead + name for name in files}
        return {key for key in found if key.startswith(prefix)}

    def uploads(self) -> list[str]:
        return []

    def forget_uploads(self) -> None:
        pass

    def close(self) -> None:
        pass


class Bucket:
    """A bucket, through the client of the test servers."""

    def __init__(self, client: BucketClient) -> None:
        self.client = client

    def get(self, key: str) -> bytes:
        try:
            return self.client.get(key)
        except ClientError as error:
            raise KeyError(key) from error

    def put(self, key: str, data: bytes) -> None:
        self.client.put(key, data)

    def delete(self, key: str) -> None:
        self.client.delete(key)

    def keys(self, prefix: str = "") -> set[str]:
        return set(self.client.list(prefix))

    def uploads(self) -> list[str]:
        return self.client.uploads()

    def forget_uploads(self) -> None:
        self.client.forget_uploads()

    def close(self) -> None:
        self.client.__exit__()


class Container:
    """A container of Azure, through the client of the test servers. A directory that has a blob of its own is a key with a slash."""

    def __init__(self, client: ContainerView) -> None:
        self.client = client

    def get(self, key: str) -> bytes:
        return self.client.get(key)

    def put(self, key: str, data: bytes) -> None:
        if key.endswith("/"):
            self.client.folder(key.removesuffix("/"))
        else:
            self.client.put(key, data)

    def delete(self, key: str) -> None:
        self.client.delete(key.removesuffix("/"))

    def keys(self, prefix: str = "") -> set[str]:
        return {key for key in self.client.marked() if key.startswith(prefix)}

    def uploads(self) -> list[str]:
        return self.client.uploads()

    def forget_uploads(self) -> None:
        self.client.forget_uploads()

    def close(self) -> None:
        self.client.__exit__()


def contents(outside: Outside, prefix: str) -> dict[str, bytes]:
    """Every file below `prefix` with its bytes; directories are left out."""
    return {key: outside.get(key) for key in outside.keys(prefix) if not key.endswith("/")}
