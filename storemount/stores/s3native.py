"""S3Service: S3 as OpenDAL reaches it.

What it is: what `NativeStore` has to know of S3.
What it is not: the settings (`s3settings`), or the other client of the same bucket (`s3`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import opendal

from storemount.errors import Invalid
from storemount.stores.base import Artifact, ArtifactStore, Meta
from storemount.stores.budget import Uploads
from storemount.stores.dialects import s3_written
from storemount.stores.native_errors import Answers
from storemount.stores.native_service import by_etag, untouched
from storemount.stores.s3 import S3Store
from storemount.stores.s3errors import s3_error
from storemount.stores.s3settings import S3Settings
from storemount.stores.unfinished import Unfinished

if TYPE_CHECKING:
    from opendal.types import Metadata

_REGION = re.compile(r"""(?:"x-amz-bucket-region": "|; expecting ')([\w-]+)""")
"""A header says it, or only the words of the refusal."""


class S3Service:
    """A `Service`: one bucket, or a prefix of it."""

    answers = Answers(re.compile(r'S3Error { code: "(\w+)"'), "ListObjects", s3_error, _REGION)
    lists = True
    marks = True
    stubs = False
    pins = True
    parts = True
    single_deletes = 50

    def __init__(self, settings: S3Settings, unfinished: Unfinished | None = None) -> None:
        self.uri = settings.uri
        self.traits = settings.traits("native")
        self._settings = settings
        self._unfinished = unfinished

    def operator(self) -> opendal.Operator:
        options = self._settings.native()
        try:
            return opendal.Operator("s3", **options)
        except opendal.exceptions.ConfigInvalid as error:
            if "region" in options:
                raise Invalid(f"{self.uri}: {str(error).partition('Context')[0].strip()}") from error
        # botocore's default, where neither the user nor the environment names a region.
        return opendal.Operator("s3", **options, region="us-east-1")

    def metadata(self, meta: Meta) -> dict[str, str]:
        return s3_written(meta)

    def other(self, *, deadline: float, uploads: Uploads) -> ArtifactStore:
        return S3Store(self._settings, deadline=deadline, uploads=uploads, unfinished=self._unfinished)

    def verbatim(self, key: str) -> bool:
        return untouched(key)

    def pin(self, artifact: Artifact) -> Mapping[str, Any]:
        return {"if_match": artifact.version}

    def artifact(self, key: str, metadata: Metadata) -> Artifact:
        return by_etag(key, metadata)
