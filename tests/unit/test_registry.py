"""The registry of stores: what is written, what is read back, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from storemount.config import Places
from storemount.errors import ExitCode, Refusal
from storemount.registry.entry import Entry, Level
from storemount.registry.stores import Registry
from storemount.stores.flavors import StoreSpec

USER, SYSTEM = Level.USER, Level.SYSTEM


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(*(tmp_path / name for name in ("data", "config", "etc", "state", "cache", "run")))


@pytest.fixture
def registry(places: Places) -> Registry:
    return Registry(places, environ={"KEY": "AKIA", "SECRET": "hunter2", "ROOT": "s3://from-env/x"}, reserved={"mount", "status"})


def test_a_credential_of_the_service_is_read_when_the_store_is_opened(places: Places, registry: Registry, tmp_path: Path) -> None:
    """Registered in a shell, where there are none; opened in a service with LoadCredential=."""
    registry.register(s3(key="credential:s3-key", secret="credential:s3-secret"))
    assert registry.entry("s3_store").shown()["secret"] == "credential:s3-secret"
    with pytest.raises(Refusal, match="LoadCredential"):
        registry.resolved("s3_store")
    service = Registry(places, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}, reserved=())
    with pytest.raises(Refusal, match=r"s3-key cannot be read \(No such file.*LoadCredential=s3-key:/PATH"):
        service.resolved("s3_store")
    (tmp_path / "s3-key").write_text("AKIA\n")
    (tmp_path / "s3-secret").write_text("hunter2\n")
    assert service.resolved("s3_store").spec.attributes == {"key": "AKIA", "secret": "hunter2"}


def s3(name: str = "s3_store", path: str = "s3://bucket", level: Level = USER, **attributes: str) -> Entry:
    return Entry(name, "s3", path, level, attributes)


def local(name: str, path: str = "/srv/store", level: Level = USER) -> Entry:
    return Entry(name, "local", path, level)


def user_file(places: Places) -> Path:
    return places.config / "stores.toml"


# what is there


def test_the_built_in_store_is_always_there(registry: Registry, places: Places) -> None:
    assert registry.spec("default") == StoreSpec("default", "local", str(places.data / "default"), {})
    assert registry.entry("default").level is Level.BUILT_IN


def test_a_registered_store_is_found_by_its_name_with_its_path_normalised(registry: Registry) -> None:
    registry.register(s3(path="s3://bucket/models/", region="eu-central-1"))
    assert registry.spec("s3_store") == StoreSpec("s3_store", "s3", "s3://bucket/models", {"region": "eu-central-1"})


def test_a_uri_and_a_path_need_no_registration(registry: Registry, tmp_path: Path) -> None:
    assert registry.spec("s3://bucket/x").path == "s3://bucket/x"
    assert registry.spec(str(tmp_path)) == StoreSpec(str(tmp_path), "local", str(tmp_path))
    assert registry.spec("memory://").flavor == "memory"


def test_the_users_store_hides_the_systems_and_both_hide_the_built_in(registry: Registry) -> None:
    registry.register(local("default", "/srv/system", SYSTEM))
    assert registry.spec("default").path == "/srv/system"
    registry.register(local("default", "/srv/user"))
    assert registry.spec("default").path == "/srv/user"
    registry.delete("default", USER)
    registry.delete("default", SYSTEM)
    assert registry.entry("default").level is Level.BUILT_IN


def test_a_table_in_the_file_is_a_json_attribute(registry: Registry, places: Places) -> None:
    user_file(places).parent.mkdir()
    user_file(places).write_text('[minio]\nflavor = "s3"\npath = "s3://b"\nclient_kwargs = { region_name = "x" }\n')
    assert registry.spec("minio").attributes == {"client_kwargs": '{"region_name": "x"}'}


# references


def test_a_reference_is_stored_as_it_is_and_looked_up_when_the_store_is_opened(registry: Registry, places: Places) -> None:
    registry.register(s3(path="env:ROOT", key="env:KEY", secret="env:SECRET"))
    assert "hunter2" not in user_file(places).read_text()
    assert registry.spec("s3_store") == StoreSpec("s3_store", "s3", "s3://from-env/x", {"key": "AKIA", "secret": "hunter2"})


def test_a_reference_may_be_unset_when_registering_but_not_when_opening(registry: Registry) -> None:
    registry.register(s3(key="env:LATER_KEY", secret="env:LATER_SECRET", client_kwargs="env:LATER_JSON", endpoint="env:LATER_URL"))
    with pytest.raises(Refusal, match="export LATER_KEY") as caught:
        registry.spec("s3_store")
    assert caught.value.code is ExitCode.BAD_CONFIGURATION


@pytest.mark.parametrize("reference", ["env:LATER", "credential:later"])
@pytest.mark.parametrize(
    ("flavor", "path", "secret"),
    [
        ("azure", "abfs://box", "account_key"),
        ("azure", "abfs://box", "sas_token"),
        ("azure", "abfs://box", "connection_string"),
        ("gcp", "gs://bucket", "token"),
    ],
)
def test_a_secret_of_any_flavor_may_be_looked_up_later(registry: Registry, flavor: str, path: str, secret: str, reference: str) -> None:
    """As the README has it; what it has to look like is checked when it is there."""
    registry.register(Entry("later", flavor, path, Level.USER, {secret: reference}))
    assert registry.entry("later").attributes == {secret: reference}


def test_a_reference_that_is_set_is_checked_when_registering(registry: Registry) -> None:
    with pytest.raises(Refusal, match="not JSON"):
        registry.register(s3(client_kwargs="env:KEY"))


def test_no_way_of_showing_an_entry_shows_a_secret() -> None:
    entry = s3(
        path="s3://b",
        key="AKIA",
        secret="hunter2",
        token="env:TOKEN",
        endpoint="http://me:hunter2@host",
        client_kwargs='{"aws_secret_access_key": "hunter2", "list": ["http://me:hunter2@host"], "region_name": "x"}',
        unknown="hunter2",
    )
    shown = entry.shown()
    assert "hunter2" not in f"{entry!r}{shown}"
    assert shown["token"] == "env:TOKEN"
    assert shown["secret"] == shown["unknown"] == "***"
    assert '"region_name": "x"' in shown["client_kwargs"]
    assert "hunter2" not in s3(client_kwargs="hunter2, not JSON").shown()["client_kwargs"]


# changes


def test_update_and_remove_change_only_what_they_name_and_keep_comments(registry: Registry, places: Places) -> None:
    user_file(places).parent.mkdir()
    user_file(places).write_text(
        '# mine\n[a]\nflavor = "s3"  # kind\npath = "s3://b"\nregion = "x"\n\n[b]\nflavor = "local"\npath = "/srv"\n'
    )
    registry.update("a", USER, {"region": None, "endpoint": "http://h:1", "path": "s3://c"})
    assert registry.spec("a") == StoreSpec("a", "s3", "s3://c", {"endpoint": "http://h:1"})
    text = user_file(places).read_text()
    assert text.startswith('# mine\n[a]\nflavor = "s3"  # kind\n')
    assert registry.spec("b").path == "/srv"


def test_rename_keeps_everything_but_the_name(registry: Registry) -> None:
    registry.register(s3(region="x"))
    registry.rename("s3_store", "production", USER)
    assert registry.spec("production").attributes == {"region": "x"}
    assert "s3_store" not in registry.entries()


def test_only_the_owner_may_read_the_users_file_even_when_it_was_opened_up(registry: Registry, places: Places) -> None:
    registry.register(s3())
    user_file(places).chmod(0o644)
    registry.update("s3_store", USER, {"region": "x"})
    assert user_file(places).stat().st_mode & 0o777 == 0o600


def test_the_systems_file_starts_private_and_keeps_the_mode_it_was_given(registry: Registry, places: Places) -> None:
    registry.register(local("a", level=SYSTEM))
    file = places.system_config / "stores.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    registry.register(local("b", level=SYSTEM))
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_file_that_is_a_symbolic_link_stays_one(registry: Registry, places: Places, tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    places.config.mkdir()
    user_file(places).symlink_to(tmp_path / "dotfiles" / "stores.toml")
    registry.register(local("a"))
    assert user_file(places).is_symlink()
    assert "a" in tomllib.loads((tmp_path / "dotfiles" / "stores.toml").read_text())


# refusals


def refused(code: ExitCode, *words: str) -> Callable[[Refusal], bool]:
    def fits(error: Refusal) -> bool:
        return error.code is code and "\n" not in error.message and all(word in error.message for word in words)

    return fits


@pytest.mark.parametrize("name", ["", "-f", "a/b", "a b", "a\tb", "s3://x", "mount", "status", "a\x1b[0m"])
def test_a_name_that_cannot_be_typed_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "cannot name a store")):
        registry.register(local(name))
    registry.register(local("good"))
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "cannot name a store")):
        registry.rename("good", name, USER)


def test_an_unknown_name_comes_with_near_ones(registry: Registry) -> None:
    registry.register(s3())
    with pytest.raises(Refusal, check=refused(ExitCode.UNKNOWN_STORE, "'s3_stor'", "did you mean s3_store?")):
        registry.spec("s3_stor")


def test_a_name_that_is_taken_is_refused_and_the_first_one_stays(registry: Registry) -> None:
    registry.register(local("a", "/srv/first"))
    registry.register(local("b"))
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "already has a store named 'a'")):
        registry.register(local("a", "/srv/second"))
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "already has a store named 'a'")):
        registry.rename("b", "a", USER)
    assert registry.spec("a").path == "/srv/first"


def test_changing_what_is_elsewhere_says_where_it_is(registry: Registry) -> None:
    registry.register(local("machine", level=SYSTEM))
    registry.register(local("mine"))
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "add --system")):
        registry.delete("machine", USER)
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "leave --system out")):
        registry.delete("mine", SYSTEM)
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "built in")):
        registry.update("default", USER, {"path": "/x"})
    with pytest.raises(Refusal, check=refused(ExitCode.UNKNOWN_STORE)):
        registry.delete("nowhere", USER)


def test_an_update_that_would_not_be_valid_changes_nothing(registry: Registry, places: Places) -> None:
    registry.register(s3(key="a", secret="b"))
    before = user_file(places).read_bytes()
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "did you mean region")):
        registry.update("s3_store", USER, {"regoin": "x"})
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "belong together")):
        registry.update("s3_store", USER, {"secret": None})
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "has no attribute 'token'")):
        registry.update("s3_store", USER, {"token": None})
    assert user_file(places).read_bytes() == before


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'[a]\nflavor = "local"\npath = \n', "line 3"),
        (b'[a]\nflavor = "local"\npath = "\xff"\n', "line 3"),
        (b'[a]\npath = "/x"\n[a]\n', "line 3"),
        (b'[a]\nflavor = "local"\n', "'a' needs a text as its path"),
        (b'[a]\nflavor = "local"\npath = "/x"\nkey = 3\n', "'a' needs a text as its key"),
        (b'a = "local"\n', "'a' is not a store"),
    ],
)
def test_a_broken_file_is_one_line_that_says_where_and_is_not_written_over(
    registry: Registry, places: Places, content: bytes, where: str
) -> None:
    user_file(places).parent.mkdir()
    user_file(places).write_bytes(content)
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, str(user_file(places)), where)):
        registry.spec("a")
    if "line" in where:
        with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, where)):
            registry.register(local("b"))
        assert user_file(places).read_bytes() == content


def test_a_folder_where_nothing_can_be_written_is_one_line(places: Places, registry: Registry) -> None:
    places.config.touch()
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, str(places.config))):
        registry.register(local("a"))


# together

WRITER = """
import sys
from pathlib import Path
from storemount.config import Places
from storemount.registry.entry import Entry, Level
from storemount.registry.stores import Registry

root, writer = Path(sys.argv[1]), sys.argv[2]
registry = Registry(Places(*(root / name for name in ("data", "config", "etc", "state", "cache", "run"))), environ={}, reserved=())
for number in range(15):
    registry.register(Entry(f"{writer}-{number}", "local", "/srv", Level.USER))
    registry.rename(f"{writer}-{number}", f"{writer}-{number}-renamed", Level.USER)
    assert f"{writer}-{number}-renamed" in registry.entries()
"""


def test_two_writers_at_once_lose_nothing(tmp_path: Path, places: Places, registry: Registry) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in ("one", "two")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert set(registry.entries()) == {"default", *(f"{name}-{number}-renamed" for name in ("one", "two") for number in range(15))}
    assert sorted(path.name for path in places.config.iterdir()) == ["stores.toml", "stores.toml.lock"]
