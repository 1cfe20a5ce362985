"""Flavors: which kinds of store there are, what each can be told, and how a description becomes an open store.

What it is: one table (`FLAVORS`), the checks of a description against it, and the one place that chooses an engine.
What it is not: the registry of names (`registry`), or an engine; engines are imported only when a store of theirs is opened.
Invariants: importing this module imports no client library and no event loop. A `StoreSpec` that `validate` gave back has a known
flavor, a path of that flavor, and attributes that parse. No message repeats the value of an attribute or the credentials in a URI.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from urllib.parse import unquote

from storemount.errors import ExitCode, Invalid, Refusal
from storemount.stores.base import ArtifactStore
from storemount.stores.uri import scheme_of, without_password

AUTO, NATIVE, FSSPEC, LOCAL, MEMORY = "auto", "native", "fsspec", "local", "memory"


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something a store of a flavor can be told. `secret` is never shown; `json` is the text of a JSON object."""

    name: str
    help: str
    secret: bool = False
    json: bool = False


@dataclass(frozen=True, slots=True)
class Flavor:
    """A kind of store. `schemes` are the beginnings its path may have ("" is a plain path; none at all: any protocol of fsspec).
    `engines` are what can open it, the one that `auto` takes first."""

    name: str
    schemes: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    engines: tuple[str, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """A store as somebody described it: raw strings, JSON still text, secrets already resolved (and kept out of the repr)."""

    name: str
    flavor: str
    path: str
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)


_S3_ATTRIBUTES = (
    Attribute("key", "access key id; without it, the usual AWS places are asked (environment, profile, instance)", secret=True),
    Attribute("secret", "secret access key", secret=True),
    Attribute("token", "session token of temporary credentials", secret=True),
    Attribute("endpoint", "URL of an S3 server that is not AWS, such as http://127.0.0.1:9000"),
    Attribute("region", "region of the bucket, such as eu-central-1"),
    Attribute("client_kwargs", 'for the S3 client, such as {"endpoint_url": "https://...", "region_name": "..."}', json=True),
    Attribute("config_kwargs", 'for the client\'s configuration, such as {"s3": {"addressing_style": "virtual"}}', json=True),
    Attribute("s3_additional_kwargs", 'for each request, such as {"ServerSideEncryption": "AES256"}', json=True),
)

FLAVORS: Mapping[str, Flavor] = MappingProxyType(
    {
        flavor.name: flavor
        for flavor in (
            Flavor("local", ("", "file://"), (), (LOCAL,), "a folder on this machine"),
            Flavor("s3", ("s3://",), _S3_ATTRIBUTES, (NATIVE, FSSPEC), "a bucket of Amazon S3 or of a compatible server"),
            Flavor("memory", ("memory://",), (), (MEMORY,), "nothing but memory, for trying things out; gone with the mount"),
            Flavor(
                "custom",
                (),
                (Attribute("options", "keyword arguments of the file system", secret=True, json=True),),
                (FSSPEC,),
                "any URL that fsspec can open, your own registered protocols included",
            ),
        )
    }
)
"""Every flavor by its name."""


def spec_of_uri(uri: str) -> StoreSpec:
    """The description behind a URI (or an absolute path) given instead of a name. Raises Refusal for a scheme nobody knows."""
    scheme = scheme_of(uri)
    flavor = next((flavor.name for flavor in FLAVORS.values() if scheme in flavor.schemes), "custom")
    return validate(StoreSpec(without_password(uri), flavor, uri))


def validate(spec: StoreSpec) -> StoreSpec:
    """`spec` with its path normalised. Raises Refusal(BAD_CONFIGURATION), one line: what, where, what to do."""
    flavor = FLAVORS.get(spec.flavor)
    if flavor is None:
        raise _refusal(spec, f"there is no flavor {spec.flavor!r}{_near(spec.flavor, FLAVORS)}; known: {', '.join(FLAVORS)}")
    _check_attributes(spec, flavor)
    path = spec.path.strip()
    if flavor.schemes and scheme_of(path) not in flavor.schemes:
        _refuse_scheme(spec, flavor)
    if flavor.name == "local":
        return replace(spec, path=_local_path(spec, path))
    if flavor.name == "s3":
        _check_s3(spec)
        return replace(spec, path=_s3_path(spec, path))
    if flavor.name == "custom":
        _check_protocol(spec, path)
    return replace(spec, path=path)


def json_attribute(spec: StoreSpec, name: str) -> dict[str, object]:
    """The JSON object that the attribute `name` holds; empty where it was not given. Raises Refusal when it does not parse."""
    text = spec.attributes.get(name, "").strip()
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise _refusal(spec, f"the attribute {name} is not JSON ({error}); write an object, such as {{}}") from None
    if not isinstance(value, dict):
        raise _refusal(spec, f'the attribute {name} is not a JSON object; write {{"name": value, ...}}')
    return value


def open_store(spec: StoreSpec, *, engine: str = AUTO, deadline: float = 20.0) -> ArtifactStore:
    """The store behind `spec`, not yet asked anything (see `ArtifactStore.check`).

    engine: auto, or one that the flavor names. `deadline` in seconds bounds each request (S14). Raises Refusal when the flavor has no such
    engine, or when the engine cannot do what the attributes ask.
    """
    spec = validate(spec)
    flavor = FLAVORS[spec.flavor]
    if engine not in (AUTO, *flavor.engines):
        known = " or ".join((AUTO, *flavor.engines))
        raise _refusal(spec, f"the flavor {flavor.name} has no engine {engine!r}; use --engine {known}")
    try:
        return _OPENERS[flavor.name](spec, engine, deadline)
    except Invalid as error:
        raise _refusal(spec, str(error)) from error


