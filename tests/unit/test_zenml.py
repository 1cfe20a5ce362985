"""ZenML's artifact stores, read from what real ZenMLs wrote, and asked of a Python that has none."""

from __future__ import annotations

import base64
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from storemount.config import Places
from storemount.errors import ExitCode, Refusal
from storemount.registry.entry import Entry, Level
from storemount.registry.importing import Import
from storemount.registry.stores import Registry
from storemount.stores.flavors import StoreSpec
from storemount.zenml.attributes import spec_of
from storemount.zenml.definition import Definition
from storemount.zenml.interpreter import interpreter
from storemount.zenml.names import ZenML
from tests.support.readme import told
from tests.support.zenml_trees import zenml_tree

PLAIN = {"key": "plain-key", "secret": "plain-secret", "client_kwargs": '{"endpoint_url": "http://127.0.0.1:9000"}'}
SECRET = {"key": "secret-key", "secret": "secret-secret"}
DATABASE = "local_stores/default_zen_store/zenml.db"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Of a user whose ZenML is in a folder that the test makes, and who has no Python with ZenML."""
    (tmp_path / "bin").mkdir()
    return {"ZENML_CONFIG_PATH": str(tmp_path / "zenml"), "PATH": str(tmp_path / "bin"), "KEY": "k"}


@pytest.fixture
def tree(environ: dict[str, str]) -> Callable[[str], Path]:
    return lambda kind: zenml_tree(kind, Path(environ["ZENML_CONFIG_PATH"]))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(*(tmp_path / name for name in ("data", "config", "etc", "state", "cache", "run")))


@pytest.fixture
def registry(places: Places, environ: dict[str, str]) -> Registry:
    return Registry(places, environ=environ, reserved={"mount"}, zenml=ZenML(environ))


def refused(code: ExitCode, *words: str) -> Callable[[Refusal], bool]:
    def fits(error: Refusal) -> bool:
        return error.code is code and "\n" not in error.message and all(word in error.message for word in words)

    return fits


def s3(name: str, path: str, attributes: Mapping[str, str]) -> StoreSpec:
    return StoreSpec(name, "s3", path, attributes)


# reading


@pytest.mark.parametrize(("kind", "profile"), [("old", "default"), ("old", "database"), ("new", "")])
def test_names_are_found_in_what_zenml_wrote(environ: dict[str, str], tree: Callable[[str], Path], kind: str, profile: str) -> None:
    folder = tree(kind)
    zenml = ZenML({**environ, "ZENML_ACTIVATED_PROFILE": profile})
    assert {"default", "folder", "s3_plain", "s3_secret"} <= set(zenml.at_hand())
    assert zenml.resolve("folder").spec == StoreSpec("folder", "local", "/srv/artifacts")
    assert zenml.resolve("s3_plain").spec == s3("s3_plain", "s3://bucket/models", PLAIN)
    built_in = zenml.resolve("default").spec.path
    assert re.fullmatch("[0-9a-f-]{36}", Path(built_in).name)
    assert zenml.owns(built_in) == (profile != "database")  # where it was written down, and where it is now
    assert str(folder) in (zenml.where or "")


@pytest.mark.parametrize("kind", ["old", "new"])
def test_a_secret_that_is_kept_in_clear_is_looked_up(environ: dict[str, str], tree: Callable[[str], Path], kind: str) -> None:
    tree(kind)
    resolved = ZenML(environ).resolve("s3_secret")
    assert resolved.spec == s3("s3_secret", "s3://bucket", SECRET)
    assert resolved.expires is None
    assert "secret-secret" not in repr(resolved)


def test_references_to_a_secret_are_looked_up(environ: dict[str, str], tree: Callable[[str], Path]) -> None:
    tree("new")
    assert ZenML(environ).resolve("s3_pair").spec == s3("s3_pair", "s3://bucket", {"key": "pair-key", "secret": "pair-secret"})


def test_a_local_store_without_a_path_is_where_zenml_would_make_it(environ: dict[str, str], tree: Callable[[str], Path]) -> None:
    folder = tree("new")
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        (identity,) = database.execute("SELECT id FROM stack_component WHERE name = 'by_itself'").fetchone()
    found = Path(ZenML(environ).resolve("by_itself").spec.path)
    assert (found.parent, found.name.replace("-", "")) == (folder / "local_stores", identity)


def test_reading_changes_nothing_and_makes_nothing(environ: dict[str, str], tree: Callable[[str], Path]) -> None:
    folder = tree("new")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}
    ZenML(environ).resolve("s3_secret")
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")} == before


@pytest.mark.parametrize("name", ["s3_plai", "S3_PLAIN", "s3_", "by_itsel"])
def test_names_are_exact(environ: dict[str, str], tree: Callable[[str], Path], name: str) -> None:
    tree("new")
    with pytest.raises(Refusal, check=refused(ExitCode.UNKNOWN_STORE, repr(name), environ["ZENML_CONFIG_PATH"])):
        ZenML(environ).resolve(name)


# what the files do not tell


@pytest.mark.parametrize(
    ("kind", "change", "name", "reason"),
    [
        ("new", "", "s3_connected", "come from a service connector"),
        ("new", "UPDATE secret SET \"values\" = 'c2VhbGVk'", "s3_secret", "the secret 'aws' is encrypted"),
        ("new", "ALTER TABLE stack_component RENAME TO component", "folder", "zenml.db"),
        ("new", "UPDATE stack_component SET configuration = 'x' WHERE name = 'folder'", "folder", "zenml.db"),
    ],
)
def test_what_only_zenml_can_tell_needs_a_python_that_has_it(
    environ: dict[str, str], tree: Callable[[str], Path], kind: str, change: str, name: str, reason: str
) -> None:
    folder = tree(kind)
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        database.executescript(change)
    wanted = refused(ExitCode.BAD_CONFIGURATION, f"ZenML itself has to be asked for '{name}'", reason, "pip install 'storemount[zenml]'")
    with pytest.raises(Refusal, check=wanted) as caught:
        ZenML(environ).resolve(name)
    assert told("ZenML itself has to be asked for", caught.value.message)


@pytest.mark.parametrize(
    "store", ["type: rest\n  url: https://me:word@zenml.example.org/", "type: sql\n  url: mysql://me:word@zenml.example.org/db"]
)
def test_a_server_is_only_asked_for_a_name_and_never_for_a_list(
    environ: dict[str, str], places: Places, registry: Registry, store: str
) -> None:
    folder = Path(environ["ZENML_CONFIG_PATH"])
    folder.mkdir()
    (folder / "config.yaml").write_text(f"version: 0.98.0\nstore:\n  {store}\n")
    assert registry.of_zenml() == {}
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "no store is named 'there'", "zenml.example.org")) as caught:
        registry.spec("there")
    assert "word" not in caught.value.message


def test_a_name_that_nobody_knows_is_said_with_both_places(registry: Registry, tree: Callable[[str], Path]) -> None:
    tree("new")
    with pytest.raises(Refusal, check=refused(ExitCode.UNKNOWN_STORE, "'nowhere'")) as caught:
        registry.spec("nowhere")
    assert told("no store is named", caught.value.message)


def test_the_active_stack_without_a_secrets_manager_is_named(environ: dict[str, str], tree: Callable[[str], Path]) -> None:
    file = tree("old") / "config.yaml"
    file.write_text(file.read_text().replace("active_stack: with_secrets", "active_stack: default"))
    with pytest.raises(Refusal, match="active stack 'default' has no secrets manager"):
        ZenML(environ).resolve("s3_secret")


def test_a_secret_that_is_gone_or_lacks_a_key_is_one_line(environ: dict[str, str], tree: Callable[[str], Path]) -> None:
    database = tree("new") / DATABASE
    other = base64.b64encode(json.dumps({"word": "hunter2"}).encode()).decode()
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(f"DELETE FROM secret WHERE name = 'aws'; UPDATE secret SET \"values\" = '{other}' WHERE name = 'pair'")
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "needs the secret 'aws'")):
        ZenML(environ).resolve("s3_secret")
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "takes its key from 'id' of the secret 'pair'")) as caught:
        ZenML(environ).resolve("s3_pair")
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("content", "says"), [(b"store: [", "not YAML"), (b"- x", "mapping"), (b"profiles: {}\nactivated_profile: x", "'x'")]
)
def test_a_broken_configuration_is_one_line_and_hides_no_store_of_ours(
    environ: dict[str, str], registry: Registry, content: bytes, says: str
) -> None:
    folder = Path(environ["ZENML_CONFIG_PATH"])
    folder.mkdir()
    (folder / "config.yaml").write_bytes(content)
    registry.register(Entry("mine", "local", "/srv/mine", Level.USER))
    assert registry.spec("mine").path == "/srv/mine"
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, str(folder), says)):
        registry.spec("other")


# the words


def of(flavor: str, **configuration: object) -> Definition:
    return Definition("name", flavor, configuration)


@pytest.mark.parametrize(
    ("definition", "values", "expected"),
    [
        (of("gcp", path="gs://b", authentication_secret="s"), {"token": "{}", "other": "x"}, ("gcp", "gs://b", {"token": "{}"})),
        (
            of("azure", path="az://c", authentication_secret="s"),
            {"account_name": "a", "sas_token": "t", "tenant_id": ""},
            ("azure", "az://c", {"account_name": "a", "sas_token": "t"}),
        ),
        (
            of("s3", path="s3://b", key="k", secret="s", token="t", authentication_secret="s"),
            {"access_key_id": "1", "secret_access_key": "2"},
            ("s3", "s3://b", {"key": "1", "secret": "2"}),
        ),
        (
            of("digitalocean", path="s3://b", region="fra1", client_kwargs={}),
            {},
            ("s3", "s3://b", {"region": "fra1", "endpoint": "https://fra1.digitaloceanspaces.com"}),
        ),
        (of("b2", path="s3://b"), {}, ("s3", "s3://b", {"endpoint": "https://s3.us-west-004.backblazeb2.com"})),
        (of("b2", path="s3://b", client_kwargs='{"endpoint_url": "x"}'), {}, ("s3", "s3://b", {"client_kwargs": '{"endpoint_url": "x"}'})),
        (of("shelf", path="shelf://lib", size=3, deep={"a": [1]}), {}, ("shelf", "shelf://lib", {"size": "3", "deep": '{"a": [1]}'})),
    ],
)
def test_a_definition_in_our_words(definition: Definition, values: dict[str, str], expected: tuple[str, str, dict[str, str]]) -> None:
    spec = spec_of(definition, lambda name: values)
    assert (spec.flavor, spec.path, dict(spec.attributes)) == expected


def test_a_connector_wins_over_everything_and_its_region_only_fills_a_gap() -> None:
    given = {"key": "1", "secret": "2", "token": None, "region": "eu"}
    plain = of("s3", path="s3://b", key="k", secret="s", token="t", authentication_secret="gone")
    assert spec_of(plain, {}.__getitem__, given).attributes == {"key": "1", "secret": "2", "region": "eu"}
    told = of("s3", path="s3://b", client_kwargs={"region_name": "us"})
    assert spec_of(told, {}.__getitem__, given).attributes == {"key": "1", "secret": "2", "client_kwargs": '{"region_name": "us"}'}


def test_an_authentication_secret_of_another_kind_is_refused() -> None:
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "none of the keys aws_access_key_id")):
        spec_of(of("s3", path="s3://b", authentication_secret="s"), lambda name: {"word": "hunter2"})


# the registry


def test_our_own_registry_comes_first_and_a_uri_asks_zenml_only(registry: Registry, tree: Callable[[str], Path]) -> None:
    tree("new")
    registry.register(Entry("folder", "local", "/srv/mine", Level.USER))
    assert registry.spec("folder").path == "/srv/mine"
    assert registry.spec("zenml://folder").path == "/srv/artifacts"
    assert registry.spec("s3_plain").attributes == PLAIN
    assert registry.entry("zenml://folder").path == "/srv/artifacts"
    with pytest.raises(Refusal, check=refused(ExitCode.UNKNOWN_STORE, "'mine'")):
        registry.register(Entry("mine", "local", "/srv/mine", Level.USER))
        registry.spec("zenml://mine")
    listed = registry.of_zenml()
    assert {"zenml://default", "zenml://folder", "s3_plain"} <= set(listed) and "folder" not in listed
    assert all(entry.level is Level.ZENML for entry in listed.values())
    assert "plain-secret" not in repr([entry.shown() for entry in listed.values()])


def test_an_unknown_name_says_where_was_looked_and_suggests_names_of_both(registry: Registry, tree: Callable[[str], Path]) -> None:
    folder = tree("new")
    with pytest.raises(
        Refusal, check=refused(ExitCode.UNKNOWN_STORE, "storemount's registry or in ZenML's", str(folder), "did you mean s3_pair")
    ):
        registry.spec("s3_pairs")


def test_without_a_zenml_there_is_not_a_word_of_it(registry: Registry) -> None:
    with pytest.raises(Refusal, check=lambda error: "ZenML" not in error.message):
        registry.spec("nothing")
    with pytest.raises(Refusal, check=refused(ExitCode.UNKNOWN_STORE, "no configuration of ZenML at")):
        registry.spec("zenml://nothing")
    assert registry.of_zenml() == {}


def test_a_store_of_zenmls_is_not_changed_from_here(registry: Registry, tree: Callable[[str], Path]) -> None:
    tree("new")
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "is ZenML's", "import-zenml s3_plain")):
        registry.update("s3_plain", Level.USER, {"key": "x"})


# copies


def test_a_copy_leaves_the_secrets_where_zenml_keeps_them(registry: Registry, environ: dict[str, str], tree: Callable[[str], Path]) -> None:
    tree("new")
    copying = Import(registry, ZenML(environ), Level.USER, secrets=False)
    chosen = {definition.name: definition for definition in copying.choose(())}
    assert "default" not in chosen
    assert copying.copy(chosen["s3_secret"]).left == {"authentication_secret": "aws"}
    assert copying.copy(chosen["s3_pair"]).left == {"key": "pair", "secret": "pair"}
    assert copying.copy(chosen["s3_plain"]).left == {}
    assert registry.entry("s3_secret") == Entry("s3_secret", "s3", "s3://bucket", Level.USER)
    assert registry.spec("s3_plain").attributes == PLAIN
    with pytest.raises(Refusal, match="from a service connector"):
        copying.copy(chosen["s3_connected"])
    with pytest.raises(Refusal, match="already has a store named 's3_plain'"):
        copying.copy(chosen["s3_plain"])


def test_a_copy_has_the_secrets_when_that_is_asked_for(registry: Registry, environ: dict[str, str], tree: Callable[[str], Path]) -> None:
    tree("new")
    copying = Import(registry, ZenML(environ), Level.USER, secrets=True)
    (definition,) = copying.choose(("s3_secret",))
    assert copying.copy(definition).left == {}
    assert registry.entry("s3_secret") == Entry("s3_secret", "s3", "s3://bucket", Level.USER, SECRET)


def test_a_copy_of_what_is_not_there_is_refused(registry: Registry, environ: dict[str, str], tree: Callable[[str], Path]) -> None:
    tree("new")
    with pytest.raises(Refusal, check=refused(ExitCode.UNKNOWN_STORE, "'s3_plan'", "did you mean s3_plain")):
        Import(registry, ZenML(environ), Level.USER, secrets=False).choose(("folder", "s3_plan"))


# which Python


@pytest.mark.parametrize("form", ["#!{python}\n", "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n"])
def test_the_python_behind_the_command_is_found(environ: dict[str, str], form: str) -> None:
    command = Path(environ["PATH"]) / "zenml"
    command.write_text(form.format(python=sys.executable) + "import zenml\n")
    command.chmod(0o755)
    assert interpreter(environ, "") == sys.executable
    assert interpreter({**environ, "STOREMOUNT_ZENML_PYTHON": "/bin/sh"}, "") == "/bin/sh"


def test_a_folder_that_is_named_like_it_is_no_zenml(environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work" / "zenml").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "work")
    with pytest.raises(Refusal, match=r"^why, and no Python with ZenML was found; install the extra"):
        interpreter(environ, "why")


@pytest.mark.parametrize(
    ("python", "says"),
    [("/nowhere/python", "cannot be run"), (sys.executable, "No module named 'zenml'"), ("/bin/false", "could not ask ZenML: exit code 1")],
)
def test_a_python_that_cannot_answer_is_one_line(environ: dict[str, str], tree: Callable[[str], Path], python: str, says: str) -> None:
    tree("new")
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "STOREMOUNT_ZENML_PYTHON", says)):
        ZenML({**environ, "STOREMOUNT_ZENML_PYTHON": python}).resolve("s3_connected")


def test_another_version_of_zenml_is_kept_from_the_database(environ: dict[str, str], tree: Callable[[str], Path], tmp_path: Path) -> None:
    """A newer ZenML would migrate it, and the user's own could not read it any more."""
    tree("new")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "zenml.py").write_text("__version__ = '0.99.0'\n")
    given = {**environ, "STOREMOUNT_ZENML_PYTHON": sys.executable, "PYTHONPATH": str(tmp_path / "other")}
    with pytest.raises(Refusal, check=refused(ExitCode.BAD_CONFIGURATION, "last used by version 0.98.0", "has 0.99.0")) as caught:
        ZenML(given).resolve("s3_connected")
    assert told("was last used by version", caught.value.message)


def test_looking_a_name_up_imports_neither_zenml_nor_anything_heavy(environ: dict[str, str], tree: Callable[[str], Path]) -> None:
    tree("new")
    script = (
        "import os, sys\nfrom storemount.zenml.names import ZenML\nZenML(os.environ).resolve('s3_secret')\n"
        "print([name for name in ('zenml', 'trio', 'opendal', 'fsspec', 'asyncio') if name in sys.modules])\n"
    )
    given = {**environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=given, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"
