"""`mount.storemount` and `umount.storemount`: what mount(8) and umount(8) run, and so what /etc/fstab comes to.

What it is: mount(8)'s words (`SPEC DIR [-sfnv] [-N NAMESPACE] [-t TYPE] [-o OPTIONS]`) turned into those of `storemount mount`, umount(8)'s
(`DIR [-flnrv] [-N NAMESPACE] [-t TYPE]`) into those of `storemount unmount`: so that it returns when everything is in the store.
What it is not: a second set of options (`mount_words` reads what follows `-o`).
Invariant: it returns when the mount answers, with mount(8)'s meaning of an exit code that is not 0: nothing is mounted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from storemount.cli import run
from storemount.errors import ExitCode


@click.command()
@click.argument("spec")
@click.argument("directory")
@click.option("-o", "words", multiple=True, metavar="WORD[,WORD...]", help="Options of the mount, as after `storemount mount -o`.")
@click.option("-f", "fake", is_flag=True, help="Do everything but mount.")
@click.option("-n", "_no_mtab", is_flag=True, help="Without meaning: there is no /etc/mtab to write to.")
@click.option("-s", "_sloppy", is_flag=True, help="Without meaning: a word that nobody knows is refused all the same.")
@click.option("-v", "_verbose", is_flag=True, help="Without meaning.")
@click.option("-t", "_kind", metavar="TYPE", help="Without meaning: it is a store.")
@click.option("-N", "namespace", metavar="NAMESPACE", help="Refused: run mount in that namespace instead (nsenter).")
def mount(
    spec: str, directory: str, words: tuple[str, ...], fake: bool, namespace: str | None, **_without_meaning: object
) -> list[str] | None:
    """What mount(8) calls; for people there is `storemount mount`."""
    if namespace is not None:
        raise click.UsageError(f"-N is not supported; enter the namespace first: nsenter --mount={namespace} mount -t storemount ...")
    return None if fake else ["mount", *(f"-o{word}" for word in words if word), "--", spec, directory]


@click.command()
@click.argument("directory")
@click.option("-l", "lazy", is_flag=True, help="Do not mind programs that still use it.")
@click.option("-f", "_force", is_flag=True, help="Without meaning: a store that does not answer keeps no unmount from its end.")
@click.option("-n", "_no_mtab", is_flag=True, help="Without meaning: there is no /etc/mtab to write to.")
@click.option("-r", "_read_only", is_flag=True, help="Without meaning.")
@click.option("-v", "_verbose", is_flag=True, help="Without meaning.")
@click.option("-t", "_kind", metavar="TYPE", help="Without meaning: it is a store.")
@click.option("-N", "namespace", metavar="NAMESPACE", help="Refused: run umount in that namespace instead (nsenter).")
def unmount(directory: str, lazy: bool, namespace: str | None, **_without_meaning: object) -> list[str]:
    """What umount(8) calls; for people there is `storemount unmount`."""
    if namespace is not None:
        raise click.UsageError(f"-N is not supported; enter the namespace first: nsenter --mount={namespace} umount ...")
    return ["unmount", *(["--lazy"] if lazy else []), "--", directory]


def main() -> None:
    """The entry point of /sbin/mount.storemount."""
    sys.exit(called(mount, sys.argv[1:]))


def unmount_main() -> None:
    """The entry point of /sbin/umount.fuse.storemount."""
    sys.exit(called(unmount, sys.argv[1:]))


def called(translate: click.Command, words: Sequence[str]) -> int:
    """Run one call of mount(8) or umount(8); its exit code."""
    try:
        translated = translate.main(list(words), prog_name="storemount", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"storemount: {error.format_message()}", err=True)
        return ExitCode.USAGE
    return run(translated) if isinstance(translated, list) else ExitCode.OK
