"""The store that is measured, seen from outside: a folder or a bucket, without any of the mounts.

What it is: how the data gets there before a measurement, and how a measurement knows that something has arrived.
What it is not: the product's stores; nothing is shared with them. Its own requests carry `AGENT`, so that they are not counted.
Invariant: keys are relative to the root of the store.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import botocore.config
import botocore.session

from benchmark.content import MIB, PAGE, block_of, number_pages

AGENT = "storemount-bench"
_PART = 64 * MIB
_AT_ONCE = 8


class Store(Protocol):
    kind: str

    def put(self, key: str, data: bytes) -> None: ...

    def plant(self, key: str, size: int) -> None:
        """Write a file of numbered pages."""
        ...

    def plant_many(self, keys: list[str], data: bytes) -> None: ...

    def read(self, key: str) -> Iterator[bytes]:
        """The object in pieces of 1 MiB."""
        ...

    def size(self, key: str) -> int | None:
        """None when there is no such object."""
        ...

    def count(self, prefix: str) -> int:
        """How many files are below `prefix`, which ends in a slash; directory markers do not count."""
        ...

    def remove(self, prefix: str) -> None:
        """Everything below `prefix` (which ends in a slash); nothing is there afterwards."""
        ...


def _pieces(size: int) -> Iterator[bytes]:
    block = block_of(MIB)
    for start in range(0, size, MIB):
        number_pages(block, start // PAGE)
        yield bytes(block[: size - start])


class Folder:
    kind = "local"

    def __init__(self, root: Path) -> None:
        self.root = root

    def _path(self, key: str) -> Path:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def put(self, key: str, data: bytes) -> None:
        self._path(key).write_bytes(data)

    def plant(self, key: str, size: int) -> None:
        with self._path(key).open("wb") as file:
            file.writelines(_pieces(size))

    def plant_many(self, keys: list[str], data: bytes) -> None:
        for key in keys:
            self.put(key, data)

    def read(self, key: str) -> Iterator[bytes]:
        with (self.root / key).open("rb") as file:
            while piece := file.read(MIB):
                yield piece

    def size(self, key: str) -> int | None:
        path = self.root / key
        return path.stat().st_size if path.exists() else None

    def count(self, prefix: str) -> int:
        return sum(len(names) for _, _, names in os.walk(self.root / prefix))

    def remove(self, prefix: str) -> None:
        if (self.root / prefix).exists():
            shutil.rmtree(self.root / prefix)


@dataclass(frozen=True)
class Endpoint:
    """Where an S3 server is, and credentials for it. `access_log` is radosgw's log, where requests can be counted."""

    url: str
    key: str
    secret: str
    region: str
    bucket: str
    access_log: Path | None = None

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Endpoint:
        """From the lines that `scripts/emulators up` prints. Raises KeyError naming the one that is missing."""
        log = variables.get("S3_ACCESS_LOG")
        return cls(
            variables["AWS_ENDPOINT_URL_S3"],
            variables["AWS_ACCESS_KEY_ID"],
            variables["AWS_SECRET_ACCESS_KEY"],
            variables.get("AWS_DEFAULT_REGION", "us-east-1"),
            variables["S3_BUCKET"],
            Path(log) if log else None,
        )


class Bucket:
    """`endpoint` is where the subjects find it; what is done here goes to `outside`, another address of the same server."""

    kind = "s3"

    def __init__(self, outside: Endpoint, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        config = botocore.config.Config(
            user_agent=AGENT,
            s3={"addressing_style": "path"},
            max_pool_connections=_AT_ONCE,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self._s3: Any = botocore.session.Session().create_client(
            "s3",
            outside.region,
            endpoint_url=outside.url,
            aws_access_key_id=outside.key,
            aws_secret_access_key=outside.secret,
            config=config,
        )

    def put(self, key: str, data: bytes) -> None:
        self._s3.put_object(Bucket=self.endpoint.bucket, Key=key, Body=data)

    def plant(self, key: str, size: int) -> None:
        where = {"Bucket": self.endpoint.bucket, "Key": key}
        upload = self._s3.create_multipart_upload(**where)["UploadId"]
        pieces = _pieces(size)
        parts = []
        for number, start in enumerate(range(0, size, _PART), 1):
            body = b"".join(next(pieces) for _ in range(start, min(size, start + _PART), MIB))
            tag = self._s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=body)["ETag"]
            parts.append({"PartNumber": number, "ETag": tag})
        self._s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})

    def plant_many(self, keys: list[str], data: bytes) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(lambda key: self.put(key, data), keys):
                pass

    def read(self, key: str) -> Iterator[bytes]:
        with self._s3.get_object(Bucket=self.endpoint.bucket, Key=key)["Body"] as body:
            while piece := body.read(MIB):
                yield piece

    def size(self, key: str) -> int | None:
        return dict(self._listing(key)).get(key)

    def count(self, prefix: str) -> int:
        return sum(not key.endswith("/") for key, _ in self._listing(prefix))

    def _listing(self, prefix: str) -> Iterator[tuple[str, int]]:
        for answer in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.endpoint.bucket, Prefix=prefix):
            for item in answer.get("Contents", ()):
                yield item["Key"], item["Size"]

    def remove(self, prefix: str) -> None:
        keys = [key for key, _ in self._listing(prefix)]
        for start in range(0, len(keys), 1000):
            batch = [{"Key": key} for key in keys[start : start + 1000]]
            self._s3.delete_objects(Bucket=self.endpoint.bucket, Delete={"Objects": batch, "Quiet": True})
