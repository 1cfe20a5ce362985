"""`storemount uri`: the URI of a mounted file, for programs that use the store itself; and the way back.

What it is: the answer of `mounted`, printed.
What it is not: a look whether there is anything of this name, or whether the store has it already (`flush` waits for that).
"""

from __future__ import annotations

import click

from storemount.api.mounted import path_of, uri_of
from storemount.cli.user import places

_EPILOG = """\b
Examples:
  storemount uri ~/artifacts/run-7/model.bin
  storemount uri --local s3://my-bucket/models/run-7/model.bin
"""


@click.command(epilog=_EPILOG)
@click.argument("path")
@click.option("--local", is_flag=True, help="PATH is a URI: print where a mount has it.")
def uri(path: str, local: bool) -> None:
    """Print the URI that PATH, in a mounted store, has in the store.

    Ends with 10 when it is in no mount.
    """
    click.echo(path_of(path, places()) if local else uri_of(path, places()))
