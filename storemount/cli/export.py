"""`storemount export`: a copy of a file that has not gone up, out of the staging folder (S16).

What it is: the question to the mount, and where the copy goes.
What it is not: the copying; the daemon does that, which knows what of the file is staged and what is still in the store.
"""

from __future__ import annotations

import os

import click

from storemount.cli.place import place_of
from storemount.cli.progress import last_answer
from storemount.cli.values import size_text
from storemount.errors import ExitCode, Refusal

_EPILOG = """\b
Examples:
  storemount export ~/artifacts/model.bin /tmp/model.bin
  storemount export ~/artifacts/model.bin .
"""


@click.command(epilog=_EPILOG)
@click.argument("path")
@click.argument("dest")
def export(path: str, dest: str) -> None:
    """Copy the file PATH, as it was closed last, to the new file DEST, while the store does not have it.

    For what the store refuses for good. It stays in the queue; see: storemount retry.
    """
    place = place_of(path)
    target = os.path.abspath(os.path.expanduser(dest))
    if os.path.isdir(target):
        target = os.path.join(target, os.path.basename(place.inner))
    if os.path.lexists(target):
        raise Refusal(ExitCode.USAGE, f"{target} exists already; give a new name")
    answer = last_answer(place.ask("export", dest=target), f"Copying {path}")
    if "error" in answer or not answer.get("done"):
        code = ExitCode.USAGE if answer.get("pending") == 0 else ExitCode.UNEXPECTED
        raise Refusal(code, f"cannot export {path}: {answer.get('error', 'the daemon ended; see its log')}")
    click.echo(f"{size_text(answer['bytes'])} copied to {target}")
