"""S3Settings: one bucket and how to reach it, in the words of each engine.

What it is: the translation of the s3 flavor's attributes, which are those of s3fs and botocore, into what each client library expects.
What it is not: a client; it imports none.
Invariants: frozen. `beyond_native` names everything given that the native engine would have to ignore; nothing is ever ignored silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from storemount.stores.base import Traits
from storemount.stores.credentials import Keys
from storemount.stores.dialects import LINK

_CLIENT = {"endpoint_url": "endpoint", "region_name": "region"}
_CREDENTIALS = {"aws_access_key_id": "access_key_id", "aws_secret_access_key": "secret_access_key", "aws_session_token": "session_token"}
_ADDITIONAL = {
    "ServerSideEncryption": "server_side_encryption",
    "SSEKMSKeyId": "server_side_encryption_aws_kms_key_id",
    "ACL": "default_acl",
}
_ADDITIONAL |= {"StorageClass": "default_storage_class"}
S3_OBJECTS = ("client_kwargs", "config_kwargs", "s3_additional_kwargs")
"""The attributes that are JSON objects."""

AUTHORITIES = ("AWS_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name a file of the certificates to trust: botocore knows the first of them, OpenDAL the second."""

NOTHING: Mapping[str, str] = MappingProxyType({})

_TUNING = {"connect_timeout", "read_timeout", "retries", "max_pool_connections", "tcp_keepalive", "s3", "signature_version"}


@dataclass(frozen=True, slots=True)
class S3Settings:
    """`prefix` is the store's root in the bucket, without slashes at its ends; "" is the whole bucket."""

    bucket: str
    prefix: str = ""
    key: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    region: str | None = None
    client_kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    config_kwargs: Mapping[str, Any] = field(default_factory=dict)
    s3_additional_kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    authorities: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, path: str, attributes: Mapping[str, str], objects: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str] = NOTHING
    ) -> S3Settings:
        """From a valid path and attributes; `objects` are the parsed ones of `S3_OBJECTS`. Whom to trust can stand in `environ`."""
        bucket, _, prefix = path.removeprefix("s3://").partition("/")
        key, secret, token, endpoint, region = (attributes.get(name) or None for name in ("key", "secret", "token", "endpoint", "region"))
        authorities = {name: environ[name] for name in AUTHORITIES if environ.get(name)}
        given = {name: objects[name] for name in S3_OBJECTS}
        return cls(bucket, prefix, key, secret, token, endpoint, region, authorities=authorities, **given)

    def signed(self, keys: Keys | None) -> S3Settings:
        """These settings with keys, and with their region and endpoint where none is given here."""
        if keys is None:
            return self
        endpoint = self.endpoint or (None if "endpoint_url" in self.client_kwargs else keys.endpoint)
        region = self.region or (None if "region_name" in self.client_kwargs else keys.region)
        return replace(self, key=keys.key, secret=keys.secret, token=keys.token, endpoint=endpoint, region=region)

    @property
    def given_keys(self) -> dict[str, str]:
        """Those among key, secret and token that the attributes have."""
        inner = {"key": "aws_access_key_id", "secret": "aws_secret_access_key", "token": "aws_session_token"}
        outer = {"key": self.key, "secret": self.secret, "token": self.token}
        return {name: str(value) for name in outer if (value := outer[name] or self.client_kwargs.get(inner[name]))}

    @property
    def _encrypted(self) -> bool:
        return not str(self.endpoint or self.client_kwargs.get("endpoint_url", "")).startswith("http://")

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def root(self) -> str:
        """What every key of the store begins with in the bucket."""
        return self.prefix + "/" if self.prefix else ""

    def traits(self, engine: str) -> Traits:
        """What both engines can do. The limit of metadata is S3's own, for names and texts together."""
        longest = 1024 - len(self.root.encode())
        return Traits(engine=engine, conditional=True, modes=True, link_suffix=LINK, meta_bytes=2048, max_key_bytes=longest)

    def beyond_native(self) -> list[str]:
        """The settings that only botocore understands, as a user wrote them."""
        foreign = [f"client_kwargs.{name}" for name in self.client_kwargs if name not in _CLIENT | _CREDENTIALS]
        foreign += [f"config_kwargs.{name}" for name in self.config_kwargs if name not in _TUNING]
        foreign += [f"s3_additional_kwargs.{name}" for name in self.s3_additional_kwargs if name not in _ADDITIONAL]
        if self.config_kwargs.get("signature_version", "s3v4") != "s3v4":
            foreign.append("config_kwargs.signature_version")
        if "AWS_CA_BUNDLE" in self.authorities and self._encrypted:
            foreign.append("the variable AWS_CA_BUNDLE")
        foreign += [f"config_kwargs.s3.{name}" for name in self.config_kwargs.get("s3", {}) if name != "addressing_style"]
        if self.prefix != self.prefix.strip():
            foreign.append("a prefix with spaces at its ends")
        return foreign

    def native(self) -> dict[str, str]:
        """Options of OpenDAL's s3 service. Time-outs and retries are not among them: the store's deadline rules those."""
        given = {"bucket": self.bucket, "root": "/" + self.prefix, "access_key_id": self.key, "secret_access_key": self.secret}
        given |= {"session_token": self.token, "endpoint": self.endpoint, "region": self.region}
        given |= {ours: self.client_kwargs[theirs] for theirs, ours in (_CLIENT | _CREDENTIALS).items() if theirs in self.client_kwargs}
        given |= {ours: self.s3_additional_kwargs[theirs] for theirs, ours in _ADDITIONAL.items() if theirs in self.s3_additional_kwargs}
        if self.config_kwargs.get("s3", {}).get("addressing_style") == "virtual":
            given["enable_virtual_host_style"] = "true"
        return {name: str(value) for name, value in given.items() if value is not None}

    def s3fs(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments of s3fs's file system. `config` is botocore configuration that the user's own goes over."""
        client = dict(self.client_kwargs)
        if self.region:
            client.setdefault("region_name", self.region)
        if self.endpoint:
            client.setdefault("endpoint_url", self.endpoint)
        # botocore reads AWS_CA_BUNDLE itself.
        if self.authorities and "AWS_CA_BUNDLE" not in self.authorities:
            client.setdefault("verify", self.authorities["SSL_CERT_FILE"])
        credentials = {"key": self.key, "secret": self.secret, "token": self.token}
        options = {
            "client_kwargs": client,
            "config_kwargs": {**config, **self.config_kwargs},
            "s3_additional_kwargs": dict(self.s3_additional_kwargs),
        }
        return {name: value for name, value in (credentials | options).items() if value}


def client_config(deadline: float) -> dict[str, Any]:
    """How botocore's client waits and tries, with so many seconds for a request."""
    config: dict[str, Any] = {"connect_timeout": deadline * 0.3, "read_timeout": deadline * 0.3, "max_pool_connections": 64}
    config |= {"retries": {"mode": "standard", "total_max_attempts": 3}}
    # Other servers than AWS often refuse the newer checksum headers.
    return config | {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
