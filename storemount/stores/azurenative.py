"""AzureService: Azure Blob Storage as OpenDAL reaches it.

What it is: what `NativeStore` has to know of Azure.
What it is not: the settings (`azuresettings`), the rules about names (`azurenames`), or the other client of the same container (`azure`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import opendal

from storemount.errors import Invalid, StoreMountError
from storemount.stores.azure import AzureStore
from storemount.stores.azureerrors import azure_error
from storemount.stores.azurenames import is_holdable, says_folder, traits
from storemount.stores.azuresettings import AzureSettings
from storemount.stores.base import Artifact, ArtifactStore, Meta
from storemount.stores.budget import Uploads
from storemount.stores.dialects import azure_written
from storemount.stores.native_errors import Answers
from storemount.stores.native_service import by_etag, untouched

if TYPE_CHECKING:
    from opendal.types import Metadata


class AzureService:
    """A `Service`: one container, or a prefix of it."""

    lists = True
    marks = False
    stubs = True
    pins = True
    parts = True
    single_deletes = 50

    def __init__(self, settings: AzureSettings) -> None:
        self.uri = settings.uri
        self.traits = traits("native", settings.root)
        self.answers = Answers(re.compile(r'AzblobError { code: "(\w+)"'), "ListBlobs", self._failure)
        self._settings = settings

    def _failure(self, what: str, code: str, status: int) -> StoreMountError:
        # OpenDAL leaves out the details of a refusal, which say that a signature has ended.
        return azure_error(what, code, status, late=self._settings.is_late())

    def operator(self) -> opendal.Operator:
        try:
            return opendal.Operator("azblob", **self._settings.native())
        except opendal.exceptions.ConfigInvalid as error:
            raise Invalid(f"{self.uri}: {str(error).partition('Context')[0].strip()}") from error

    def metadata(self, meta: Meta) -> dict[str, str]:
        return azure_written(meta)

    def other(self, *, deadline: float, uploads: Uploads) -> ArtifactStore:
        return AzureStore(self._settings, deadline=deadline, uploads=uploads)

    def verbatim(self, key: str) -> bool:
        return untouched(key) and is_holdable(key)

    def pin(self, artifact: Artifact) -> Mapping[str, Any]:
        return {"if_match": artifact.version}

    def artifact(self, key: str, metadata: Metadata) -> Artifact | None:
        return None if says_folder(metadata.user_metadata) else by_etag(key, metadata)
