"""What the real ZenML's Python does for the tests: `inside.py VERB JSON`, its answer as the last line of its output, JSON too.

What it is: a user's ZenML, through its Python API, as each call of its command takes seconds.
What it is not: a test, or anything that knows of storemount.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from zenml import pipeline, register_artifact, step
from zenml.client import Client
from zenml.enums import StackComponentType

STORE = StackComponentType.ARTIFACT_STORE


def add(name: str, flavor: str, **configuration: Any) -> None:
    Client().create_stack_component(name, flavor, STORE, configuration=configuration)


def register(folder: str, bucket: str, endpoint: str, key: str, secret: str) -> None:
    """A store of each kind, and their secrets."""
    server = {"endpoint_url": endpoint, "region_name": "us-east-1"}
    pair = {"aws_access_key_id": key, "aws_secret_access_key": secret}
    add("folder", "local", path=folder)
    add("s3_store", "s3", path=bucket, key=key, secret=secret, client_kwargs=server)
    Client().create_secret("aws", pair)
    add("s3_secret", "s3", path=bucket, authentication_secret="aws", client_kwargs=server)
    settings = {**pair, "region": "us-east-1", "endpoint_url": endpoint}
    kind = {"connector_type": "aws", "auth_method": "session-token", "resource_type": "s3-bucket"}
    connector, _ = Client().create_service_connector("connector", configuration=settings, verify=False, auto_configure=False, **kind)
    add("s3_connected", "s3", path=bucket, client_kwargs=server)
    Client().update_stack_component("s3_connected", STORE, connector_id=connector.id)


def use(store: str) -> None:
    """Make a stack with this artifact store, and activate it."""
    Client().create_stack(store, {StackComponentType.ORCHESTRATOR: "default", STORE: store})
    Client().activate_stack(store)


class Model:
    """Something that only pickle can save."""

    def __init__(self, weights: list[int]) -> None:
        self.weights = weights


@step
def prepare() -> tuple[Annotated[dict[str, int], "numbers"], Annotated[bytes, "blob"]]:
    return {"one": 1}, bytes(range(256))


@step
def train(numbers: dict[str, int], blob: bytes) -> Annotated[Model, "model"]:
    return Model([numbers["one"], len(blob)])


@pipeline(enable_cache=False)
def training() -> None:
    train(*prepare())


def run(path: str) -> dict[str, Any]:
    """A pipeline whose local artifact store is at `path`: where its artifacts are, and the model read back."""
    add("mounted", "local", path=path)
    use("mounted")
    done = training()
    found = {name: version for each in done.steps.values() for name, (version, *_) in each.outputs.items()}
    return {"status": str(done.status), "uris": {name: each.uri for name, each in found.items()}, "weights": found["model"].load().weights}


def adopt(uri: str) -> str:
    """A file that is in the store already, registered as an artifact, and loaded back."""
    use("s3_store")
    register_artifact(folder_or_file_uri=uri, name="adopted")
    loaded: Path = Client().get_artifact_version("adopted").load()
    return loaded.read_text()


if __name__ == "__main__":
    print(json.dumps({"register": register, "run": run, "adopt": adopt}[sys.argv[1]](**json.loads(sys.argv[2]))))
