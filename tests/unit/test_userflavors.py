"""Flavors of the user's own on the command line: registered, listed, used by stores, forgotten."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from storemount.errors import ExitCode
from tests.support.command import Storemount

CLASS = """
class Mine:
    FLAVOR = "mine"
    SUPPORTED_SCHEMES = {"mine://"}

    def __init__(self, path: str, region: str = "", api_token: str = ""): ...

    open = exists = isdir = listdir = makedirs = remove = stat = rename = lambda self, *args: None
"""
FLAVOR = ("artifact-store", "flavor")


@pytest.fixture
def storemount(tmp_path: Path) -> Storemount:
    made = Storemount(tmp_path)
    (tmp_path / "my_module.py").write_text(CLASS)
    return made


def refused(storemount: Storemount, *words: str) -> str:
    done = storemount.run(*words)
    assert (done.returncode, done.stdout) == (ExitCode.BAD_CONFIGURATION, ""), done.stderr
    assert re.fullmatch(r"storemount: [^\n]*\n", done.stderr), done.stderr
    return done.stderr


def test_the_life_of_a_flavor(storemount: Storemount) -> None:
    said = storemount.must(*FLAVOR, "register", "my_module.Mine")
    assert said == f"Successfully registered flavor `mine` (my_module.Mine, found in {storemount.home}).\n"
    assert re.search(r"^mine +mine:// +python +the class my_module.Mine$", storemount.must(*FLAVOR, "list"), re.MULTILINE)
    sheet = storemount.must(*FLAVOR, "describe", "mine")
    assert f"directory  {storemount.home}\n" in sheet and "--api_token (secret): handed to the class" in sheet
    assert "--endpoint: URL of an S3 server" in storemount.must(*FLAVOR, "describe", "s3")

    storemount.register("my_store", "mine", "mine://a/", {"region": "west", "api_token": "hunter2"})
    described = storemount.must("artifact-store", "describe", "my_store")
    assert "west" in described and "hunter2" not in described and "***" in described
    assert "mine://a " in storemount.must("artifact-store", "list")
    assert "(did you mean region?)" in refused(storemount, "artifact-store", "update", "my_store", "--regoin=x")

    assert "is that of the store 'my_store'" in refused(storemount, *FLAVOR, "delete", "mine")
    storemount.must("artifact-store", "delete", "my_store")
    assert storemount.must(*FLAVOR, "delete", "mine") == "Deleted flavor: mine\n"
    assert "mine" not in storemount.must(*FLAVOR, "list")


def test_a_class_that_has_changed_is_read_again(storemount: Storemount) -> None:
    storemount.must(*FLAVOR, "register", "my_module.Mine")
    (storemount.home / "my_module.py").write_text(CLASS.replace("region", "zone"))
    assert storemount.must(*FLAVOR, "register", "my_module.Mine").startswith("Successfully updated flavor `mine`")
    assert tomllib.loads((storemount.home / "config/storemount/flavors.toml").read_text())["mine"] == {
        "source": "my_module.Mine",
        "directory": str(storemount.home),
        "schemes": ["mine://"],
        "attributes": ["zone", "api_token"],
        "secrets": ["api_token"],
    }


def test_the_machines_flavors_are_for_everybody(storemount: Storemount) -> None:
    storemount.must(*FLAVOR, "register", "my_module.Mine", "--system")
    assert "source     my_module.Mine" in storemount.must(*FLAVOR, "describe", "mine")
    assert "is in the system registry; add --system" in refused(storemount, *FLAVOR, "delete", "mine")
    storemount.must(*FLAVOR, "delete", "mine", "--system")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('FLAVOR = "mine"', 'FLAVOR = "s3"', "the flavor 's3' is storemount's own; give my_module.Mine another FLAVOR"),
        ("mine://", "s3://", "the flavor 'mine' takes s3://, which the flavor s3 has; choose another scheme"),
        ("class Mine", "class Other", "has no class Mine"),
        ("stat = ", "", "my_module.Mine has no stat; a store needs open"),
        ('FLAVOR = "mine"', "", 'give the class FLAVOR = "name"'),
    ],
)
def test_a_class_that_will_not_do_is_refused_in_one_line(storemount: Storemount, old: str, new: str, said: str) -> None:
    (storemount.home / "my_module.py").write_text(CLASS.replace(old, new))
    assert said in refused(storemount, *FLAVOR, "register", "my_module.Mine")
    assert not (storemount.home / "config/storemount/flavors.toml").exists()


def test_names_that_are_not_there(storemount: Storemount) -> None:
    storemount.must(*FLAVOR, "register", "my_module.Mine")
    assert "did you mean mine" in refused(storemount, *FLAVOR, "describe", "mime")
    assert "did you mean mine" in refused(storemount, *FLAVOR, "delete", "mime")
    assert "storemount's own, and stays" in refused(storemount, *FLAVOR, "delete", "local")
    (storemount.home / "more.py").write_text(CLASS)
    assert "is taken by my_module.Mine; delete that one first" in refused(storemount, *FLAVOR, "register", "more.Mine")


def test_a_store_whose_class_has_gone_says_what_is_missing(storemount: Storemount) -> None:
    storemount.must(*FLAVOR, "register", "my_module.Mine")
    storemount.register("my_store", "mine", "mine://a", {})
    (storemount.home / "my_module.py").unlink()
    (storemount.home / "mnt").mkdir()
    assert f"there is no module my_module in {storemount.home}" in refused(storemount, "my_store", str(storemount.home / "mnt"))
    assert "there is no module my_module" in refused(storemount, "mine://a/uri", str(storemount.home / "mnt"))
    config = storemount.home / "config/storemount/flavors.toml"
    config.write_text("[mine]\nsource = 3\n")
    assert f"{config}: the flavor 'mine' needs a text as its source" in refused(storemount, *FLAVOR, "list")
