"""URIs of stores that only ZenML knows: its description and its credentials are used, as with a store of storemount's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storemount.api.fileapi import FileApi
from storemount.api.session import Session
from storemount.config import Places
from storemount.registry.entry import Entry, Level
from storemount.registry.stores import Registry
from tests.support.servers import BucketClient, S3Server
from tests.support.zenml_trees import configure, zenml_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return zenml_tree("new", tmp_path / "zenml")


@pytest.fixture
def session(tree: Path, tmp_path: Path) -> Iterator[Session]:
    """Of a user who has registered nothing but with ZenML."""
    environ = {"HOME": str(tmp_path), "ZENML_CONFIG_PATH": str(tree)}
    opened = Session(Places.of(environ), environ, deadline=10.0)
    yield opened
    opened.close()


def described(server: S3Server, path: str) -> dict[str, object]:
    return {"path": path, "key": server.key, "secret": server.secret, "client_kwargs": {"endpoint_url": server.endpoint}}


def test_a_uri_of_a_store_that_only_zenml_knows(tree: Path, session: Session, bucket: BucketClient) -> None:
    configure(tree, "s3_plain", described(bucket.server, f"{bucket.uri}/zen/"))
    api = FileApi(session)
    api.makedirs(f"{bucket.uri}/zen/run")
    with api.open(f"{bucket.uri}/zen/run/notes.txt", "w") as file:
        file.write("example")
    assert bucket.get("zen/run/notes.txt") == b"example"
    assert api.listdir(f"{bucket.uri}/zen") == ["run"]
    with pytest.raises(PermissionError):
        api.exists(f"{bucket.uri}/zen/../../other/x")


def test_what_zenml_changes_is_noticed_and_opens_no_second_store(tree: Path, session: Session, s3_server: S3Server) -> None:
    configure(tree, "s3_plain", described(s3_server, "s3://zen-first"))
    first = session.locate("s3://zen-first/a")
    configure(tree, "s3_secret", described(s3_server, "s3://zen-second"))
    assert session.locate("s3://zen-second/b").volume is not first.volume
    again = session.locate("s3://zen-first/deep/c")
    assert again.volume is first.volume and again.key == "deep/c"


def test_a_store_of_storemounts_own_goes_first(tree: Path, session: Session, s3_server: S3Server, tmp_path: Path) -> None:
    configure(tree, "s3_plain", described(s3_server, "s3://zen-both/deep"))
    registry = Registry(Places.of({"HOME": str(tmp_path)}), environ={}, reserved=())
    registry.register(Entry("ours", "s3", "s3://zen-both", Level.USER, s3_server.attributes()))
    assert session.locate("s3://zen-both/deep/a").key == "deep/a"


def test_the_profiles_of_an_older_zenml_do_the_same(s3_server: S3Server, tmp_path: Path) -> None:
    tree = zenml_tree("old", tmp_path / "zenml")
    environ = {"HOME": str(tmp_path), "ZENML_CONFIG_PATH": str(tree)}
    opened = Session(Places.of(environ), environ)
    assert opened.locate("s3://bucket/models/run/a").key == "run/a"
    description = tree / "profiles/default/artifact_stores/s3_plain.yaml"
    description.write_text(description.read_text().replace("s3://bucket/models", "s3://bucket/elsewhere"))
    assert opened.locate("s3://bucket/models/run/a").key == "models/run/a"
    opened.close()
