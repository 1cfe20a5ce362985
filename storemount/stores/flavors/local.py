"""The flavor `local`: a folder on this machine.

What it is: the check of its path, and its opening.
What it is not: the store (`stores.local`).
"""

from __future__ import annotations

import os
from urllib.parse import unquote

from storemount.stores.base import ArtifactStore
from storemount.stores.flavors.spec import LOCAL, Flavor, StoreSpec, refusal


def _check(spec: StoreSpec) -> str:
    path = spec.path.strip()
    if path.lower().startswith("file://"):
        path = unquote(path[len("file://") :].removeprefix("localhost"))
        if not path.startswith("/"):
            raise refusal(spec, "a file:// URI names an absolute path; write file:///the/path")
    if not path:
        raise refusal(spec, "the path is empty; name a folder")
    return os.path.abspath(os.path.expanduser(path))


def _open(spec: StoreSpec, engine: str, deadline: float) -> ArtifactStore:
    from storemount.stores.local import LocalStore

    return LocalStore(spec.path)


FLAVOR = Flavor("local", ("", "file://"), (), (LOCAL,), "a folder on this machine", _check, _open)
