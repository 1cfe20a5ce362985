"""S3 servers for the tests, and a client that looks at a bucket from outside.

What it is: moto as a subprocess on a free port of the loopback, with or without checked credentials, versitygw where it is on PATH,
and `BucketClient`, which shares no code with the stores under test.
What it is not: a fault injector (see `faults`).
Invariants: a server is ready when its context is entered, and gone when it is left. Nothing is asked of any other host.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.request import Request, urlopen

import botocore.config
import botocore.exceptions
import botocore.session

from tests.support.waiting import eventually

REGION = "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """A running server: where it is, and credentials that it accepts."""

    endpoint: str
    key: str = "testing"
    secret: str = field(default="testing-secret", repr=False)
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def kill(self) -> None:
        """End the server at once; what it held is lost."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def client(self, bucket: str) -> BucketClient:
        return BucketClient(self, bucket)

    def attributes(self) -> dict[str, str]:
        """Attributes of the s3 flavor for this server."""
        return {"key": self.key, "secret": self.secret, "endpoint": self.endpoint, "region": REGION}


@contextmanager
def moto_server(*, port: int = 0, environ: Mapping[str, str] | None = None) -> Iterator[S3Server]:
    """An empty S3 server that accepts any credentials; `port` 0 takes a free one."""
    command = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    env = {**os.environ, "AWS_EC2_METADATA_DISABLED": "true", **(environ or {})}
    with subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            yield S3Server(announced(process.stderr), process=process)
        finally:
            process.kill()
            process.wait()


VERSITY = "versitygw"
"""Another S3 server, over a folder: `go install github.com/versity/versitygw/cmd/versitygw@latest`. It checks signatures."""


