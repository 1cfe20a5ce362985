"""What a user's class says of itself: its forms, what it can be told, and the one line that a wrong one gets."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pydantic
import pytest

from storemount.errors import ExitCode, Invalid, Refusal
from storemount.stores.flavors import StoreSpec, validate
from storemount.stores.flavors.user import UserFlavor
from storemount.stores.user.form import Declared, Form
from storemount.stores.user.source import ClassSource
from tests.support.shelf import Shelf


class Methods:
    """The abstraction's, as far as a form looks."""

    FLAVOR: ClassVar[str] = "tested"
    SUPPORTED_SCHEMES: ClassVar[set[str]] = {"tested://"}
    open = exists = isdir = listdir = makedirs = remove = stat = Shelf.open


class WithSignature(Methods):
    def __init__(self, path: str, host: str, *, port: int = 22, verify: bool = True, api_token: str | None = None) -> None:
        self.told = (path, host, port, verify, api_token)


class WithAnnotations(Methods):
    path: str
    host: str
    port: int = 22
    options: dict[str, int] | None = None
    CACHE: ClassVar[int] = 3


class TakesAny(Methods):
    def __init__(self, **told: str) -> None:
        self.told = told


class TakesNothing(Methods):
    def __init__(self) -> None:
        pass


class OnePiece(Methods, pydantic.BaseModel):
    """As ZenML had it until 0.13."""

    name: str
    uuid: UUID
    path: str
    port: int = 22
    password: str


class Config(pydantic.BaseModel):
    SUPPORTED_SCHEMES: ClassVar[set[str]] = {"parts://", ""}
    path: str
    port: int = 22
    pin: str = pydantic.Field(default="", json_schema_extra={"sensitive": True})


class Implementation:
    open = exists = isdir = listdir = makedirs = remove = stat = Shelf.open

    def __init__(
        self, name: str, id: UUID, config: Config, flavor: str, type: str, user: None, created: datetime, updated: datetime
    ) -> None:
        self.config = config


class ThreePieces:
    """As ZenML has it now."""

    name = property(lambda self: "parts")
    config_class = property(lambda self: Config)
    implementation_class = property(lambda self: Implementation)


def form(cls: type) -> Form:
    return Form(cls, f"module.{cls.__name__}")


def names(declared: tuple[Declared, ...], which: str) -> list[str]:
    return [each.name for each in declared if getattr(each, which)]


@pytest.mark.parametrize(
    ("cls", "known", "required", "secret"),
    [
        (WithSignature, ["host", "port", "verify", "api_token"], ["host"], ["api_token"]),
        (WithAnnotations, ["host", "port", "options"], ["host"], []),
        (TakesAny, [], [], []),
        (OnePiece, ["port", "password"], ["password"], ["password"]),
        (ThreePieces, ["port", "pin"], [], ["pin"]),
    ],
)
def test_what_a_class_can_be_told(cls: type, known: list[str], required: list[str], secret: list[str]) -> None:
    made = form(cls)
    assert names(made.declared, "name") == known
    assert names(made.declared, "required") == required
    assert names(made.declared, "secret") == secret
    assert made.takes_any is (cls is TakesAny)
    assert (made.name, made.schemes) == (("parts", ("", "parts://")) if cls is ThreePieces else ("tested", ("tested://",)))


def test_values_are_read_as_what_they_are_declared() -> None:
    told = form(WithSignature).read({"host": "h", "port": "2222", "verify": "No", "api_token": "7"})
    assert told == {"host": "h", "port": 2222, "verify": False, "api_token": "7"}
    assert form(WithAnnotations).read({"host": "h", "options": '{"a": 1}'}) == {"host": "h", "options": {"a": 1}}
    for cls, wrong in (
        (WithSignature, {"port": "secret"}),
        (WithSignature, {"verify": "secret"}),
        (WithAnnotations, {"options": "secret"}),
    ):
        with pytest.raises(Invalid, match=f"the attribute {next(iter(wrong))} is not") as caught:
            form(cls).read({"host": "h", **wrong})
        assert "secret" not in str(caught.value)


def test_instances_are_made_as_their_form_wants() -> None:
    assert form(WithSignature).make("s", "tested://x", {"host": "h"}).told == ("tested://x", "h", 22, True, None)
    assert form(TakesAny).make("s", "tested://x", {"a": "b"}).told == {"path": "tested://x", "a": "b"}
    assert isinstance(form(TakesNothing).make("s", "tested://x", {}), TakesNothing)
    plain = form(WithAnnotations).make("s", "tested://x", {"host": "h"})
    assert (plain.path, plain.host, plain.port) == ("tested://x", "h", 22)
    one = form(OnePiece).make("s", "tested://x", {"password": "p"})
    assert (one.name, one.path, one.port) == ("s", "tested://x", 22)
    assert form(ThreePieces).make("s", "parts://x", {"port": 1}).config == Config(path="parts://x", port=1)


