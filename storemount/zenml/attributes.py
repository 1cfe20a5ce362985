"""From ZenML's words to storemount's: a definition, with its secrets at hand, as a store that can be opened.

What it is: the table of flavors and of the keys in a secret that stand for their attributes.
What it is not: the check of the outcome; that is the flavor's (`stores.flavors.validate`).
Precedence, as in ZenML: a service connector, then `authentication_secret`, then the attributes themselves. An attribute of which nothing
is known here is handed on as it is, so that the flavor refuses it rather than nobody seeing it.
Invariant: no message repeats a value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from storemount.errors import ExitCode, Refusal
from storemount.registry.entry import Entry, Level
from storemount.stores.flavors import StoreSpec
from storemount.zenml.definition import AUTHENTICATION, Definition, reference

_FLAVORS = {"b2": "s3", "digitalocean": "s3"}
"""ZenML's flavors that are one of ours under another name. (Its others, those of users too, are taken by their own names.)"""

B2_ENDPOINT = "https://s3.us-west-004.backblazeb2.com"
"""Where ZenML's flavor b2 looks when it is not told."""

_S3_KEYS = {
    "aws_access_key_id": "key",
    "access_key_id": "key",
    "aws_secret_access_key": "secret",
    "secret_access_key": "secret",
    "aws_session_token": "token",
    "session_token": "token",
}

CREDENTIALS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "s3": ("key", "secret", "token"),
        "gcp": ("token",),
        "azure": ("account_name", "account_key", "sas_token", "connection_string", "client_id", "client_secret", "tenant_id"),
    }
)
"""The attributes of a flavor that a connector or a secret gives: where one does, none of these is taken from anywhere else."""

SecretOf = Callable[[str], Mapping[str, str]]
"""The values of a secret by its name. Raises KeyError when there is none."""


def flavor_of(definition: Definition) -> str:
    """storemount's name of the store's flavor."""
    return _FLAVORS.get(definition.flavor, definition.flavor)


def entry_of(definition: Definition, left_out: frozenset[str] = frozenset()) -> Entry:
    """The description as it may stand in a registry: the attributes that are here, without those in `left_out`."""
    values = {name: value for name, value in definition.configuration.items() if name not in left_out}
    path = _text(values.pop("path", ""))
    return Entry(definition.name, flavor_of(definition), path, Level.ZENML, _texts(_ours(definition, values)))


def spec_of(definition: Definition, secret_of: SecretOf, connector: Mapping[str, Any] | None = None) -> StoreSpec:
    """The store, its secrets looked up. `connector` are attributes that its service connector gave. Raises Refusal, and what `secret_of`
    raises but KeyError."""
    values = {name: _looked_up(definition, name, value, secret_of) for name, value in definition.configuration.items()}
    path = _text(values.pop("path", ""))
    named = values.pop(AUTHENTICATION, None)
    flavor = flavor_of(definition)
    given = connector
    if given is None and named:
        given = _from_secret(definition, str(named), secret_of)
    if given is not None:
        kept = {name: value for name, value in values.items() if name not in CREDENTIALS.get(flavor, ())}
        values = _with_region({**kept, **given}, values) if flavor == "s3" else {**kept, **given}
    return StoreSpec(definition.name, flavor, path, _texts(_ours(definition, values)))


def _looked_up(definition: Definition, name: str, value: Any, secret_of: SecretOf) -> Any:
    link = reference(value)
    if link is None:
        return value
    values = _secret(definition, link.secret, secret_of)
    if link.key not in values:
        message = (
            f"ZenML's store {definition.name!r} takes its {name} from {link.key!r} of the secret {link.secret!r}, which has no such key"
        )
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"{message}; mend it in ZenML")
    return values[link.key]


def _secret(definition: Definition, name: str, secret_of: SecretOf) -> Mapping[str, str]:
    try:
        return secret_of(name)
    except KeyError:
        message = f"ZenML's store {definition.name!r} needs the secret {name!r}, which ZenML does not have; make it there"
        raise Refusal(ExitCode.BAD_CONFIGURATION, message) from None


def _from_secret(definition: Definition, name: str, secret_of: SecretOf) -> dict[str, Any]:
    """The attributes that its authentication secret gives."""
    flavor, values = flavor_of(definition), _secret(definition, name, secret_of)
    known: Mapping[str, str] = _S3_KEYS if flavor == "s3" else {key: key for key in CREDENTIALS.get(flavor, values)}
    given = {known[key]: value for key, value in values.items() if key in known and value}
    if not given:
        message = f"the secret {name!r} of ZenML's store {definition.name!r} has none of the keys {', '.join(known)}"
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"{message}; mend it in ZenML")
    return given


def _with_region(values: dict[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """A connector's region counts where the store's own configuration names none."""
    region = values.get("region")
    client = _object(written.get("client_kwargs"))
    return values if not region or "region_name" not in client else {name: value for name, value in values.items() if name != "region"}


def _ours(definition: Definition, values: Mapping[str, Any]) -> dict[str, Any]:
    """What two flavors of ZenML say in a way of their own: the server of a provider."""
    ours = dict(values)
    client = _object(ours.get("client_kwargs"))
    if definition.flavor == "digitalocean" and "endpoint_url" not in client and ours.get("region"):
        ours["endpoint"] = f"https://{ours['region']}.digitaloceanspaces.com"
    if definition.flavor == "b2" and "endpoint_url" not in client:
        ours["endpoint"] = B2_ENDPOINT
    return ours


def _object(value: Any) -> Mapping[str, Any]:
    """A value that is a JSON object, or the text of one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}  # the flavor's own check says what is wrong with it
    return value if isinstance(value, Mapping) else {}


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items() if value is not None and value != {}}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
