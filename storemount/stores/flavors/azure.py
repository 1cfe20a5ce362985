"""The flavor `azure`: a container of Azure Blob Storage, or of a server with its API.

What it is: its attributes, their check, and the choice of its engine.
What it is not: the translation for each client (`stores.azuresettings`), or the stores (`stores.native` on `stores.azurenative`,
`stores.azure`).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from functools import partial
from urllib.parse import parse_qsl

from storemount.stores.azuresettings import CREDENTIALS, SCHEMES, AzureSettings, Place, account_of, connection_parts
from storemount.stores.base import ArtifactStore
from storemount.stores.flavors.spec import FILE, FSSPEC, NATIVE, Attribute, Flavor, StoreSpec, bucket_path, check_reference, known, refusal
from storemount.stores.uri import scheme_of

_ATTRIBUTES = (
    Attribute("account_name", "name of the storage account"),
    Attribute("account_key", "access key of the account", secret=True),
    Attribute("sas_token", "shared access signature; it can be file:/PATH, read again when it expires", secret=True),
    Attribute("connection_string", "all of it in one, as the portal shows it below Access keys", secret=True),
    Attribute("client_id", "id of an application (with client_secret and tenant_id), or of a managed identity"),
    Attribute("client_secret", "secret of the application", secret=True),
    Attribute("tenant_id", "id of the application's tenant"),
    Attribute("endpoint", "URL of the account's blob service where it is not Azure's own, such as http://127.0.0.1:10000/devstoreaccount1"),
)
_ENTRA = "a token of Microsoft Entra goes only to an https endpoint"
_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*|\$root|\$web")
_FORM = "write abfs://container/folder, or abfs://container@account.dfs.core.windows.net/folder"


def _check(spec: StoreSpec) -> str:
    whole = bucket_path(spec, scheme_of(spec.path.strip()))
    place = Place.of(whole)
    if not _CONTAINER.fullmatch(place.container):
        # Not repeated: what stands before an @ elsewhere is a password.
        raise refusal(spec, f"the URI names no container (3 to 63 of a-z, 0-9 and single hyphens); {_FORM}")
    if "@" in whole.split("/")[2] and not re.fullmatch(r"[a-z0-9]{3,24}\.(dfs|blob)\.[a-z0-9.-]+", place.host):
        raise refusal(spec, f"what follows the @ is not the host of a storage account; {_FORM}, and give another server as the endpoint")
    _check_credentials(spec)
    _check_account(spec, place)
    return str(place)


def _check_credentials(spec: StoreSpec) -> None:
    given = {name for name, value in spec.attributes.items() if value}
    said = [name for name in CREDENTIALS if name in given]
    if len(said) > 1:
        raise refusal(spec, f"the attributes {' and '.join(said)} each say who we are; keep one of them")
    if "client_secret" in given and not {"client_id", "tenant_id"} <= given:
        raise refusal(spec, "the attribute client_secret goes with client_id and tenant_id; give all three")
    if "client_id" in given and said not in ([], ["client_secret"]):
        raise refusal(spec, f"the attributes client_id and {said[0]} each say who we are; keep one of them")
    if "tenant_id" in given and "client_id" not in given:
        raise refusal(spec, "the attribute tenant_id goes with client_id; give both, or neither")
    check_reference(spec, "sas_token")
    _check_key(spec, "in the attribute account_key", known(spec, "account_key"))
    _check_signature(spec, "in the attribute sas_token", known(spec, "sas_token"))
    if text := known(spec, "connection_string"):
        _check_connection(spec, text, "endpoint" in given)
    if "client_id" in given and known(spec, "endpoint").startswith("http://"):
        raise refusal(spec, f"the attribute client_id asks for a token, and {_ENTRA}; write https://...")


def _check_connection(spec: StoreSpec, text: str, has_endpoint: bool) -> None:
    try:
        parts = connection_parts(text)
    except ValueError:
        parts = {}
    if not parts.get("accountname") and not parts.get("blobendpoint"):
        wanted = "DefaultEndpointsProtocol=https;AccountName=...;AccountKey=..."
        raise refusal(spec, f"the attribute connection_string is none; copy it whole: {wanted}")
    if not parts.get("accountkey") and not parts.get("sharedaccesssignature"):
        raise refusal(spec, "the connection string has neither an AccountKey nor a SharedAccessSignature; copy it whole")
    if has_endpoint and parts.get("blobendpoint"):
        raise refusal(spec, "the attribute endpoint and the connection string's BlobEndpoint are one too many; keep one of them")
    _check_key(spec, "in the attribute connection_string", parts.get("accountkey", ""))
    _check_signature(spec, "in the attribute connection_string", parts.get("sharedaccesssignature", ""))


def _check_key(spec: StoreSpec, where: str, key: str) -> None:
    try:
        base64.b64decode(key, validate=True)
    except binascii.Error:
        raise refusal(spec, f"the account key {where} is not base64; copy it whole, up to the = at its end") from None


def _check_signature(spec: StoreSpec, where: str, sas: str) -> None:
    if not sas or sas.startswith(FILE):
        return
    if "://" in sas.partition("?")[0]:
        raise refusal(spec, f"the shared access signature {where} is a whole URL; keep what follows its ?")
    if not dict(parse_qsl(sas.lstrip("?"))).get("sig"):
        raise refusal(spec, f"the shared access signature {where} has no field sig; copy it whole, as the portal shows it")


def _check_account(spec: StoreSpec, place: Place) -> None:
    endpoint, account = spec.attributes.get("endpoint", ""), spec.attributes.get("account_name", "")
    if endpoint and not re.match(r"https?://[^/]", endpoint):
        raise refusal(spec, "the endpoint is not a URL; write https://host, or http://host:port/account")
    if account and not re.fullmatch(r"[a-z0-9]{3,24}", account):
        raise refusal(spec, f"{account!r} is not the name of a storage account; that is 3 to 24 of a-z and 0-9")
    if endpoint and not (account or place.account or account_of(endpoint)):
        raise refusal(spec, "which account is it? set the attribute account_name beside the endpoint")
    parts = connection_parts(known(spec, "connection_string"))
    names = {name for name in (place.account, account, parts.get("accountname", "")) if name}
    if len(names) > 1:
        raise refusal(spec, f"it names several accounts ({', '.join(sorted(names))}); keep one of them")


def _check_settings(spec: StoreSpec, settings: AzureSettings) -> None:
    """What the environment has added."""
    _check_key(spec, "in the environment (AZURE_STORAGE_...)", settings.key or "")
    _check_signature(spec, "in the environment (AZURE_STORAGE_...)", settings.sas or "")
    if not (settings.key or settings.sas) and settings.endpoint.startswith("http://"):
        raise refusal(spec, f"no key and no signature is given, and {_ENTRA}; set account_key, sas_token or connection_string")


def _open(spec: StoreSpec, engine: str, deadline: float) -> ArtifactStore:
    settings = AzureSettings.of(spec.path, spec.attributes, os.environ)
    _check_settings(spec, settings)
    foreign = settings.beyond_native()
    if engine == NATIVE and foreign:
        raise refusal(spec, f"the native engine does not know {', '.join(foreign)}; use --engine fsspec")
    make = partial(_signed, settings, FSSPEC if engine == FSSPEC or foreign else NATIVE, deadline)
    if not (sas := spec.attributes.get("sas_token", "")).startswith(FILE):
        return make(None)
    from storemount.stores.credentials import Credentials, from_file
    from storemount.stores.renewing import Renewing

    return Renewing(make, Credentials(from_file("sas_token", sas)))


def _signed(settings: AzureSettings, engine: str, deadline: float, sas: str | None) -> ArtifactStore:
    """The store whose requests carry this signature, or what the settings say."""
    settings = settings.signed(sas) if sas is not None else settings
    if engine == FSSPEC:
        from storemount.stores.azure import AzureStore

        return AzureStore(settings, deadline=deadline)
    from storemount.stores.azurenative import AzureService
    from storemount.stores.native import NativeStore

    return NativeStore(AzureService(settings), deadline=deadline)


FLAVOR = Flavor("azure", SCHEMES, _ATTRIBUTES, (NATIVE, FSSPEC), "a container of Azure Blob Storage", _check, _open)