def changed(**members: object) -> type:
    return type("Changed", (Methods,), members)


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (changed(listdir=None), "has no listdir; a store needs open, exists"),
        (changed(FLAVOR="two words"), 'give the class FLAVOR = "name"'),
        (changed(FLAVOR=None), 'give the class FLAVOR = "name"'),
        (changed(SUPPORTED_SCHEMES=set()), 'SUPPORTED_SCHEMES = {"tested://"}'),
        (changed(SUPPORTED_SCHEMES="tested://"), 'SUPPORTED_SCHEMES = {"tested://"}'),
        (changed(SUPPORTED_SCHEMES={"tested"}), "'tested' is not a scheme"),
    ],
)
def test_a_class_that_cannot_be_a_store(cls: type, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        form(cls)
    assert said in str(caught.value)


# finding it


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Callable[[str, str], str]]:
    """Makes a module of the user's; the folder."""
    before, path = set(sys.modules), list(sys.path)

    def make(name: str, text: str) -> str:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
        return str(tmp_path)

    yield make
    sys.path[:] = path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_module_is_found_in_the_folder_where_it_was_registered(write: Callable[[str, str], str]) -> None:
    write("my_package/__init__.py", "")
    folder = write("my_package/mine.py", "class Mine: pass")
    source = ClassSource("my_package.mine.Mine", folder)
    assert source.load().__name__ == "Mine"
    assert source.found() == folder


def test_the_users_folder_hides_nothing_of_python(write: Callable[[str, str], str]) -> None:
    folder = write("json.py", "class Mine: pass")
    with pytest.raises(Invalid, match=r"the module json \(.*/json/__init__.py\) has no class Mine"):
        ClassSource("json.Mine", folder).load()


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("mine_a.Mine", "import nowhere_to_be_found", "cannot be imported: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("mine_b.Mine", "1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("mine_c.Mine", "def f(:", "cannot be imported: SyntaxError"),
        ("mine_d.Mine", "raise SystemExit('bye')", "cannot be imported: SystemExit: bye"),
        ("mine_e.Mine", "Mine = 3", "has something else called Mine"),
        ("mine_f.Mine", "", "has no class Mine"),
        ("elsewhere.Mine", "", "there is no module elsewhere in {folder}, nor on Python's path"),
        ("Mine", "", "is not the dotted path of a class; write module.Class"),
        ("my-module.Mine", "", "is not the dotted path of a class"),
    ],
)
def test_why_a_class_is_not_found_is_one_line(write: Callable[[str, str], str], path: str, text: str, said: str) -> None:
    folder = write("mine_" + path[5] + ".py" if path.startswith("mine_") else "other.py", text)
    with pytest.raises(Invalid) as caught:
        ClassSource(path, folder).load()
    assert said.format(folder=folder) in str(caught.value)
    assert "\n" not in str(caught.value)


# as a flavor


def test_a_flavor_is_what_it_was_when_it_is_read_again() -> None:
    flavor = UserFlavor.of(ClassSource("tests.unit.test_user_form.WithSignature"))
    assert UserFlavor.of_row("tested", flavor.row()) == flavor


@pytest.mark.parametrize(
    "wrong", [{}, {"source": 3, "schemes": ["a://"]}, {"source": "a.B", "schemes": "a://"}, {"source": "a.B", "schemes": [1]}]
)
def test_a_row_that_describes_no_flavor(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="'tested' needs a text as its source"):
        UserFlavor.of_row("tested", wrong)


@pytest.mark.parametrize(
    ("path", "attributes", "said"),
    [
        ("tested://x", {"host": "h", "prot": "1"}, "no attribute 'prot' (did you mean port"),
        ("tested://x", {"port": "1"}, "needs the attribute host; add --host=VALUE"),
        ("s3://x", {"host": "h"}, "begins with tested://, not with s3://; for that, use the flavor s3"),
        ("/folder", {"host": "h"}, "begins with tested://, such as tested://"),
    ],
)
def test_a_store_of_it_is_checked_without_its_class(path: str, attributes: dict[str, str], said: str) -> None:
    flavor = UserFlavor("tested", ClassSource("no.Such"), ("tested://",), ("host", "port"), (), ("host",)).flavor()
    with pytest.raises(Refusal) as caught:
        validate(StoreSpec("mine", "tested", path, attributes, flavor))
    assert caught.value.code is ExitCode.BAD_CONFIGURATION
    assert said in caught.value.message
