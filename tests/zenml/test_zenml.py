"""A real ZenML and storemount side by side: names, a pipeline on a mount, artifacts that were written through one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storemount.zenml.asking import ask
from storemount.zenml.place import find
from tests.support.mounting import Mount, mounted
from tests.zenml.conftest import User

pytestmark = pytest.mark.timeout(400)  # the first one makes the environment


def test_S1_stores_are_mounted_by_the_names_that_zenml_has_for_them(user: User) -> None:
    for name in ("folder", "s3_store", "s3_secret", "zenml://s3_store"):
        with mounted(Mount(user.storemount, name)) as mount:
            (mount.point / f"by-{mount.point.name}").write_text(name)
        key = f"by-{mount.point.name}"
        assert (user.home / "store" / key).read_text() == name if name == "folder" else user.bucket.get(key) == name.encode()
    assert not list(user.home.glob("config/storemount/*"))


def test_S14_a_store_with_a_service_connector_is_mounted_with_what_it_gives(user: User) -> None:
    user.bucket.put("there", b"content")
    with mounted(Mount(user.storemount, "s3_connected")) as mount:
        assert (mount.point / "there").read_bytes() == b"content"


def test_the_list_has_them_without_asking_zenml(user: User) -> None:
    rows = json.loads(user.storemount.must("store", "list", "--json"))["stores"]
    found = {row["name"]: (row["flavor"], row["registry"]) for row in rows}
    assert found == {
        "default": ("local", "built-in"),
        "zenml://default": ("local", "zenml"),
        "folder": ("local", "zenml"),
        **dict.fromkeys(["s3_store", "s3_secret", "s3_connected"], ("s3", "zenml")),
    }


def test_zenml_itself_gives_the_same_definitions_as_its_files(user: User) -> None:
    """What a server would be asked for, and what is asked when the database is not as known."""
    environ = user.storemount.environment
    place = find(environ)
    assert place is not None and place.source is not None
    answer = ask(place, None, str(user.python), environ)
    assert {store.name: store for store in answer.stores} == place.source.definitions()
    absent = ask(place, "s3_stor", str(user.python), environ)
    assert (absent.stores, set(absent.names)) == ((), set(place.source.definitions()))
    secret = ask(place, "s3_secret", str(user.python), environ)
    assert secret.secret("aws") == place.source.secret("aws")


def test_S1_a_pipeline_runs_on_a_mount_and_its_artifacts_are_in_the_bucket(user: User) -> None:
    with mounted(Mount(user.storemount, "s3_store")) as mount:
        folder = mount.point / "runs"
        done = user.zenml("run", path=str(folder))
        assert (done["status"], done["weights"]) == ("completed", [1, 256])
        assert set(done["uris"]) == {"numbers", "blob", "model"}
        user.storemount.must("flush", str(mount.point))
        for uri in done["uris"].values():
            below = "runs/" + str(Path(uri).relative_to(folder)) + "/"
            objects = [key for key, size in user.bucket.list(below).items() if size]
            assert objects, f"nothing in the bucket below {below}"
            assert all((mount.point / key).read_bytes() == user.bucket.get(key) for key in objects)


def test_S1_a_file_that_was_written_through_the_mount_becomes_an_artifact(user: User) -> None:
    with mounted(Mount(user.storemount, "s3_store")) as mount:
        (mount.point / "reports").mkdir()
        (mount.point / "reports/summary.txt").write_text("written through the mount")
        user.storemount.must("flush", str(mount.point))
        assert user.zenml("adopt", uri=f"{user.bucket.uri}/reports/summary.txt") == "written through the mount"


def test_definitions_are_copied_and_mounted_without_zenml(user: User) -> None:
    said = user.storemount.must("artifact-store", "import-zenml", "s3_store")
    assert said == "Copied artifact_store `s3_store`: flavor, path, key, secret, client_kwargs.\n"
    said = user.storemount.must("artifact-store", "import-zenml", "s3_secret", "--with-secrets")
    assert said.startswith("Copied artifact_store `s3_secret`: flavor, path, client_kwargs, key, secret")
    failed = user.storemount.run("artifact-store", "import-zenml", "s3_connected")
    assert (failed.returncode, failed.stdout) == (4, "")
    config = user.home / "config/zenml"
    config.rename(user.home / "elsewhere")
    try:
        for name in ("s3_store", "s3_secret"):
            with mounted(Mount(user.storemount, name)) as mount:
                (mount.point / f"copied-{name}").write_text(name)
            assert user.bucket.get(f"copied-{name}") == name.encode()
    finally:
        (user.home / "elsewhere").rename(config)
