"""Where ZenML keeps its configuration, and which of its ways of keeping it this is.

What it is: the folder and its `config.yaml`, of ZenML up to 0.13 (profiles: YAML files, SQLite, a server) and since 0.20 (SQLite, a
database server, ZenML's own server).
What it is not: what is in the files it finds (`profile`, `database`).
Invariants: nothing is ever written or made. What is on a server has no `source`; only ZenML's client reaches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from storemount.errors import ExitCode, Refusal
from storemount.zenml.database import NEW, OLD, Database
from storemount.zenml.definition import Source
from storemount.zenml.profile import Profile, read_yaml

CONFIG = "config.yaml"
LOCAL_STORES = "local_stores"
_DEFAULT_DATABASE = Path(LOCAL_STORES, "default_zen_store", "zenml.db")


@dataclass(frozen=True, slots=True)
class Place:
    """ZenML's configuration. `version` is of the ZenML that wrote it; `where` says in a message what was asked.

    `pinned`: it is a database, which another version of ZenML would change, or not understand.
    """

    folder: Path
    version: str
    where: str
    source: Source | None
    pinned: bool = False

    @property
    def old(self) -> bool:
        """Whether it is of the time of profiles and repositories."""
        return isinstance(self.source, Profile) or self.version.startswith(tuple(f"0.{minor}." for minor in range(20)))

    @property
    def local_stores(self) -> Path:
        """Where ZenML makes folders for the stores that were given no path."""
        return self.folder / LOCAL_STORES


def folder_of(environ: Mapping[str, str]) -> Path | None:
    """ZENML_CONFIG_PATH, or where the command-line library of ZenML puts the folder; None without a home."""
    if given := environ.get("ZENML_CONFIG_PATH"):
        return Path(given).absolute()
    if base := environ.get("XDG_CONFIG_HOME"):
        return Path(base).absolute() / "zenml"
    home = environ.get("HOME")
    return Path(home).absolute() / ".config/zenml" if home else None


def find(environ: Mapping[str, str]) -> Place | None:
    """The configuration of this user's ZenML; None where ZenML was never used. Raises Refusal when it cannot be read."""
    folder = folder_of(environ)
    if folder is None:
        return None
    file = folder / CONFIG
    try:
        written = read_yaml(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"cannot read {file}: {error.strerror}; mend its owner or mode") from None
    except ValueError as error:
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"{file}: {error}; mend or remove what ZenML keeps there") from None
    version = str(written.get("version") or "")
    if "profiles" in written:
        return _of_profile(folder, version, written, environ)
    return _of_store(folder, version, written.get("store") or {}, environ)


def _of_profile(folder: Path, version: str, written: Mapping[str, Any], environ: Mapping[str, str]) -> Place:
    """Up to 0.13: one of several profiles is active."""
    name = environ.get("ZENML_ACTIVATED_PROFILE") or str(written.get("activated_profile") or "default")
    profile: Mapping[str, Any] | None = (written["profiles"] or {}).get(name)
    if profile is None:
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"{folder}/config.yaml has no profile {name!r}; activate one with ZenML")
    where = f"{folder}, profile {name}"
    kind, url = str(profile.get("store_type") or "local"), str(profile.get("store_url") or "")
    root = folder / "profiles" / name
    if kind == "local":
        files = Profile(
            Path(_path_of(url)) if url else root, folder / LOCAL_STORES, environ.get("ZENML_ACTIVATED_STACK") or profile.get("active_stack")
        )
        return Place(folder, version, where, files)
    if kind == "sql" and (database := _sqlite(url)):
        return Place(folder, version, where, Database(database, folder / LOCAL_STORES, OLD), pinned=True)
    return Place(folder, version, f"{where}, {_shown(url)}", None)


def _of_store(folder: Path, version: str, store: Mapping[str, Any], environ: Mapping[str, str]) -> Place:
    """Since 0.20: one store, in a database or behind a server; ZENML_STORE_URL overrides it."""
    url = environ.get("ZENML_STORE_URL") or str(store.get("url") or f"sqlite:///{folder / _DEFAULT_DATABASE}")
    database = _sqlite(url)
    if database is None:
        return Place(folder, version, f"{folder}, {_shown(url)}", None, pinned=not url.startswith(("http://", "https://")))
    kept = store.get("secrets_store") or {}
    readable = (environ.get("ZENML_SECRETS_STORE_TYPE") or kept.get("type") or "sql") == "sql"
    return Place(folder, version, str(folder), Database(database, folder / LOCAL_STORES, NEW, secrets=readable), pinned=True)


def _sqlite(url: str) -> Path | None:
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _path_of(url: str) -> str:
    return unquote(urlsplit(url).path) if url.startswith("file:") else url


def _shown(url: str) -> str:
    """A server's address without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
