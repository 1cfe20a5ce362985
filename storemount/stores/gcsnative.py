"""GcsService: Google Cloud Storage as OpenDAL reaches it.

What it is: what `NativeStore` has to know of Google Cloud Storage.
What it is not: the settings (`gcssettings`), the credentials (`gcscredentials`), or the other client of the same bucket (`gcs`).
Invariants: OpenDAL is given a token (another one: another store, see `renewing`), and looks for credentials nowhere. It cannot read
one generation (it knows of it only afterwards), and its uploads in parts are those of the XML interface: both are done otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import opendal

from storemount.errors import Corrupt, StoreMountError
from storemount.stores.base import Artifact, ArtifactStore, Meta
from storemount.stores.budget import Uploads
from storemount.stores.dialects import gcs_written
from storemount.stores.gcs import GcsStore
from storemount.stores.gcscredentials import GcsCredentials
from storemount.stores.gcserrors import gcs_error
from storemount.stores.gcssettings import GcsSettings
from storemount.stores.metadata import whole_seconds
from storemount.stores.native_errors import Answers
from storemount.stores.native_service import untouched

if TYPE_CHECKING:
    from opendal.types import Metadata


def _failure(what: str, told: str, status: int) -> StoreMountError:
    """The failure for an error document as OpenDAL prints it."""
    message = re.match(r'message: "([^"]*)"', told)
    return gcs_error(what, " ".join([message[1] if message else "", *re.findall(r'reason: "(\w+)"', told)]).strip(), status)


class GcsService:
    """A `Service`: one bucket, or a prefix of it. OpenDAL asks with `token` ("": as nobody), the other client with what
    `credentials` give."""

    lists = True
    marks = True
    stubs = False
    pins = False
    parts = False
    single_deletes = 50
    answers = Answers(re.compile(r"GcsError { code: \d+, (message: .*?\]) }"), "ListObjects", _failure)

    def __init__(self, settings: GcsSettings, credentials: GcsCredentials, token: str) -> None:
        self.uri = settings.uri
        self.traits = settings.traits("native")
        self._settings = settings
        self._credentials = credentials
        self._token = token

    def operator(self) -> opendal.Operator:
        options = {"bucket": self._settings.bucket, "root": "/" + self._settings.prefix, "endpoint": self._settings.endpoint}
        options |= {"disable_vm_metadata": "true", "disable_config_load": "true"}
        return opendal.Operator("gcs", **options, **({"token": self._token} if self._token else {"allow_anonymous": "true"}))

    def metadata(self, meta: Meta) -> dict[str, str]:
        return gcs_written(meta)

    def other(self, *, deadline: float, uploads: Uploads) -> ArtifactStore:
        return GcsStore(self._settings, deadline=deadline, uploads=uploads, credentials=self._credentials)

    def verbatim(self, key: str) -> bool:
        return untouched(key)

    def pin(self, artifact: Artifact) -> Mapping[str, Any]:
        return {}

    def artifact(self, key: str, metadata: Metadata) -> Artifact:
        if metadata.version is None or metadata.last_modified is None:
            raise Corrupt(f"{key}: the store names no generation")
        return Artifact(key, metadata.version, metadata.content_length, whole_seconds(metadata.last_modified))
