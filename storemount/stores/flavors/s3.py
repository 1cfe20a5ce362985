"""The flavor `s3`: a bucket of Amazon S3 or of a compatible server.

What it is: its attributes, their check, and the choice of its engine.
What it is not: the translation for each client (`stores.s3settings`), or the stores (`stores.native` on `stores.s3native`, `stores.s3`).
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from storemount.config import environment
from storemount.stores.base import ArtifactStore
from storemount.stores.flavors.spec import (
    FSSPEC,
    NATIVE,
    Attribute,
    Flavor,
    StoreSpec,
    bucket_path,
    check_reference,
    json_attribute,
    refusal,
)

if TYPE_CHECKING:
    from storemount.stores.credentials import Keys
    from storemount.stores.s3settings import S3Settings
    from storemount.stores.unfinished import Unfinished

_SCHEME = "s3://"

_ATTRIBUTES = (
    Attribute("key", "access key id; without it, the usual AWS places are asked (environment, profile, instance)", secret=True),
    Attribute("secret", "secret access key", secret=True),
    Attribute(
        "token", "session token of temporary credentials; each of the three can be file:/PATH, read again when it expires", secret=True
    ),
    Attribute("profile", "a profile of ~/.aws/config (SSO, roles, credential_process, ...), instead of key and secret"),
    Attribute("endpoint", "URL of an S3 server that is not AWS, such as http://127.0.0.1:9000"),
    Attribute("region", "region of the bucket, such as eu-central-1"),
    Attribute("client_kwargs", 'for the S3 client, such as {"endpoint_url": "https://...", "region_name": "..."}', json=True),
    Attribute("config_kwargs", 'for the client\'s configuration, such as {"s3": {"addressing_style": "virtual"}}', json=True),
    Attribute("s3_additional_kwargs", 'for each request, such as {"ServerSideEncryption": "AES256"}', json=True),
)


def _check(spec: StoreSpec) -> str:
    _check_attributes(spec)
    bucket = spec.path.strip()[len(_SCHEME) :].partition("/")[0]
    if "@" in bucket:
        raise refusal(spec, "credentials do not belong in the URI; give them as the attributes key and secret")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", bucket):
        raise refusal(spec, f"{bucket!r} is not a bucket; write s3://bucket or s3://bucket/prefix")
    return bucket_path(spec, _SCHEME)


def _check_attributes(spec: StoreSpec) -> None:
    if bool(spec.attributes.get("key")) != bool(spec.attributes.get("secret")):
        raise refusal(spec, "the attributes key and secret belong together; give both, or neither")
    if spec.attributes.get("profile") and spec.attributes.get("key"):
        raise refusal(spec, "the attributes profile and key are two ways to say the same; keep one of them")
    for name in ("key", "secret", "token"):
        check_reference(spec, name)
    inner = json_attribute(spec, "client_kwargs").get("endpoint_url")
    outer = spec.attributes.get("endpoint") or None
    if inner and outer and inner != outer:
        raise refusal(spec, "the attributes endpoint and client_kwargs.endpoint_url differ; keep one of them")
    endpoint = str(outer or inner or "")
    if endpoint and not re.match(r"https?://[^/]", endpoint):
        raise refusal(spec, "the endpoint is not a URL; write http://host:port or https://host")


def _open(spec: StoreSpec, engine: str, deadline: float) -> ArtifactStore:
    from storemount.stores.credentials import Credentials, look_for
    from storemount.stores.renewing import Renewing
    from storemount.stores.s3settings import S3_OBJECTS, S3Settings
    from storemount.stores.unfinished import Unfinished

    settings = S3Settings.of(spec.path, spec.attributes, {name: json_attribute(spec, name) for name in S3_OBJECTS}, environment())
    foreign = settings.beyond_native()
    if engine == NATIVE and foreign:
        raise refusal(spec, f"the native engine does not know {', '.join(foreign)}; use --engine fsspec")
    look = look_for(spec.attributes.get("profile") or None, settings.given_keys)
    unfinished = Unfinished(keeps=look is not None)
    make = partial(_signed, settings, FSSPEC if engine == FSSPEC or foreign else NATIVE, deadline, unfinished)
    return make(None) if look is None else Renewing(make, Credentials(look), unfinished)


def _signed(settings: S3Settings, engine: str, deadline: float, unfinished: Unfinished, keys: Keys | None) -> ArtifactStore:
    """The store whose requests are signed with these keys, or with those of the settings."""
    settings = settings.signed(keys)
    if engine == FSSPEC:
        from storemount.stores.s3 import S3Store

        return S3Store(settings, deadline=deadline, unfinished=unfinished)
    from storemount.stores.native import NativeStore
    from storemount.stores.s3native import S3Service

    return NativeStore(S3Service(settings, unfinished), deadline=deadline, unfinished=unfinished)


FLAVOR = Flavor("s3", (_SCHEME,), _ATTRIBUTES, (NATIVE, FSSPEC), "a bucket of Amazon S3 or of a compatible server", _check, _open)
