"""`storemount metrics`: the metrics of a mount, as Prometheus reads them, over the mount's own socket.

What it is: one scrape, printed; for a look, or for a collector that reads files.
What it is not: a server; `--metrics-listen` of a mount is.
"""

from __future__ import annotations

import click

from storemount.cli.flush import everywhere
from storemount.cli.place import asked
from storemount.cli.user import places
from storemount.control.client import socket_path
from storemount.errors import ExitCode, Refusal
from storemount.kernel.mountpoint import located

_EPILOG = """\b
Examples:
  storemount metrics
  storemount metrics /mnt/artifacts > /var/lib/node_exporter/artifacts.prom
"""


@click.command(epilog=_EPILOG)
@click.argument("mountpoint", required=False)
def metrics(mountpoint: str | None) -> None:
    """Print the metrics of a mount in Prometheus's text format.

    Without MOUNTPOINT: of the only mount of this user.
    """
    point = located(mountpoint) if mountpoint is not None else _only_mount()
    answer = next(asked(socket_path(places(), point), point, "metrics"), {})
    if "text" not in answer:
        raise Refusal(ExitCode.UNEXPECTED, f"{point}: {answer.get('error', 'its daemon ended; see its log')}")
    click.echo(answer["text"], nl=False)


def _only_mount() -> str:
    points = [place.mountpoint for place in everywhere()]
    if not points:
        raise Refusal(ExitCode.NOT_MOUNTED, "nothing is mounted")
    if len(points) > 1:
        raise Refusal(ExitCode.USAGE, f"{len(points)} stores are mounted; say which: {', '.join(points)}")
    return points[0]
