"""The flavor `custom`: any URL that fsspec can open, and any service of OpenDAL.

What it is: the check that fsspec knows the protocol, or what follows `opendal+` can be a service, and the opening.
What it is not: the stores (`stores.remote`, `stores.user`).
"""

from __future__ import annotations

from collections.abc import Iterable

from storemount.stores.base import ArtifactStore
from storemount.stores.flavors.spec import FSSPEC, NATIVE, Attribute, Flavor, StoreSpec, is_telling, json_attribute, near, refusal
from storemount.stores.uri import scheme_of

_OPENDAL = "opendal+"
_CACHES = {"simplecache", "filecache", "blockcache", "cached", "dfs_cache"}


def flavor(protocols: Iterable[str]) -> Flavor:
    """`protocols` are those of the other flavors, for hints at what a misspelt one was meant to be."""
    others = set(protocols)

    def check(spec: StoreSpec) -> str:
        path = spec.path.strip()
        scheme = scheme_of(path)
        if not scheme:
            raise refusal(spec, "the path of the flavor custom is a URL, such as sftp://host/folder; for a folder, use the flavor local")
        if scheme.startswith(_OPENDAL):
            _check_service(spec)
            return path.rstrip("/") if not path.endswith("://") else path
        import fsspec

        known = {*fsspec.available_protocols(), *fsspec.registry}
        if (protocol := scheme.rstrip(":/")) not in known:
            hint = near(protocol, known | others)
            raise refusal(spec, f"there is no protocol {protocol!r}{hint}; see: storemount artifact-store flavor list")
        if protocol in _CACHES:
            raise refusal(spec, f"{protocol} can give old bytes for a new version, and a mount has a cache of its own; leave it out")
        return path

    return Flavor(
        "custom",
        (),
        (Attribute("options", "keyword arguments of fsspec's file system, or of OpenDAL's service", secret=True, json=True),),
        (FSSPEC, NATIVE),
        "any URL that fsspec can open, and any service of OpenDAL (opendal+webdav://, ...)",
        check,
        _open,
    )


def _open(spec: StoreSpec, engine: str, deadline: float) -> ArtifactStore:
    service = scheme_of(spec.path).startswith(_OPENDAL)
    if engine == (FSSPEC if service else NATIVE):
        raise refusal(spec, f"{scheme_of(spec.path)} has no engine {engine!r}; the native one opens opendal+SERVICE://, fsspec all else")
    if service:
        return _open_service(spec, deadline)
    from storemount.stores.remote import RemoteStore

    return RemoteStore(spec.path, json_attribute(spec, "options"), deadline=deadline)


def _check_service(spec: StoreSpec) -> None:
    wrong = [name for name, value in json_attribute(spec, "options").items() if isinstance(value, dict | list) or value is None]
    if wrong:
        raise refusal(spec, f"the option {wrong[0]} is not a text, a number or true or false, which are all that OpenDAL takes")
    rest = spec.path.strip().partition("://")[2]
    if any(segment in ("", ".", "..") for segment in rest.strip("/").split("/")) and rest.strip("/"):
        raise refusal(spec, f"the path {rest!r} has an empty, '.' or '..' segment; name a plain folder of the service")


def _open_service(spec: StoreSpec, deadline: float) -> ArtifactStore:
    """What follows the scheme is a folder in the service, below the `root` of its options."""
    from storemount.stores.user.calls import UserCalls
    from storemount.stores.user.facts import Failures
    from storemount.stores.user.service import OpendalService
    from storemount.stores.user.store import UserStore

    told = json_attribute(spec, "options")
    options = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in told.items()}
    root = scheme_of(spec.path)
    service = root.removeprefix(_OPENDAL).removesuffix("://")
    failures = Failures(f"OpenDAL's {service}", [text for name, text in options.items() if is_telling(name)])
    made = OpendalService(root, service, options, deadline=deadline)
    calls = UserCalls(lambda: made, failures, asynchronous=True, at_once=16 if made.in_parts else 4, deadline=deadline)
    return UserStore(spec.path, calls, failures, try_out=not spec.read_only, deadline=deadline, engine=NATIVE)
