"""Flavors: which kinds of store there are, and how a description becomes an open store.

What it is: one table (`FLAVORS`), and the checks of a description against it that are the same for all.
What it is not: the registry of names (`registry`), what only one flavor knows (a module each), or an engine; engines are imported only
when a store of theirs is opened.
Invariants: importing this package imports no client library and no event loop. A `StoreSpec` that `validate` gave back has a known
flavor, a path of that flavor, and attributes that parse. No message repeats the value of an attribute or the credentials in a URI.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from storemount.errors import Invalid
from storemount.stores.base import ArtifactStore
from storemount.stores.flavors import azure, custom, gcp, local, memory, s3
from storemount.stores.flavors.spec import (
    AUTO,
    FSSPEC,
    LOCAL,
    MEMORY,
    NATIVE,
    Attribute,
    Flavor,
    StoreSpec,
    is_telling,
    json_attribute,
    near,
    refusal,
)
from storemount.stores.uri import scheme_of, without_password

__all__ = [
    "AUTO",
    "FLAVORS",
    "FSSPEC",
    "LOCAL",
    "MEMORY",
    "NATIVE",
    "Attribute",
    "Flavor",
    "StoreSpec",
    "json_attribute",
    "open_store",
    "place_of",
    "spec_of_uri",
    "validate",
]

_OWN = (local.FLAVOR, s3.FLAVOR, gcp.FLAVOR, azure.FLAVOR, memory.FLAVOR)
_CUSTOM = custom.flavor(scheme.removesuffix("://") for flavor in _OWN for scheme in flavor.schemes if scheme)

FLAVORS: Mapping[str, Flavor] = MappingProxyType({flavor.name: flavor for flavor in (*_OWN, _CUSTOM)})
"""Every flavor by its name."""


def spec_of_uri(uri: str, own: Iterable[Flavor] = ()) -> StoreSpec:
    """The description behind a URI (or an absolute path) given instead of a name. `own` are flavors that a user registered; those of the
    table come first. Raises Refusal for a scheme nobody knows."""
    scheme = scheme_of(uri)
    name = next((flavor.name for flavor in FLAVORS.values() if scheme in flavor.schemes), None)
    users = next((flavor for flavor in own if scheme in flavor.schemes), None) if name is None else None
    return validate(StoreSpec(without_password(uri), name or (users.name if users else "custom"), uri, own=users))


def validate(spec: StoreSpec) -> StoreSpec:
    """`spec` with its path normalised. Raises Refusal(BAD_CONFIGURATION), one line: what, where, what to do."""
    flavor = spec.own or FLAVORS.get(spec.flavor)
    if flavor is None:
        raise refusal(spec, f"there is no flavor {spec.flavor!r}{near(spec.flavor, FLAVORS)}; known: {', '.join(FLAVORS)}")
    _check_attributes(spec, flavor)
    if flavor.schemes and scheme_of(spec.path.strip()) not in flavor.schemes:
        _refuse_scheme(spec, flavor)
    return replace(spec, path=flavor.check(spec))


def place_of(spec: StoreSpec) -> str:
    """What tells two stores of one path apart, where the path does not say it all (a class of the user's, options of fsspec): a digest of
    the attributes that are no secrets, so that new credentials are no new store. Empty where there is nothing to add."""
    flavor = spec.own or FLAVORS[spec.flavor]
    told: dict[str, object] = {}
    if spec.own is not None:
        secrets = {attribute.name for attribute in flavor.attributes if attribute.secret}
        told = {name: value for name, value in spec.attributes.items() if name not in secrets and not is_telling(name)}
    elif flavor is _CUSTOM:
        told = {name: value for name, value in json_attribute(spec, "options").items() if not is_telling(name)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16] if told else ""


def open_store(spec: StoreSpec, *, engine: str = AUTO, deadline: float = 20.0) -> ArtifactStore:
    """The store behind `spec`, not yet asked anything (see `ArtifactStore.check`).

    engine: auto, or one that the flavor names. `deadline` in seconds bounds each request (S14). Raises Refusal when the flavor has no such
    engine, or when the engine cannot do what the attributes ask.
    """
    spec = validate(spec)
    flavor = spec.own or FLAVORS[spec.flavor]
    if engine not in (AUTO, *flavor.engines):
        known = " or ".join((AUTO, *flavor.engines))
        raise refusal(spec, f"the flavor {flavor.name} has no engine {engine!r}; use --engine {known}")
    try:
        return flavor.open(spec, engine, deadline)
    except Invalid as error:
        raise refusal(spec, str(error)) from error


def _refuse_scheme(spec: StoreSpec, flavor: Flavor) -> None:
    scheme = scheme_of(spec.path)
    wanted = " or ".join(scheme or "a plain path" for scheme in flavor.schemes)
    other = next((other.name for other in FLAVORS.values() if scheme in other.schemes), "custom")
    given = f"not with {scheme}; for that, use the flavor {other}" if scheme else "such as " + flavor.schemes[0] + "my-bucket"
    raise refusal(spec, f"the path of the flavor {flavor.name} begins with {wanted}, {given}")


def _check_attributes(spec: StoreSpec, flavor: Flavor) -> None:
    allowed = {attribute.name: attribute for attribute in flavor.attributes}
    for name in spec.attributes:
        if name not in allowed and flavor.takes_any:
            continue
        if name not in allowed:
            known = f"allowed: {', '.join(allowed)}" if allowed else "it takes none"
            raise refusal(spec, f"the flavor {flavor.name} has no attribute {name!r}{near(name, allowed)}; {known}")
        if allowed[name].json:
            json_attribute(spec, name)