def _open_local(spec: StoreSpec, engine: str, deadline: float) -> ArtifactStore:
    from storemount.stores.local import LocalStore

    return LocalStore(spec.path)


def _open_memory(spec: StoreSpec, engine: str, deadline: float) -> ArtifactStore:
    from storemount.stores.memory import MemoryStore

    return MemoryStore(spec.path)


def _open_custom(spec: StoreSpec, engine: str, deadline: float) -> ArtifactStore:
    from storemount.stores.remote import RemoteStore

    return RemoteStore(spec.path, json_attribute(spec, "options"), deadline=deadline)


def _open_s3(spec: StoreSpec, engine: str, deadline: float) -> ArtifactStore:
    from storemount.stores.s3settings import S3_OBJECTS, S3Settings

    settings = S3Settings.of(spec.path, spec.attributes, {name: json_attribute(spec, name) for name in S3_OBJECTS})
    foreign = settings.beyond_native()
    if engine == NATIVE and foreign:
        raise _refusal(spec, f"the native engine does not know {', '.join(foreign)}; use --engine fsspec")
    if engine == FSSPEC or foreign:
        from storemount.stores.s3 import S3Store

        return S3Store(settings, deadline=deadline)
    from storemount.stores.native import NativeStore

    return NativeStore(settings, deadline=deadline)


_OPENERS: Mapping[str, Callable[[StoreSpec, str, float], ArtifactStore]] = MappingProxyType(
    {"local": _open_local, "s3": _open_s3, "memory": _open_memory, "custom": _open_custom}
)


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def _refusal(spec: StoreSpec, message: str) -> Refusal:
    return Refusal(ExitCode.BAD_CONFIGURATION, f"store {spec.name!r}: {message}")


def _refuse_scheme(spec: StoreSpec, flavor: Flavor) -> None:
    scheme = scheme_of(spec.path)
    wanted = " or ".join(scheme or "a plain path" for scheme in flavor.schemes)
    other = next((other.name for other in FLAVORS.values() if scheme in other.schemes), "custom")
    given = f"not with {scheme}; for that, use the flavor {other}" if scheme else "such as " + flavor.schemes[0] + "my-bucket"
    raise _refusal(spec, f"the path of the flavor {flavor.name} begins with {wanted}, {given}")


def _check_attributes(spec: StoreSpec, flavor: Flavor) -> None:
    allowed = {attribute.name: attribute for attribute in flavor.attributes}
    for name in spec.attributes:
        if name not in allowed:
            known = f"allowed: {', '.join(allowed)}" if allowed else "it takes none"
            raise _refusal(spec, f"the flavor {flavor.name} has no attribute {name!r}{_near(name, allowed)}; {known}")
        if allowed[name].json:
            json_attribute(spec, name)


def _local_path(spec: StoreSpec, path: str) -> str:
    if path.lower().startswith("file://"):
        path = unquote(path[len("file://") :].removeprefix("localhost"))
        if not path.startswith("/"):
            raise _refusal(spec, "a file:// URI names an absolute path; write file:///the/path")
    if not path:
        raise _refusal(spec, "the path is empty; name a folder")
    return os.path.abspath(os.path.expanduser(path))


def _s3_path(spec: StoreSpec, path: str) -> str:
    bucket, _, prefix = path[len("s3://") :].partition("/")
    if "@" in bucket:
        raise _refusal(spec, "credentials do not belong in the URI; give them as the attributes key and secret")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", bucket):
        raise _refusal(spec, f"{bucket!r} is not a bucket; write s3://bucket or s3://bucket/prefix")
    segments = prefix.strip("/").split("/") if prefix.strip("/") else []
    if any(segment in ("", ".", "..") for segment in segments):
        raise _refusal(spec, f"the prefix {prefix!r} has an empty, '.' or '..' segment; name a plain folder of the bucket")
    return "s3://" + "/".join([bucket, *segments])


def _check_s3(spec: StoreSpec) -> None:
    if bool(spec.attributes.get("key")) != bool(spec.attributes.get("secret")):
        raise _refusal(spec, "the attributes key and secret belong together; give both, or neither")
    inner = json_attribute(spec, "client_kwargs").get("endpoint_url")
    outer = spec.attributes.get("endpoint") or None
    if inner and outer and inner != outer:
        raise _refusal(spec, "the attributes endpoint and client_kwargs.endpoint_url differ; keep one of them")
    endpoint = str(outer or inner or "")
    if endpoint and not re.match(r"https?://[^/]", endpoint):
        raise _refusal(spec, "the endpoint is not a URL; write http://host:port or https://host")


def _check_protocol(spec: StoreSpec, path: str) -> None:
    scheme = scheme_of(path)
    if not scheme:
        raise _refusal(spec, "the path of the flavor custom is a URL, such as sftp://host/folder; for a folder, use the flavor local")
    import fsspec

    known = set(fsspec.available_protocols())
    if (protocol := scheme.rstrip(":/")) not in known:
        own = {scheme.removesuffix("://") for flavor in FLAVORS.values() for scheme in flavor.schemes if scheme}
        raise _refusal(spec, f"there is no protocol {protocol!r}{_near(protocol, known | own)}; see: storemount artifact-store flavor list")
