"""`storemount retry`: try again what the store refused (S16).

What it is: the question to the mount, and how many changes it was about.
What it is not: a wait for them; `flush` is.
"""

from __future__ import annotations

import click

from storemount.cli.flush import everywhere
from storemount.cli.place import place_of
from storemount.cli.progress import changes
from storemount.errors import ExitCode, Refusal

_EPILOG = """\b
Examples:
  storemount retry ~/artifacts/model.bin
  storemount retry --all && storemount flush
"""


@click.command(epilog=_EPILOG)
@click.argument("path", required=False)
@click.option("--all", "everything", is_flag=True, help="In every mount of this user.")
def retry(path: str | None, everything: bool) -> None:
    """Try again, now, what the store refused at and below PATH, or what waits there for its next try.

    Mend the cause first: what is refused again is kept again.
    """
    if (path is None) is not everything:
        raise click.UsageError("give a PATH, or --all")
    count = 0
    for place in [place_of(path)] if path is not None else everywhere():
        answer = next(place.ask("retry"), {})
        if "retried" not in answer:
            raise Refusal(ExitCode.UNEXPECTED, f"{place.mountpoint}: {answer.get('error', 'its daemon ended; see its log')}")
        count += answer["retried"]
    click.echo(f"{changes(count)} tried again" if count else "nothing was refused there, and nothing waits for another try")
