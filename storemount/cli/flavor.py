"""`storemount artifact-store flavor`: the kinds of stores, storemount's own and those of a class of the user's.

What it is: list, describe, register, delete.
What it is not: the rules (`userflavors`, `stores.flavors`). Only `register` runs a user's code.
"""

from __future__ import annotations

import os

import click

from storemount.cli.table import print_sheet, print_table
from storemount.cli.user import places, registry
from storemount.errors import ExitCode, Refusal
from storemount.registry.flavors import UserFlavors
from storemount.stores.flavors import FLAVORS, Flavor
from storemount.stores.flavors.spec import near

_system = click.option("--system", is_flag=True, help="The machine's registry instead of this user's.")


def _words(example: str) -> str:
    return f"\b\nExample:\n  storemount artifact-store flavor {example}\n"


@click.group(epilog=_words("list"))
def flavor() -> None:
    """The kinds of stores."""


@flavor.command("list", epilog=_words("list"))
def list_flavors() -> None:
    """List the kinds of stores, and the attributes of each."""
    flavors = [*FLAVORS.values(), *UserFlavors(places()).flavors()]
    rows = [(one.name, _paths(one), " ".join(one.engines), one.summary) for one in flavors]
    print_table(("FLAVOR", "PATH", "ENGINES", "WHAT"), rows)
    for one in flavors:
        for attribute in one.attributes:
            click.echo(f"\n{one.name} --{attribute.name}{' (secret)' if attribute.secret else ''}\n    {attribute.help}")


def _paths(one: Flavor) -> str:
    return " ".join(scheme or "/PATH" for scheme in one.schemes) or "any of fsspec"


@flavor.command(epilog=_words("describe s3"))
@click.argument("name")
def describe(name: str) -> None:
    """Show one kind of store."""
    users = UserFlavors(places()).entries()
    known = {**FLAVORS, **{each: users[each].flavor() for each in users}}
    if name not in known:
        hint = near(name, known)
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"there is no flavor {name!r}{hint}; see: storemount artifact-store flavor list")
    one = known[name]
    sheet = {"flavor": one.name, "what": one.summary, "path": _paths(one), "engines": " ".join(one.engines)}
    if name in users:
        sheet |= {"source": users[name].source.path, "directory": users[name].source.directory}
    print_sheet(sheet)
    for attribute in one.attributes:
        click.echo(f"--{attribute.name}{' (secret)' if attribute.secret else ''}: {attribute.help}")
    if one.takes_any:
        click.echo("--ANY=VALUE: handed to the class as text")


@flavor.command(epilog=_words("register my_module.MyStore"))
@click.argument("source", metavar="MODULE.CLASS")
@_system
def register(source: str, system: bool) -> None:
    """Make a Python class of yours a kind of store, or read it again after it has changed.

    The class has FLAVOR, SUPPORTED_SCHEMES, and the methods of ZenML's artifact stores; ZenML's own forms of a custom flavor do, too. Its
    module is looked for on Python's path and in the current folder.
    """
    made, again = UserFlavors(places()).register(source, os.getcwd(), system=system)
    word = "updated" if again else "registered"
    click.echo(f"Successfully {word} flavor `{made.name}` ({made.source.path}, found in {made.source.directory}).")


@flavor.command(epilog=_words("delete shelf"))
@click.argument("name")
@_system
def delete(name: str, system: bool) -> None:
    """Forget a kind of store. The class itself is not touched."""
    users = [entry.name for entry in registry().entries().values() if entry.flavor == name and name not in FLAVORS]
    if users:
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"the flavor {name!r} is that of the store {users[0]!r}; delete that store first")
    UserFlavors(places()).delete(name, system=system)
    click.echo(f"Deleted flavor: {name}")
