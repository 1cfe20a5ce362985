"""GcsSettings: one bucket of Google Cloud Storage and how to reach it.

What it is: the gcp flavor's attributes as typed values, with their defaults from the environment.
What it is not: a client, or the credentials themselves (`gcscredentials`); it imports neither.
Invariant: frozen. The endpoint has a scheme and no slash at its end.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from storemount.stores.base import Traits
from storemount.stores.dialects import LINK

GOOGLE = "https://storage.googleapis.com"
SCHEMES = ("gs://", "gcs://")


@dataclass(frozen=True, slots=True)
class GcsSettings:
    """`prefix` is the store's root in the bucket, without slashes at its ends; "" is the whole bucket.

    `token`: anon, google_default, cloud, a path, or the text of a credentials object; "" is google_default. `requester_pays`: whom to
    bill, a project; "" is the owner of the bucket."""

    bucket: str
    prefix: str = ""
    token: str = field(default="", repr=False)
    project: str = ""
    endpoint: str = GOOGLE
    requester_pays: str = ""

    @classmethod
    def of(cls, path: str, attributes: Mapping[str, str]) -> GcsSettings:
        """From a valid path and attributes. STORAGE_EMULATOR_HOST is what Google's own clients read; an attribute goes over it."""
        bucket, _, prefix = path.removeprefix(SCHEMES[0]).partition("/")
        endpoint = attributes.get("endpoint") or os.environ.get("STORAGE_EMULATOR_HOST") or GOOGLE
        if "://" not in endpoint:
            endpoint = "http://" + endpoint
        token, project, pays = (attributes.get(name, "").strip() for name in ("token", "project", "requester_pays"))
        if not token and "endpoint" not in attributes and endpoint != GOOGLE:
            token = "anon"  # An emulator, as Google's clients take it.
        return cls(bucket, prefix, token, project, endpoint.rstrip("/"), pays)

    @property
    def uri(self) -> str:
        return f"gs://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def root(self) -> str:
        """What every key of the store begins with in the bucket."""
        return self.prefix + "/" if self.prefix else ""

    def traits(self, engine: str) -> Traits:
        """What both engines can do. The limit of metadata is Google's own, for names and texts together."""
        longest = 1024 - len(self.root.encode())
        return Traits(engine=engine, conditional=True, modes=True, link_suffix=LINK, meta_bytes=8192, max_key_bytes=longest)
