"""fileio: files of any artifact store, by URI, and of this machine, by path.

What it is: the functions of the artifact-store abstraction at module level, for every store that is registered (with its credentials) and
every bucket that the environment's credentials open.
What it is not: the functions' meaning (`fileapi` says it), or bound to one store (`storemount.open_store`).
Invariant: one session serves the process, and is the only thing here that outlives a call: it starts a thread when a store is first
asked, may be used from any number of threads and after a fork, and ends with the interpreter. These functions wait for their answers;
in an asynchronous program they belong in a thread.
"""

from __future__ import annotations

import os

from storemount.api.fileapi import FileApi, Store
from storemount.api.session import Session
from storemount.api.spelling import PathType
from storemount.config import Places, environment

_session = Session(Places.of(environment()), environment())
_files = FileApi(_session)

open = _files.open
copy = _files.copy
exists = _files.exists
find = _files.find
glob = _files.glob
iglob = _files.iglob
isdir = _files.isdir
listdir = _files.listdir
makedirs = _files.makedirs
mkdir = _files.mkdir
remove = _files.remove
rename = _files.rename
rmtree = _files.rmtree
size = _files.size
stat = _files.stat
walk = _files.walk


def open_store(name: str) -> Store:
    """The store that `name`, a registered name or a URI, means, as an object with these functions.

    Raises `storemount.errors.Refusal` when there is no such store, or its description is wrong. Nothing is asked of the store yet.
    """
    return Store(_session.open(name))


def convert_to_str(path: PathType) -> str:
    """A path as text."""
    return os.fsdecode(path)
