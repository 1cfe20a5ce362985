"""Azurite, Microsoft's emulator of Azure Storage, for the tests, and a client that looks at a container from outside.

What it is: the emulator as a subprocess on a free port of the loopback, with an account of its own, and `ContainerView`, which shares no
code with the stores under test.
What it is not: Azure. It checks signatures, conditions and leases; it has no hierarchical namespace, and it keeps some names under other
names (a backslash, control characters), which `stores.azurenames` refuses for Azure's own sake.
Invariants: a server is ready when its context is entered, and gone when it is left. The emulator refuses newer versions of the API than its
own release knows; it is told not to look (`--skipApiVersionCheck`), which the real service does not need.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import AccessPolicy, ContainerClient, ContainerSasPermissions, generate_container_sas

from tests.support.servers import announced

ACCOUNT = "emulated"
POLICY = "visitors"
ALL = "racwdl"
_OPTIONS = ("--blobHost", "127.0.0.1", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent")


@dataclass(frozen=True)
class AzureServer:
    """A running server: the URL of its one account, and that account's key."""

    endpoint: str
    key: str = field(default="", repr=False)
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def kill(self) -> None:
        """End the server at once; what it held is lost."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def client(self, container: str) -> ContainerView:
        return ContainerView(self, container)

    def attributes(self) -> dict[str, str]:
        """Attributes of the azure flavor for this server."""
        return {"account_name": ACCOUNT, "account_key": self.key, "endpoint": self.endpoint}


def program() -> list[str]:
    """How the emulator is called: where scripts/azurite has put it, or from PATH."""
    own = Path(sys.prefix) / "azurite" / "node_modules" / ".bin" / "azurite-blob"
    found = str(own) if own.exists() else shutil.which("azurite-blob")
    assert found, "there is no azurite-blob; scripts/azurite installs it"
    return [found]


@contextmanager
def azurite(*options: str) -> Iterator[AzureServer]:
    """An empty server, with `options` on its command line."""
    key = base64.b64encode(secrets.token_bytes(64)).decode()
    command = [*program(), "--blobPort", "0", *_OPTIONS, *options]
    env = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"}
    with subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            address = announced(process.stdout, r"successfully listens on (https?://127\.0\.0\.1:\d+)")
            yield AzureServer(f"{address}/{ACCOUNT}", key, process)
        finally:
            process.kill()
            process.wait()


@dataclass
class ContainerView:
    """One container seen by another program: whole names, bytes, nothing cached."""

    server: AzureServer
    name: str
    _client: ContainerClient = field(init=False, repr=False)

    def __post_init__(self) -> None:
        credential = {"account_name": ACCOUNT, "account_key": self.server.key}
        self._client = ContainerClient(self.server.endpoint, self.name, credential=credential)

    def __enter__(self) -> ContainerView:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def trust(self, certificate: Path) -> ContainerView:
        """Speak TLS with a server that has this certificate."""
        credential = {"account_name": ACCOUNT, "account_key": self.server.key}
        self._client = ContainerClient(self.server.endpoint, self.name, credential=credential, connection_verify=str(certificate))
        return self

    @property
    def uri(self) -> str:
        return f"abfs://{self.name}"

    def signature(self, *, minutes: float, allowed: str = ALL) -> str:
        """A shared access signature for what is `allowed` here, which ends in so many minutes."""
        permission = ContainerSasPermissions.from_string(allowed)
        end = datetime.now(UTC) + timedelta(minutes=minutes)
        return generate_container_sas(ACCOUNT, self.name, account_key=self.server.key, permission=permission, expiry=end)

    def policy(self, *, minutes: float = 10, allowed: str = ALL) -> str:
        """A shared access signature that says nothing of its end, nor of what is allowed: the container's one policy does, which can be
        replaced by this call, and the signature stays the same."""
        rule = AccessPolicy(ContainerSasPermissions.from_string(allowed), datetime.now(UTC) + timedelta(minutes=minutes))
        self._client.set_container_access_policy({POLICY: rule})
        return generate_container_sas(ACCOUNT, self.name, account_key=self.server.key, policy_id=POLICY)

    def create(self) -> ContainerView:
        self._client.create_container()
        return self

    def remove(self) -> None:
        """Delete the container with all that is in it."""
        self._client.delete_container()

    def put(self, key: str, data: bytes = b"", metadata: Mapping[str, str] | None = None) -> None:
        self._client.upload_blob(key, data, overwrite=True, metadata=dict(metadata or {}))

    def folder(self, name: str) -> None:
        """A directory as blobfuse2 and Hadoop make it."""
        self.put(name, metadata={"hdi_isfolder": "true"})

    def get(self, key: str) -> bytes:
        """Raises KeyError when there is no such blob."""
        try:
            return self._client.download_blob(key).readall()
        except ResourceNotFoundError as error:
            raise KeyError(key) from error

    def metadata(self, key: str) -> dict[str, str]:
        return dict(self._client.get_blob_client(key).get_blob_properties().metadata)

    def delete(self, *keys: str) -> None:
        for key in keys:
            self._client.delete_blob(key)

    def versions(self) -> dict[str, tuple[str, str]]:
        """Every key with what tells its versions apart: its ETag and its time."""
        return {blob.name: (str(blob.etag), str(blob.last_modified)) for blob in self._client.list_blobs()}

    def list(self, prefix: str = "") -> dict[str, int]:
        """Every blob below `prefix` with its size, markers included."""
        return {blob.name: int(blob.size) for blob in self._client.list_blobs(name_starts_with=prefix)}

    def marked(self) -> set[str]:
        """Every blob; the name of one that stands for a directory ends in a slash."""
        blobs = self._client.list_blobs(include=["metadata"])
        return {blob.name + ("/" if (blob.metadata or {}).get("hdi_isfolder") == "true" else "") for blob in blobs}

    def uploads(self) -> list[str]:
        """Names of the blobs that have blocks and were never committed."""
        return [blob.name for blob in self._client.list_blobs(include=["uncommittedblobs"]) if blob.name not in self.list(blob.name)]

    def forget_uploads(self) -> None:
        """Their blocks go with a blob that is written over them whole."""
        for key in self.uploads():
            self.put(key)
            self.delete(key)

    def blocks(self, key: str) -> int:
        """How many blocks of a blob were sent and not committed; 0 when nothing of it is there."""
        try:
            return len(self._client.get_blob_client(key).get_block_list("uncommitted")[1])
        except ResourceNotFoundError:
            return 0
