"""The flavor `custom`: any URL that fsspec can open.

What it is: the check that fsspec knows the protocol, and its opening.
What it is not: the store (`stores.remote`).
"""

from __future__ import annotations

from collections.abc import Iterable

from storemount.stores.base import ArtifactStore
from storemount.stores.flavors.spec import FSSPEC, Attribute, Flavor, StoreSpec, json_attribute, near, refusal
from storemount.stores.uri import scheme_of

_CACHES = {"simplecache", "filecache", "blockcache", "cached", "dfs_cache"}


def flavor(protocols: Iterable[str]) -> Flavor:
    """`protocols` are those of the other flavors, for hints at what a misspelt one was meant to be."""
    others = set(protocols)

    def check(spec: StoreSpec) -> str:
        path = spec.path.strip()
        scheme = scheme_of(path)
        if not scheme:
            raise refusal(spec, "the path of the flavor custom is a URL, such as sftp://host/folder; for a folder, use the flavor local")
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
        (Attribute("options", "keyword arguments of the file system", secret=True, json=True),),
        (FSSPEC,),
        "any URL that fsspec can open, your own registered protocols included",
        check,
        _open,
    )


def _open(spec: StoreSpec, engine: str, deadline: float) -> ArtifactStore:
    from storemount.stores.remote import RemoteStore

    return RemoteStore(spec.path, json_attribute(spec, "options"), deadline=deadline)
