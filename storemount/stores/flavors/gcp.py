"""The flavor `gcp`: a bucket of Google Cloud Storage.

What it is: its attributes, their check, and the choice of its engine.
What it is not: the credentials themselves (`stores.gcscredentials`), or the stores (`stores.gcs`, `stores.native`).
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

from storemount.stores.base import ArtifactStore
from storemount.stores.flavors.spec import FSSPEC, NATIVE, Attribute, Flavor, StoreSpec, bucket_path, known, refusal

if TYPE_CHECKING:
    from storemount.stores.gcssettings import GcsSettings

_SCHEMES = ("gs://", "gcs://")
_WORDS = ("google_default", "anon", "cloud")
_ACCESS = "ya29."
_WHOLE = "take the whole file that Google gave you: write token=/its/path, or token=@FILE to keep what is in it"
_NEEDED: dict[str, tuple[str, ...]] = {
    "service_account": ("client_email", "private_key", "token_uri"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
    "external_account": ("audience", "subject_token_type", "token_url", "credential_source"),
    "impersonated_service_account": ("service_account_impersonation_url", "source_credentials"),
}

_ATTRIBUTES = (
    Attribute(
        "token",
        "credentials: a JSON object, the path of a file with one (or with an access token), google_default (also without it: "
        "Application Default Credentials), cloud (the machine's own account), anon, or an access token (ya29...), which ends in an hour",
        secret=True,
    ),
    Attribute("project", "the project that the bucket belongs to"),
    Attribute("endpoint", "URL of a server that is not Google's, such as http://127.0.0.1:4443"),
    Attribute("requester_pays", "the project to bill, for a bucket whose readers pay"),
)


def _check(spec: StoreSpec) -> str:
    _check_token(spec)
    scheme = next(scheme for scheme in _SCHEMES if spec.path.strip().lower().startswith(scheme))
    bucket = spec.path.strip()[len(scheme) :].partition("/")[0]
    if "@" in bucket:
        raise refusal(spec, "credentials do not belong in the URI; give them as the attribute token")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", bucket):
        raise refusal(spec, f"{bucket!r} is not a bucket; write gs://bucket or gs://bucket/prefix, in small letters")
    endpoint = spec.attributes.get("endpoint", "")
    if endpoint and not re.match(r"https?://[^/]", endpoint):
        raise refusal(spec, "the endpoint is not a URL; write http://host:port or https://host")
    return _SCHEMES[0] + bucket_path(spec, scheme).removeprefix(scheme)


def _check_token(spec: StoreSpec) -> None:
    token = known(spec, "token")
    if not token or token in _WORDS or token.startswith(_ACCESS):
        return
    if token.startswith("{"):
        _check_object(spec, token, "the attribute token")
    elif not os.path.isfile(os.path.expanduser(token)):
        words = ", ".join(_WORDS)
        raise refusal(spec, f"the attribute token is neither a file here nor a JSON object; write one of these, or one of {words}")
    else:
        _check_file(spec, os.path.expanduser(token))


def _check_file(spec: StoreSpec, path: str) -> None:
    """As it is now: whoever renews it later is trusted to write the like."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read().strip()
    except OSError:
        return  # It may be for whoever mounts to read.
    except UnicodeDecodeError:
        text = ""
    if not text.startswith(_ACCESS):
        _check_object(spec, text, "the file that the attribute token names")


def _check_object(spec: StoreSpec, text: str, what: str) -> None:
    try:
        told = json.loads(text)
    except ValueError as error:
        raise refusal(spec, f"{what} is not JSON ({error}); {_WHOLE}") from None
    kind = told.get("type") if isinstance(told, dict) else None
    if not isinstance(kind, str):
        raise refusal(spec, f'{what} has no "type"; {_WHOLE}')
    if kind not in _NEEDED:
        raise refusal(spec, f"{what} has a type that is not known; known: {', '.join(_NEEDED)}")
    if missing := [name for name in _NEEDED[kind] if not told.get(name)]:
        raise refusal(spec, f"{what} lacks {', '.join(missing)}; {_WHOLE}")


def _open(spec: StoreSpec, engine: str, deadline: float) -> ArtifactStore:
    from storemount.stores.gcssettings import GcsSettings

    settings = GcsSettings.of(spec.path, spec.attributes)
    if engine == NATIVE and (settings.requester_pays or settings.prefix != settings.prefix.strip()):
        raise refusal(spec, "the native engine knows no requester_pays, and no prefix with spaces at its ends; use --engine fsspec")
    if engine == NATIVE:
        return _open_native(settings, deadline)
    from storemount.stores.gcs import GcsStore

    return GcsStore(settings, deadline=deadline)


def _open_native(settings: GcsSettings, deadline: float) -> ArtifactStore:
    from storemount.stores.gcscredentials import GcsCredentials
    from storemount.stores.gcsnative import GcsService
    from storemount.stores.native import NativeStore
    from storemount.stores.renewing import Renewing

    credentials = GcsCredentials(settings.token, seconds=deadline * 0.3)
    return Renewing(lambda token: NativeStore(GcsService(settings, credentials, token or ""), deadline=deadline), credentials)


FLAVOR = Flavor("gcp", _SCHEMES, _ATTRIBUTES, (FSSPEC, NATIVE), "a bucket of Google Cloud Storage", _check, _open)
