"""The GCS server of the tests as a subprocess, and a client that looks at a bucket from outside.

What it is: `gcs_server` (see `tests.support.gcs_server` for the server itself), and `GcsBucket`, which shares no code with the stores
under test.
What it is not: the emulator, or its gaps.
Invariants: a server is ready when its context is entered, and gone when it is left. Nothing is asked of any other host.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from tests.support.servers import announced


@dataclass(frozen=True)
class GcsServer:
    """A running server; it takes any credentials, or none."""

    endpoint: str

    def attributes(self) -> dict[str, str]:
        """Attributes of the gcp flavor for this server."""
        return {"token": "anon", "endpoint": self.endpoint}


@contextmanager
def gcs_server(*, environ: Mapping[str, str] | None = None) -> Iterator[GcsServer]:
    """An empty server on a free port."""
    command = [sys.executable, "-u", "-m", "tests.support.gcs_server", "0"]
    with subprocess.Popen(
        command,
        env={**os.environ, **(environ or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            yield GcsServer(announced(process.stderr))
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class GcsBucket:
    """One bucket seen by another program: whole keys, bytes, nothing cached."""

    server: GcsServer
    name: str

    @property
    def uri(self) -> str:
        return f"gs://{self.name}"

    def create(self) -> GcsBucket:
        self._ask("POST", "/storage/v1/b?project=test", json.dumps({"name": self.name}).encode(), "application/json")
        return self

    def remove(self) -> None:
        """Delete the bucket with all that is in it."""
        self.delete(*self.list())
        self._ask("DELETE", f"/storage/v1/b/{self.name}")

    def put(self, key: str, data: bytes = b"") -> str:
        """Write an object; its generation."""
        told = self._ask("POST", f"/upload/storage/v1/b/{self.name}/o?uploadType=media&name={quote(key, safe='')}", data)
        return str(json.loads(told)["generation"])

    def annotate(self, key: str, metadata: Mapping[str, str]) -> None:
        """Add to the object's metadata."""
        self._ask("PATCH", self._object(key), json.dumps({"metadata": dict(metadata)}).encode(), "application/json")

    def get(self, key: str) -> bytes:
        """Raises KeyError when there is no such object."""
        try:
            return self._ask("GET", self._object(key) + "?alt=media")
        except HTTPError as error:
            if error.code == 404:
                raise KeyError(key) from error
            raise

    def head(self, key: str) -> dict[str, Any]:
        """The object's resource (generation, size, updated, metadata)."""
        return dict(json.loads(self._ask("GET", self._object(key))))

    def metadata(self, key: str) -> dict[str, str]:
        return dict(self.head(key).get("metadata", {}))

    def delete(self, *keys: str) -> None:
        for key in keys:
            self._ask("DELETE", self._object(key))

    def _items(self, prefix: str) -> Iterator[dict[str, Any]]:
        asked = {"prefix": prefix}
        while True:
            told = json.loads(self._ask("GET", f"/storage/v1/b/{self.name}/o?{urlencode(asked)}"))
            yield from told.get("items", ())
            if "nextPageToken" not in told:
                return
            asked["pageToken"] = told["nextPageToken"]

    def list(self, prefix: str = "") -> dict[str, int]:
        """Every key below `prefix` with its size, markers included."""
        return {item["name"]: int(item["size"]) for item in self._items(prefix)}

    def keys(self, prefix: str = "") -> set[str]:
        return set(self.list(prefix))

    def let(self, *, tokens: Collection[str] | None = None, methods: Collection[str] | None = None) -> None:
        """From now on only these access tokens are taken, and they may do only this (None: anything); whoever has no token may do all."""
        told = {name: list(allowed) for name, allowed in (("tokens", tokens), ("methods", methods)) if allowed is not None}
        self._ask("PUT", f"/access/{self.name}", json.dumps(told).encode(), "application/json")

    def uploads(self) -> list[str]:
        """Keys of the uploads that nobody finished or cancelled, where the server tells; Google's own does not."""
        try:
            return list(json.loads(self._ask("GET", f"/unfinished/{self.name}")))
        except HTTPError as error:
            if error.code == 404:
                return []
            raise

    def forget_uploads(self) -> None:
        """Their sessions are unknown from now on."""
        self._ask("DELETE", f"/unfinished/{self.name}")

    def close(self) -> None:
        pass

    def _object(self, key: str) -> str:
        return f"/storage/v1/b/{self.name}/o/{quote(key, safe='')}"

    def _ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/octet-stream") -> bytes:
        request = Request(self.server.endpoint + path, data=body, method=method, headers={"Content-Type": kind} if body is not None else {})
        with urlopen(request) as answer:
            return bytes(answer.read())
