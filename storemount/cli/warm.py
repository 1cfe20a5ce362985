"""`storemount warm`, `pin`, `unpin` and `drop`: what of a mount is on the disk, and stays there (S14).

What it is: the paths that somebody gives, or a list of them, and the list of digests that their files have to have.
What it is not: the fetching; the daemons do that, for as long as somebody waits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from storemount.cli.place import Place, place_of
from storemount.cli.progress import counted, failure_text, last_answer, named
from storemount.cli.values import size_text
from storemount.errors import ExitCode, Refusal

_WARM_EPILOG = """\b
Examples:
  storemount warm /mnt/artifacts/models/llama
  storemount warm paths.txt          (a file that is in no mount: a list, one path a line)
"""

_PIN_EPILOG = """\b
Examples:
  storemount pin /mnt/artifacts/models/llama
  storemount pin /mnt/artifacts/models/llama --sha256 llama.sha256
"""

_DIGEST = re.compile(r"\\?([0-9a-fA-F]{64}) [ *](.+)")


@click.command(epilog=_WARM_EPILOG)
@click.argument("paths", nargs=-1, required=True, metavar="PATH|LIST...")
def warm(paths: Sequence[str]) -> None:
    """Have what is at and below each PATH on the disk, so that it is read without the store, and while the store is away.

    It stays until the disk cache needs the room; `storemount pin` keeps it.
    """
    for place in _places(paths):
        _bring(place, "warm", None)


@click.command(epilog=_PIN_EPILOG)
@click.argument("path")
@click.option("--sha256", "digests", type=click.Path(), help="What sha256sum wrote of all files below PATH, with paths below it.")
def pin(path: str, digests: str | None) -> None:
    """Have what is at and below PATH on the disk, and keep it there until `storemount unpin`."""
    _bring(place_of(path), "pin", _digests(digests) if digests is not None else None)


@click.command()
@click.argument("path")
def unpin(path: str) -> None:
    """What is pinned at and below PATH may go when the disk cache needs the room."""
    click.echo(f"{counted(_let_go(place_of(path), 'unpin'), 'file')} unpinned")


@click.command()
@click.argument("path")
def drop(path: str) -> None:
    """Take what is at and below PATH off the disk; the store keeps it, and what is not in the store yet stays where it is."""
    click.echo(f"{counted(_let_go(place_of(path), 'drop'), 'file')} dropped")


def _places(paths: Sequence[str]) -> Iterator[Place]:
    """Those of the paths, and of the lists among them."""
    for path in paths:
        try:
            found = [place_of(path)]
        except Refusal:
            if not os.path.isfile(path):
                raise
            found = [place_of(line) for line in _text(path).splitlines() if line.strip()]
        yield from found


def _bring(place: Place, what: str, digests: dict[str, str] | None) -> None:
    answer = last_answer(place.ask(what, **({} if digests is None else {"digests": digests})), f"Fetching {place.mountpoint}", "file")
    _must_be_done(place, answer)
    if answer["failed"]:
        failed: list[dict[str, Any]] = answer["failed"]
        message = f"{counted(len(failed), 'file')} of {place.mountpoint} not on the disk:" + named(failed, place.mountpoint + "/")
        raise Refusal(ExitCode.NOT_WARM, message)
    click.echo(f"{counted(answer['files'], 'file')} ({size_text(answer['bytes'])}) on the disk")


def _let_go(place: Place, what: str) -> int:
    answer = next(place.ask(what), {})
    _must_be_done(place, answer)
    return int(answer["files"])


def _must_be_done(place: Place, answer: dict[str, Any]) -> None:
    if "error" in answer:
        raise Refusal(ExitCode.NOT_WARM, f"{place.mountpoint}/{failure_text({'path': place.inner, **answer})}")
    if not answer.get("done"):
        raise Refusal(ExitCode.UNEXPECTED, f"the daemon of {place.mountpoint} ended before it was done; see its log")


def _digests(path: str) -> dict[str, str]:
    """Path -> SHA-256 in hex, as sha256sum writes them. Raises Refusal."""
    found = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        match = _DIGEST.fullmatch(line)
        if match is None:
            raise Refusal(ExitCode.USAGE, f"{path}, line {number}: not a line of sha256sum (64 hex digits, two spaces, a path)")
        name = match[2].replace("\\n", "\n").replace("\\\\", "\\") if line.startswith("\\") else match[2]
        found[os.path.normpath(name)] = match[1].lower()
    return found


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(ExitCode.USAGE, f"cannot read the list {path}: {error}") from None
