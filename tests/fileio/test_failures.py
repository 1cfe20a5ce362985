"""A store that cannot answer: an error of Python's own, never an empty directory and never an absent file (S3, S14)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from storemount.api.fileapi import FileApi
from storemount.api.session import Session
from storemount.config import Places
from storemount.registry.entry import Entry, Level
from storemount.registry.stores import Registry
from tests.support.servers import S3Server, guarded_moto_server, moto_server

SECRET = "not-to-be-seen"


@pytest.fixture(params=["native", "fsspec"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., FileApi]:
    """files(server attributes): the functions, with `s3://broken` registered with these attributes."""

    def make(**attributes: str) -> FileApi:
        places = Places.of({"HOME": str(tmp_path)})
        Registry(places, environ={}, reserved=()).register(Entry("broken", "s3", "s3://broken", Level.USER, attributes))
        session = Session(places, {}, engine=request.param, deadline=2.0)
        request.addfinalizer(session.close)
        return FileApi(session)

    return make


def refused(api: FileApi, kind: type[OSError], *, asked: int = 6) -> None:
    """No question is answered as if there were nothing."""
    questions: list[Callable[[], object]] = [
        lambda: api.exists("s3://broken/d/t"),
        lambda: api.listdir("s3://broken/d"),
        lambda: list(api.walk("s3://broken")),
        lambda: api.glob("s3://broken/*/x"),
        lambda: api.open("s3://broken/t", "w").close(),
        lambda: api.exists("s3://broken"),
    ]
    for question in questions[:asked]:
        with pytest.raises(kind) as caught:
            question()
        assert not isinstance(caught.value, FileNotFoundError) and SECRET not in str(caught.value)


def test_S14_a_dead_store(files: Callable[..., FileApi]) -> None:
    with moto_server() as server:
        api = files(**server.attributes())
        with server.client("broken") as bucket:
            bucket.create()
        assert not api.exists("s3://broken/d")
        server.kill()
        refused(api, OSError, asked=2)


def test_S3_a_missing_bucket(files: Callable[..., FileApi], s3_server: S3Server) -> None:
    refused(files(**s3_server.attributes()), OSError)


def test_wrong_credentials(files: Callable[..., FileApi]) -> None:
    with guarded_moto_server() as server:
        with server.client("broken") as bucket:
            bucket.create()
        refused(files(**{**server.attributes(), "secret": SECRET}), PermissionError)
