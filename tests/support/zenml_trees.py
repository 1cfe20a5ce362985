"""Configurations as real ZenMLs wrote them, to be read without any.

What it is: copies of `tests/support/zenml` at a place of the test's own. `old` was written by ZenML 0.13.2, `new` by 0.98.0, each through
its Python API, with `ZENML_CONFIG_PATH=/srv/zenml`; what no artifact store needs was left out, and databases are here as SQL.
What it is not: a ZenML; `tests/zenml` runs one.
Stores of both: `default` and `folder` (local), `s3_plain` (its credentials in the definition), `s3_secret` (in the secret `aws`). `old`
has the profiles `default` (files, with a secrets manager that is a file) and `database`. `new` has also `by_itself` (local, without a
path), `s3_pair` (references to the secret `pair`), `gcp_store`, `azure_store`, and `s3_connected`, with a service connector.
"""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

_KEPT = Path(__file__).with_name("zenml")
_WRITTEN_AT = "/srv/zenml"


def zenml_tree(kind: str, folder: Path) -> Path:
    """`old` or `new`, at `folder`, which must not exist."""
    shutil.copytree(_KEPT / kind, folder)
    for path in [*folder.rglob("*.yaml"), *folder.rglob("*.sql")]:
        text = path.read_text().replace(_WRITTEN_AT, str(folder))
        if path.suffix == ".yaml":
            path.write_text(text)
            continue
        with closing(sqlite3.connect(path.with_suffix(".db"))) as database:
            database.executescript(text)
        path.unlink()
    return folder


def configure(tree: Path, name: str, configuration: Mapping[str, object]) -> None:
    """Let an artifact store of a `new` tree be described so, as `zenml artifact-store update` would."""
    text = base64.b64encode(json.dumps(configuration).encode())
    with closing(sqlite3.connect(tree / "local_stores/default_zen_store/zenml.db")) as database, database:
        changed = database.execute("UPDATE stack_component SET configuration = ? WHERE name = ? AND type = 'artifact_store'", (text, name))
    assert changed.rowcount == 1
