"""A store's bounds, which store a URI belongs to, and what an open store takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from storemount.api.fileapi import FileApi, Store
from storemount.api.session import Session
from storemount.config import Places
from storemount.errors import ExitCode, Refusal
from storemount.registry.entry import Entry, Level
from storemount.registry.stores import Registry
from tests.support.servers import BucketClient


@pytest.fixture
def part(session: Session, bucket: BucketClient) -> Store:
    """The store whose root is `/a` in the bucket, with files beside it."""
    for key in ("a/t", "ab/t", "b/t", "top"):
        bucket.put(key, key.encode())
    return Store(session.open("part"))


def read(api: FileApi, path: str) -> str:
    with api.open(path) as file:
        return str(file.read())


def test_an_open_store_takes_relative_paths_and_its_own_uris(part: Store, bucket: BucketClient) -> None:
    assert part.path == f"{bucket.uri}/a"
    for path in ("t", "./t", "x/../t", f"{part.path}/t", f"{part.path}//t", f"{part.path}/x/../t"):
        assert read(part, path) == "a/t"
    assert part.listdir("") == part.listdir(part.path) == part.listdir(part.path + "/") == ["t"]
    assert part.glob("*") == ["t"] and part.glob(part.path + "/*") == [part.path + "/t"]
    assert list(part.walk("")) == [("", [], ["t"])]


@pytest.mark.parametrize(
    "path", ["../b/t", "x/../../b/t", "/t", "{}b/t", "{}/../b/t", "{}/../ab/t", "{}/..", "s3://other/a/t", "memory://a/t"]
)
def test_an_open_store_refuses_everything_else(part: Store, path: str) -> None:
    """Originals compared the beginnings of paths, and let a neighbour in whose name began in the same way."""
    whole = path.format(part.path)
    for verb in (part.exists, part.listdir, part.stat, part.rmtree, part.makedirs, part.open, lambda path: part.copy("t", path)):
        with pytest.raises(PermissionError) as caught:
            verb(whole)
        assert caught.value.filename == whole


def test_a_uri_that_leads_out_of_its_store_is_refused(api: FileApi, part: Store, bucket: BucketClient) -> None:
    for path in (f"{bucket.uri}/a/../b/t", f"{bucket.uri}/a/x/../../b/t", f"{bucket.uri}/../other/t"):
        with pytest.raises(PermissionError, match="leads out of"):
            api.exists(path)
    assert read(api, f"{bucket.uri}/a/t") == "a/t"
    assert read(api, f"{bucket.uri}/ab/t") == "ab/t"


def test_a_uri_belongs_to_the_longest_root(api: FileApi, session: Session, part: Store, bucket: BucketClient) -> None:
    volumes = {path: session.locate(f"{bucket.uri}/{path}") for path in ("a", "a/t", "ab/t", "b/../a/t", "top")}
    assert {path: target.key for path, target in volumes.items()} == {"a": "", "a/t": "t", "ab/t": "ab/t", "b/../a/t": "t", "top": "top"}
    assert volumes["a"].volume is volumes["a/t"].volume is volumes["b/../a/t"].volume
    assert volumes["top"].volume is volumes["ab/t"].volume is not volumes["a"].volume
    with pytest.raises(OSError, match="cross-device"):
        api.rename(f"{bucket.uri}/a/t", f"{bucket.uri}/ab/moved")


def test_a_bucket_without_a_store_is_opened_with_what_the_environment_offers(
    s3_server: object, bucket: BucketClient, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": bucket.server.key,
        "AWS_SECRET_ACCESS_KEY": bucket.server.secret,
        "AWS_ENDPOINT_URL": bucket.server.endpoint,
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    with bucket.server.client("unregistered") as other:
        other.create()
        other.put("d/t", b"1")
        session = Session(places, {})
        api = FileApi(session)
        assert (api.listdir("s3://unregistered"), api.isdir("S3://unregistered/d"), read(api, "s3://unregistered/d/t")) == (
            ["d"],
            True,
            "1",
        )
        session.close()


def test_a_name_or_scheme_that_nobody_knows(api: FileApi, session: Session) -> None:
    for call, code in (
        (lambda: session.open("nope"), ExitCode.UNKNOWN_STORE),
        (lambda: api.exists("nope://x/y"), ExitCode.BAD_CONFIGURATION),
        (lambda: api.exists("simplecache::s3://x/y"), ExitCode.BAD_CONFIGURATION),
    ):
        with pytest.raises(Refusal) as caught:
            call()
        assert caught.value.code is code


def test_the_root_is_not_taken_away(part: Store, session: Session) -> None:
    with Store(session.open("folder")) as folder:
        for store in (part, folder):
            for call, *paths in ((store.rmtree, ""), (store.remove, ""), (store.rename, "", "x")):
                with pytest.raises(PermissionError):
                    call(*paths)
    assert part.exists("") and part.isdir("") and part.size("") == 3


def test_a_folder_as_a_store(session: Session, places: Places) -> None:
    root = places.data / "folder"
    (root.parent / "folder-beside").mkdir()
    (root.parent / "folder-beside/t").write_text("outside")
    (root / "out").symlink_to(root.parent / "folder-beside")
    (root / "in").symlink_to("d")
    with Store(session.open("folder")) as store:
        store.makedirs("d")
        with store.open("in/t", "w") as file:
            file.write("1")
        for path in ("d/t", str(root / "d/t"), (root / "d/t").as_uri()):
            assert read(store, path) == "1"
        assert store.glob("d/*") == ["d/t"] and store.glob((root / "d").as_uri() + "/*") == [(root / "d/t").as_uri()]
        for path in ("out/t", str(root.parent / "folder-beside/t"), "../folder-beside/t", "out/new", "out"):
            with pytest.raises(PermissionError):
                store.open(path, "w")
        store.remove("out")  # the link itself
    assert (root.parent / "folder-beside/t").read_text() == "outside"


def test_the_built_in_store_is_made_when_it_is_opened(session: Session, places: Places) -> None:
    with Store(session.open("default")) as store:
        store.mkdir("d")
    assert (places.data / "default/d").is_dir()


def test_a_closed_store_says_so(session: Session) -> None:
    with Store(session.open("part")) as store:
        assert not store.exists("no")
    with pytest.raises(ValueError, match="was closed"):
        store.exists("no")
    store.close()


def test_a_store_registered_meanwhile_is_found_and_one_that_lacks_its_variable_is_not_asked(places: Places, tmp_path: Path) -> None:
    registry = Registry(places, environ={"ROOT": "memory://late"}, reserved=())
    registry.register(Entry("late", "memory", "env:ROOT", Level.USER))
    try:
        with_it, without = Session(places, {"ROOT": "memory://late"}), Session(places, {})
        FileApi(with_it).makedirs("memory://late/d")
        assert with_it.locate("memory://late/d").key == "d"
        assert without.locate("memory://late/d").key == "late/d"
        with_it.close()
        without.close()
    finally:
        registry.delete("late", Level.USER)
