"""storemount: an artifact store as an ordinary folder, and as a file API.

What it is: the names that programs import. `storemount.fileio` and `storemount.io_utils` are the functions of the artifact-store
abstraction.
What it is not: any of the work; each function imports what it needs, so that the command line starts fast.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from storemount.api.fileapi import Store

__version__ = "0.1.0"


def open_store(name: str) -> Store:
    """The store that `name`, a registered name or a URI, means: the functions of `fileio` for this store alone.

    Raises `storemount.errors.Refusal` (one line: what, where, what to do) when there is no such store.
    """
    from storemount import fileio

    return fileio.open_store(name)


def uri(path: str | os.PathLike[str]) -> str:
    """The URI in the store of what is at `path` in a mounted store. Raises `storemount.errors.Refusal` when it is in no mount."""
    from storemount.api.mounted import uri_of
    from storemount.config import Places, environment

    return uri_of(os.fspath(path), Places.of(environment()))


def local_path(uri: str) -> str:
    """Where a running mount has what `uri` names. Raises `storemount.errors.Refusal` when no mount has it."""
    from storemount.api.mounted import path_of
    from storemount.config import Places, environment

    return path_of(uri, Places.of(environment()))


def __getattr__(name: str) -> Any:
    """`storemount.fileio` and `storemount.io_utils` are there without an import of their own."""
    if name in ("fileio", "io_utils"):
        return importlib.import_module(f"storemount.{name}")
    raise AttributeError(f"module 'storemount' has no attribute {name!r}")
