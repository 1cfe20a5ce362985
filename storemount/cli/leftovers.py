"""What ended daemons have left for the next mount of a store.

What it is: the journals below the staging folder that no daemon holds, looked at and left alone.
What it is not: the taking up (`recovery`), or a lock: a mount that starts meanwhile is not disturbed.
Invariant: where it cannot be told whose they are, or how many, they count: success is claimed only when it is certain.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

from storemount.config import Places
from storemount.errors import Refusal
from storemount.registry.stores import Registry
from storemount.stores.uri import without_password
from storemount.writeback.slot import JOURNAL


def unfinished(places: Places, registry: Registry, store: str) -> int:
    """How many changes of `store` (a name or a URI, as it was mounted) wait in the usual staging folder for its next mount."""
    try:
        spec = registry.spec(store)
    except Refusal:
        root = None  # It has been renamed, or taken out of the registry.
    else:
        root = os.path.realpath(spec.path) if spec.flavor == "local" else without_password(spec.path)
    locks = Path("/proc/locks").read_text()
    return sum(_changes(journal, root) for journal in places.state.glob(f"staging/*/{JOURNAL}") if not _held(journal.parent, locks))


def _held(folder: Path, locks: str) -> bool:
    """Whether a daemon is using this folder: it has a lock there as long as it lives."""
    return any(f":{os.stat(lock).st_ino} " in locks for lock in folder.glob("lock"))


def _changes(journal: Path, root: str | None) -> int:
    """The changes in this journal that have not arrived, if it is of the store with this root."""
    try:
        with closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True)) as database:
            (store,) = database.execute("SELECT value FROM about WHERE name = 'store'").fetchone()
            if root is not None and _root_of(store) != root.rstrip("/"):
                return 0
            (count,) = database.execute("SELECT count(*) FROM changes WHERE json_extract(detail, '$.done') IS NULL").fetchone()
            return int(count)
    except (sqlite3.Error, TypeError):
        return 1


def _root_of(identity: str) -> str:
    """The store's URI is the first word of what tells it from others in its journal; a folder is a path here."""
    uri = identity.partition(" ")[0].rstrip("/")
    return unquote(uri.removeprefix("file://")) if uri.startswith("file:///") else uri