@contextmanager
def versity_server() -> Iterator[S3Server]:
    """An empty versitygw on a free port. The folder's file system has to keep extended attributes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="versity-") as folder:
        command = [VERSITY, "--access", S3Server.key, "--secret", "testing-secret", "--region", REGION, "--port", address, "posix", folder]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                assert eventually(lambda: process.poll() is not None or _answers(address), 20) and process.poll() is None
                yield S3Server(f"http://{address}", process=process)
            finally:
                process.kill()
                process.wait()


def _answers(address: str) -> bool:
    host, _, port = address.partition(":")
    with suppress(OSError), socket.create_connection((host, int(port))):
        return True
    return False


@contextmanager
def guarded_moto_server() -> Iterator[S3Server]:
    """An empty S3 server that checks credentials (their secret too); those it accepts are in the answer."""
    with moto_server(environ={"INITIAL_NO_AUTH_ACTION_COUNT": "0"}) as server:
        _allow(server, 3)
        iam = _client(server, "iam")
        iam.create_user(UserName="tester")
        iam.put_user_policy(UserName="tester", PolicyName="s3", PolicyDocument=_policy("s3:*"))
        made = iam.create_access_key(UserName="tester")["AccessKey"]
        iam.close()
        yield S3Server(server.endpoint, made["AccessKeyId"], made["SecretAccessKey"], server.process)


def permit(server: S3Server, *actions: str) -> None:
    """Change what the credentials of a guarded server allow. Nobody else may ask it anything meanwhile."""
    _allow(server, 1)
    iam = _client(server, "iam")
    iam.put_user_policy(UserName="tester", PolicyName="s3", PolicyDocument=_policy(*actions))
    iam.close()


def _policy(*actions: str) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]})


def second_key(server: S3Server) -> S3Server:
    """The same guarded server, with another key of the same user."""
    _allow(server, 1)
    iam = _client(server, "iam")
    made = iam.create_access_key(UserName="tester")["AccessKey"]
    iam.close()
    return S3Server(server.endpoint, made["AccessKeyId"], made["SecretAccessKey"], server.process)


def revoke(server: S3Server) -> None:
    """From now on the guarded server refuses this key."""
    _allow(server, 1)
    iam = _client(server, "iam")
    iam.delete_access_key(UserName="tester", AccessKeyId=server.key)
    iam.close()


def announced(log: IO[str], form: str = r"(http://127\.0\.0\.1:\d+)") -> str:
    """The address that the server says it listens on; from then on its log is read and thrown away, so that it never blocks."""
    said = []
    for line in log:
        said.append(line)
        if found := re.search(form, line):
            threading.Thread(target=deque, args=(log, 0), name="server-log", daemon=True).start()
            return found[1]
    raise RuntimeError("the server did not start: " + "".join(said))


def _allow(server: S3Server, actions: int) -> None:
    """Let the next few requests pass unchecked."""
    request = Request(server.endpoint + "/moto-api/reset-auth", data=str(actions).encode(), headers={"Content-Type": "text/plain"})
    with urlopen(request) as answer:
        answer.read()


def _client(server: S3Server, service: str) -> Any:
    config = botocore.config.Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, max_pool_connections=4)
    credentials = {"aws_access_key_id": server.key, "aws_secret_access_key": server.secret}
    return botocore.session.Session().create_client(service, REGION, endpoint_url=server.endpoint, config=config, **credentials)


@dataclass
class BucketClient:
    """One bucket seen by another program: whole keys, bytes, nothing cached."""

    server: S3Server
    name: str
    _s3: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._s3 = _client(self.server, "s3")

    def __enter__(self) -> BucketClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._s3.close()

    @property
    def uri(self) -> str:
        return f"s3://{self.name}"

    def create(self) -> BucketClient:
        self._s3.create_bucket(Bucket=self.name)
        return self

    def remove(self) -> None:
        """Delete the bucket with all that is in it."""
        self.delete(*self.list())
        self._s3.delete_bucket(Bucket=self.name)

    def put(self, key: str, data: bytes = b"", metadata: Mapping[str, str] | None = None) -> str:
        """Write an object; its ETag."""
        return str(self._s3.put_object(Bucket=self.name, Key=key, Body=data, Metadata=dict(metadata or {}))["ETag"])

    def get(self, key: str) -> bytes:
        with self._s3.get_object(Bucket=self.name, Key=key)["Body"] as body:
            return bytes(body.read())

    def head(self, key: str) -> dict[str, Any] | None:
        """What the store says of the object (ContentLength, ETag, LastModified, Metadata); None when it is absent."""
        try:
            return dict(self._s3.head_object(Bucket=self.name, Key=key))
        except botocore.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise

    def delete(self, *keys: str) -> None:
        for key in keys:
            # One by one: a bulk request cannot carry every key.
            self._s3.delete_object(Bucket=self.name, Key=key)

    def versions(self) -> dict[str, tuple[str, str]]:
        """Every key with what tells its versions apart: its ETag and its time."""
        return {item["Key"]: (str(item["ETag"]), str(item["LastModified"])) for item in self._items("")}

    def _items(self, prefix: str) -> Iterator[dict[str, Any]]:
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
            yield from page.get("Contents", ())

    def list(self, prefix: str = "") -> dict[str, int]:
        """Every key below `prefix` with its size, markers included."""
        return {item["Key"]: int(item["Size"]) for item in self._items(prefix)}

    def begin(self, key: str, part: bytes = b"part") -> str:
        """Begin a multipart upload, send one part, and leave it at that; its id."""
        begun = str(self._s3.create_multipart_upload(Bucket=self.name, Key=key)["UploadId"])
        self._s3.upload_part(Bucket=self.name, Key=key, UploadId=begun, PartNumber=1, Body=part)
        return begun

    def abort(self, key: str, upload: str) -> None:
        self._s3.abort_multipart_upload(Bucket=self.name, Key=key, UploadId=upload)

    def uploads(self) -> list[str]:
        """Keys of the multipart uploads that nobody finished or aborted."""
        return [upload["Key"] for upload in self._s3.list_multipart_uploads(Bucket=self.name).get("Uploads", ())]

    def forget_uploads(self) -> None:
        """No multipart upload is known any more, as in a server that was started again with an empty memory."""
        assert eventually(self._abort_all, 10)

    def _abort_all(self) -> bool:
        for upload in self._s3.list_multipart_uploads(Bucket=self.name).get("Uploads", ()):
            # moto answers 500 when the daemon's own request for it comes at the same time; what counts is that it has gone.
            with suppress(botocore.exceptions.ClientError):
                self.abort(upload["Key"], upload["UploadId"])
        return not self.uploads()
