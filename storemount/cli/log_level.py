"""`storemount log-level`: how much a running mount logs.

What it is: the question to one mount or to all of them, and what their level was.
What it is not: lasting; the next mount has what its options say.
"""

from __future__ import annotations

import click

from storemount.cli.flush import everywhere
from storemount.cli.place import asked
from storemount.cli.user import places
from storemount.control.client import socket_path
from storemount.errors import ExitCode, Refusal
from storemount.insight.logs import LEVELS
from storemount.kernel.mountpoint import located

_EPILOG = """\b
Examples:
  storemount log-level debug /mnt/artifacts
  storemount log-level warning
"""


@click.command("log-level", epilog=_EPILOG)
@click.argument("level", type=click.Choice(LEVELS))
@click.argument("mountpoint", required=False)
def log_level(level: str, mountpoint: str | None) -> None:
    """Have a running mount log events from LEVEL on.

    Without MOUNTPOINT: every mount of this user.
    """
    points = [located(mountpoint)] if mountpoint is not None else [place.mountpoint for place in everywhere()]
    if not points:
        raise Refusal(ExitCode.NOT_MOUNTED, "nothing is mounted")
    for point in points:
        answer = next(asked(socket_path(places(), point), point, "log-level", level=level), {})
        if "before" not in answer:
            raise Refusal(ExitCode.UNEXPECTED, f"{point}: {answer.get('error', 'its daemon ended; see its log')}")
        click.echo(f"{point} logs from {level} on; it was {answer['before']}")
