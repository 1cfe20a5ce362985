"""`storemount artifact-store`: the registry's words, which are ZenML's.

What it is: register, list, describe, update, remove-attribute, rename, delete, import-zenml.
What it is not: the kinds of stores (`flavor`), or the rules; those are the registry's, the flavors' and `importing`'s. No command here
talks to a store.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from storemount.cli import attributes
from storemount.cli.flavor import flavor as flavors
from storemount.cli.table import print_table
from storemount.cli.user import registry, zenml
from storemount.errors import ExitCode, Refusal
from storemount.registry.entry import Entry, Level
from storemount.registry.importing import Copied, Import

_ANYTHING = {"ignore_unknown_options": True}
"""Each flavor has its own attributes, so click lets every option through."""

_EPILOG = """\b
Examples:
  storemount artifact-store register s3_store -f s3 --path s3://my_bucket
  storemount artifact-store register minio -f s3 --path s3://models \\
      --endpoint=http://127.0.0.1:9000 --key=env:MINIO_KEY --secret=@~/.minio-secret
  storemount store list
"""


def _words(example: str) -> str:
    return f"\b\nExample:\n  storemount artifact-store {example}\n"


def _system(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --system, as the argument `level`."""
    return click.option(
        "--system", "level", flag_value=Level.SYSTEM, type=Level, default=Level.USER, help="The machine's registry instead of this user's."
    )(command)


@click.group(epilog=_EPILOG)
def artifact_store() -> None:
    """Name stores, to mount them by name (short: store).

    A value @FILE is that file's content; env:NAME is looked up when the store is mounted. So no secret needs to stand on a command line,
    where ps shows it.
    """


@artifact_store.command(
    context_settings=_ANYTHING, epilog=_words("register s3_store -f s3 --path s3://my_bucket --key=env:AWS_KEY --secret=@secret.txt")
)
@click.argument("name")
@click.option("-f", "--flavor", required=True, help="What kind of store it is; see `flavor list`.")
@click.option("--path", required=True, help="The store's root: a folder or a URI.")
@_system
@click.argument("others", nargs=-1, type=click.UNPROCESSED, metavar="[--KEY=VALUE]...")
def register(name: str, flavor: str, path: str, level: Level, others: tuple[str, ...]) -> None:
    """Give a store a name."""
    registry().register(Entry(name, flavor, attributes.read(path), level, attributes.pairs(others)))
    click.echo(f"Successfully registered artifact_store `{name}`.")


@artifact_store.command("list", epilog=_words("list --json"))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_stores(as_json: bool) -> None:
    """List the stores that can be mounted by name: storemount's own, then ZenML's."""
    entries = {**registry().entries(), **_of_zenml()}
    if as_json:
        rows = [{"name": name, "flavor": entry.flavor, "registry": entry.level, **entry.shown()} for name, entry in entries.items()]
        click.echo(json.dumps({"version": 1, "stores": rows}, indent=2))
    else:
        print_table(("NAME", "FLAVOR", "PATH", "REGISTRY"), [(n, e.flavor, e.shown()["path"], e.level) for n, e in entries.items()])


def _of_zenml() -> dict[str, Entry]:
    """A list is still good when ZenML's part of it cannot be had."""
    try:
        return registry().of_zenml()
    except Refusal as refusal:
        click.echo(f"storemount: ZenML's stores are not listed: {refusal.message}", err=True)
        return {}


@artifact_store.command(epilog=_words("describe s3_store"))
@click.argument("name")
def describe(name: str) -> None:
    """Show what a store was told; its secrets as ***."""
    entry = registry().entry(name)
    click.echo(f"Artifact store '{name}' of flavor '{entry.flavor}' ({entry.level} registry)")
    print_table(("COMPONENT_PROPERTY", "VALUE"), [(key.upper(), value) for key, value in entry.shown().items()])


@artifact_store.command(context_settings=_ANYTHING, epilog=_words("update s3_store --region=eu-central-1"))
@click.argument("name")
@_system
@click.argument("others", nargs=-1, type=click.UNPROCESSED, metavar="--KEY=VALUE...", required=True)
def update(name: str, level: Level, others: tuple[str, ...]) -> None:
    """Change what a store was told."""
    registry().update(name, level, attributes.pairs(others))
    click.echo(f"Successfully updated artifact store `{name}`.")


@artifact_store.command("remove-attribute", context_settings=_ANYTHING, epilog=_words("remove-attribute s3_store --region"))
@click.argument("name")
@_system
@click.argument("others", nargs=-1, type=click.UNPROCESSED, metavar="--KEY...", required=True)
def remove_attribute(name: str, level: Level, others: tuple[str, ...]) -> None:
    """Take attributes away from a store."""
    registry().update(name, level, dict.fromkeys(attributes.names(others)))
    click.echo(f"Successfully updated artifact store `{name}`.")


@artifact_store.command(epilog=_words("rename s3_store production"))
@click.argument("old")
@click.argument("new")
@_system
def rename(old: str, new: str, level: Level) -> None:
    """Give a store another name."""
    registry().rename(old, new, level)
    click.echo(f"Successfully renamed artifact store `{old}` to `{new}`.")


@artifact_store.command(epilog=_words("delete s3_store"))
@click.argument("name")
@_system
def delete(name: str, level: Level) -> None:
    """Forget a store's name. What is in the store is not touched."""
    registry().delete(name, level)
    click.echo(f"Deleted artifact store: {name}")


@artifact_store.command("import-zenml", epilog=_words("import-zenml s3_store --with-secrets"))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--with-secrets", is_flag=True, help="Also copy, in clear, the credentials that ZenML keeps in its secrets.")
@_system
def import_zenml(names: tuple[str, ...], with_secrets: bool, level: Level) -> int:
    """Copy artifact stores of ZenML, all or some, into storemount's own registry.

    None needs it to be mounted: a name that is not registered here is looked up in ZenML each time.
    """
    copying = Import(registry(), zenml(), level, secrets=with_secrets)
    code = ExitCode.OK
    for definition in copying.choose(names):
        try:
            _say_copied(copying.copy(definition))
        except Refusal as refusal:
            click.echo(f"storemount: not copied: {refusal.message}", err=True)
            code = refusal.code
    return code


def _say_copied(copied: Copied) -> None:
    name, attributes = copied.entry.name, ", ".join(copied.entry.row())
    click.echo(f"Copied artifact_store `{name}`: {attributes}.")
    for attribute, secret in copied.left.items():
        click.echo(f"  Not copied: {attribute}, which ZenML keeps in its secret `{secret}`.")
    if copied.left:
        click.echo(f"  Add what is needed (artifact-store update {name}), or delete it and import it with --with-secrets.")


artifact_store.add_command(flavors)
