"""What ZenML's own Python runs: one question on standard input, one answer on standard output, both JSON.

What it is: the only module that imports ZenML, the old (up to 0.13) or the new. It is run as a file, by another interpreter, and so
imports nothing of storemount and nothing that Python 3.7 does not have.
What it is not: a part of any process of storemount's (`asking` starts it), or an interpretation of what it finds (`attributes`).
Invariants: secrets leave it through the pipe only. ZenML's own words go to standard error. A database that another version of ZenML wrote
is not opened, as ZenML would change it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

RESOURCES = {"s3": "s3-bucket", "gcp": "gcs-bucket", "azure": "blob-container"}
"""What a store of a flavor asks a service connector for."""


_REFERENCE = re.compile(r"\{\{\s*(\S+?)\.\S+?\s*\}\}")


class Failure(Exception):
    """An answer that is a failure, by its kind: version, unknown, unsupported."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """`name` None: every definition; else that one, with the secrets it uses and what its connector gives. Raises Failure."""
    version = _version()
    if question["pinned"] and question["version"] != version:
        raise Failure("version", version)
    stores = _Old() if question["old"] else _New()
    name = question["name"]
    if name is None:
        return {"stores": list(stores.all())}
    found = [store for store in stores.all(name) if store["name"] == name]
    if not found:
        return {"stores": [], "names": [store["name"] for store in stores.all()]}
    return {"stores": found, "secrets": {secret: stores.secret(secret) for secret in _secrets(found[0])}, **stores.connect(name)}


def _secrets(store: dict[str, Any]) -> list[str]:
    """The names of the secrets that its configuration speaks of. (A connector makes the authentication secret needless.)"""
    values = store["configuration"]
    found = {match.group(1) for match in map(_REFERENCE.fullmatch, filter(_is_text, values.values())) if match}
    named = values.get("authentication_secret")
    if named and not store["connected"] and not _REFERENCE.fullmatch(named):
        found.add(named)
    return sorted(found)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _version() -> str:
    import zenml

    return str(zenml.__version__)


class _New:
    """ZenML since 0.20."""

    def __init__(self) -> None:
        from zenml.client import Client
        from zenml.enums import StackComponentType

        self._client: Any = Client()
        self._type = StackComponentType.ARTIFACT_STORE
        self._models: dict[str, Any] = {}

    def all(self, name: Any = None) -> Iterator[dict[str, Any]]:
        number, pages = 1, 1
        wanted = {} if name is None else {"name": name}
        while number <= pages:
            page = self._client.list_stack_components(type=self._type, page=number, size=100, hydrate=True, **wanted)
            for model in page.items:
                self._models[model.name] = model
                yield self._described(model)
            number, pages = number + 1, page.total_pages

    def _described(self, model: Any) -> dict[str, Any]:
        configuration = dict(model.configuration)
        flavor = _flavor(model)
        if flavor == "local" and not configuration.get("path"):
            from zenml.config.global_config import GlobalConfiguration

            configuration["path"] = os.path.join(GlobalConfiguration().local_stores_path, str(model.id))
        return {"name": model.name, "flavor": flavor, "configuration": configuration, "connected": model.connector is not None}

    def secret(self, name: str) -> Any:
        try:
            found = self._client.get_secret(name, allow_partial_name_match=False, allow_partial_id_match=False)
        except KeyError:
            return None
        return found.secret_values

    def connect(self, name: str) -> dict[str, Any]:
        model = self._models[name]
        if model.connector is None:
            return {}
        flavor = _flavor(model)
        if flavor not in RESOURCES:
            raise Failure("unsupported", "service connectors work for the flavors {}".format(", ".join(RESOURCES)))
        connector = self._client.get_service_connector_client(
            name_id_or_prefix=model.connector.id, resource_type=RESOURCES[flavor], resource_id=model.configuration["path"]
        )
        credentials = {"s3": _of_aws, "gcp": _of_google, "azure": _of_azure}[flavor](connector.connect())
        expires = connector.expires_at
        return {"connector": credentials, "expires": expires.isoformat() if expires else None}


def _flavor(model: Any) -> str:
    """In later versions `flavor` is more than the name."""
    return str(getattr(model, "flavor_name", None) or model.flavor)


class _Old:
    """ZenML up to 0.13, with a profile that is a database or a server."""

    def __init__(self) -> None:
        from zenml.enums import StackComponentType
        from zenml.repository import Repository

        self._repository: Any = Repository()
        self._type = StackComponentType.ARTIFACT_STORE

    def all(self, name: Any = None) -> Iterator[dict[str, Any]]:
        import yaml

        for store in self._repository.zen_store.get_stack_components(self._type):
            configuration = yaml.safe_load(base64.b64decode(store.config))
            configuration = {key: value for key, value in configuration.items() if key not in ("name", "uuid") and value is not None}
            yield {"name": store.name, "flavor": store.flavor, "configuration": configuration, "connected": False}

    def secret(self, name: str) -> Any:
        keeper = self._repository.active_stack.secrets_manager
        if keeper is None:
            raise Failure("unsupported", "the active stack has no secrets manager, and the store's credentials are in one")
        try:
            return {key: value for key, value in keeper.get_secret(name).content.items() if value is not None}
        except KeyError:
            return None

    def connect(self, name: str) -> dict[str, Any]:
        return {}


def _of_aws(client: Any) -> dict[str, Any]:
    found = getattr(client, "credentials", None) or client._request_signer._credentials
    return {"key": found.access_key, "secret": found.secret_key, "token": found.token, "region": client.meta.region_name}


def _of_google(client: Any) -> dict[str, Any]:
    """An access token, by itself: the form in which gcsfs takes one that it cannot refresh."""
    found = client._credentials
    if not found.token:
        from google.auth.transport.requests import Request

        found.refresh(Request())
    return {"token": found.token}


def _of_azure(client: Any) -> dict[str, Any]:
    found = client.credential
    names = {"client_id": "_client_id", "client_secret": "_client_credential", "tenant_id": "_tenant_id"}
    return {"account_name": client.account_name, **{ours: getattr(found, theirs, None) for ours, theirs in names.items()}}


def main() -> None:
    """Answer, whatever happens: a failure is an answer too, by the name of its exception and the first line of its message."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != here]  # our modules are not for ZenML's imports
    try:
        said = answer(json.load(sys.stdin))
    except Failure as failure:
        said = {"failure": failure.kind, "message": str(failure)}
    except Exception as error:
        said = {"failure": type(error).__name__, "message": str(error).strip().partition("\n")[0][:300]}
    with channel:
        json.dump(said, channel)


if __name__ == "__main__":
    main()
