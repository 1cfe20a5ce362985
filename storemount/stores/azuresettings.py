"""AzureSettings: one container and how to reach it, in the words of each engine.

What it is: the translation of the azure flavor's attributes, and of what the environment says where they say nothing, into what each
client library expects.
What it is not: a client; it imports none but to make a credential.
Invariants: frozen. An attribute goes before the environment. A key or a signature of the environment is taken for its own account only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from storemount.errors import Invalid

SCHEMES = ("abfs://", "az://", "abfss://")
_SUFFIX = "core.windows.net"
_ACCOUNT = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
_KEY = ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY")
_SAS = ("AZURE_STORAGE_SAS_TOKEN",)
_CONNECTION = ("AZURE_STORAGE_CONNECTION_STRING",)

CREDENTIALS = ("account_key", "sas_token", "connection_string", "client_secret")
"""The attributes that are secrets; at most one of them says who we are."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a path of the flavor names. `host` is the one of the form `abfs://container@account.dfs.core.windows.net/folder`, else ""."""

    scheme: str
    container: str
    host: str
    prefix: str

    @classmethod
    def of(cls, path: str) -> Place:
        scheme, _, rest = path.partition("://")
        authority, _, prefix = rest.partition("/")
        container, _, host = authority.partition("@")
        return cls(scheme, container, host, prefix.strip("/"))

    @property
    def account(self) -> str:
        return self.host.partition(".")[0]

    def __str__(self) -> str:
        whole = f"{self.container}@{self.host}" if self.host else self.container
        return f"{self.scheme}://{whole}/{self.prefix}".rstrip("/")


def connection_parts(text: str) -> dict[str, str]:
    """The fields of a connection string, by their names in lower case. Raises ValueError when it is none."""
    parts = dict(field.strip().split("=", 1) for field in text.split(";") if field.strip())
    return {name.strip().lower(): value.strip() for name, value in parts.items()}


@dataclass(frozen=True, slots=True)
class AzureSettings:
    """`prefix` is the store's root in the container, without slashes at its ends; "" is the whole container. `endpoint` is the URL of the
    account. Without key and signature a token is fetched: for the application (`client_*`, `tenant_id`), or for whoever we are here."""

    uri: str
    container: str
    prefix: str
    account: str
    endpoint: str
    key: str | None = field(default=None, repr=False)
    sas: str | None = field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    tenant_id: str | None = None

    @classmethod
    def of(cls, path: str, attributes: Mapping[str, str], environ: Mapping[str, str]) -> AzureSettings:
        """From a valid path and attributes. Raises Invalid when nothing says which account it is."""
        place = Place.of(path)
        given = {name: value for name, value in attributes.items() if value}
        told = _connection(given, place, environ)
        account = place.account or given.get("account_name") or told.get("accountname") or ""
        endpoint = given.get("endpoint") or told.get("blobendpoint") or ""
        account = account or account_of(endpoint) or _first(environ, _ACCOUNT)
        if not account:
            raise Invalid("which storage account is it? set the attribute account_name (or AZURE_STORAGE_ACCOUNT_NAME)")
        key, sas = given.get("account_key") or told.get("accountkey"), given.get("sas_token") or told.get("sharedaccesssignature")
        if not (key or sas or given.get("client_id")) and _first(environ, _ACCOUNT) in ("", account):
            key = _first(environ, _KEY)
            sas = None if key else _first(environ, _SAS)
        client = (given.get("client_id"), given.get("client_secret"), given.get("tenant_id"))
        endpoint = endpoint or _endpoint(account, place, told)
        return cls(str(place), place.container, place.prefix, account, endpoint.rstrip("/"), key or None, _bare(sas), *client)

    def signed(self, sas: str) -> AzureSettings:
        """The same container, with this signature."""
        return replace(self, sas=_bare(sas))

    @property
    def root(self) -> str:
        """What every key of the store begins with in the container."""
        return self.prefix + "/" if self.prefix else ""

    def is_late(self) -> bool:
        """Whether the signature, by what it says itself, has ended. Not all say it: one can go by a policy of the container's."""
        told = dict(parse_qsl(self.sas or "")).get("se", "")
        try:
            end = datetime.fromisoformat(told)
        except ValueError:
            return False
        return (end if end.tzinfo else end.replace(tzinfo=UTC)) <= datetime.now(UTC)

    def beyond_native(self) -> list[str]:
        """What only the other engine understands, as a user would say it."""
        foreign = [] if self.key or self.sas else ["a token of Microsoft Entra (az login, managed identity, client_id)"]
        if self.prefix != self.prefix.strip():
            foreign.append("a prefix with spaces at its ends")
        return foreign

    def native(self) -> dict[str, str]:
        """Options of OpenDAL's azblob service. Time-outs and retries are not among them: the store's deadline rules those."""
        options = {"container": self.container, "root": "/" + self.prefix, "endpoint": self.endpoint, "account_name": self.account}
        if self.key:
            return options | {"account_key": self.key}
        return options | {"sas_token": self.sas or ""}

    def credential(self) -> Any:
        """What azure-storage-blob takes as a credential. One that fetches tokens also fetches the next one, and is to be closed."""
        if self.key:
            return {"account_name": self.account, "account_key": self.key}
        if self.sas:
            # As text it is also in the URLs that a copy names as its origin.
            return self.sas
        from azure.identity import aio

        if self.client_id and self.client_secret and self.tenant_id:
            return aio.ClientSecretCredential(self.tenant_id, self.client_id, self.client_secret)
        chosen = {"managed_identity_client_id": self.client_id, "workload_identity_client_id": self.client_id}
        chosen["workload_identity_tenant_id"] = self.tenant_id
        return aio.DefaultAzureCredential(**{name: value for name, value in chosen.items() if value})


def account_of(endpoint: str) -> str:
    """The account in an endpoint: the first label of the host, or the path's first segment where the host has no such label."""
    url = urlsplit(endpoint)
    host = url.hostname or ""
    label, _, rest = host.partition(".")
    if rest.startswith("blob."):
        return label
    return url.path.strip("/").partition("/")[0]


def _connection(given: Mapping[str, str], place: Place, environ: Mapping[str, str]) -> dict[str, str]:
    """The fields of the connection string that counts: the one given, or the environment's when nothing else says who we are."""
    if text := given.get("connection_string"):
        return connection_parts(text)
    text = _first(environ, _CONNECTION)
    if not text or any(given.get(name) for name in (*CREDENTIALS, "client_id", "endpoint")):
        return {}
    try:
        told = connection_parts(text)
    except ValueError:
        raise Invalid("AZURE_STORAGE_CONNECTION_STRING is not a connection string; copy it whole from the account's access keys") from None
    named = place.account or given.get("account_name")
    return told if named in (None, "", told.get("accountname")) else {}


def _endpoint(account: str, place: Place, told: Mapping[str, str]) -> str:
    domain = place.host.partition(".")[2]
    if domain:
        return f"https://{account}.{re.sub('^dfs[.]', 'blob.', domain)}"
    return f"{told.get('defaultendpointsprotocol', 'https')}://{account}.blob.{told.get('endpointsuffix', _SUFFIX)}"


def _bare(sas: str | None) -> str | None:
    return sas.lstrip("?") or None if sas else None


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")
