"""`storemount mount`: check everything that can be checked, then serve, in the background unless asked otherwise.

What it is: the options of a mount, typed, with their defaults.
What it is not: the checks and the start (`launch`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from typing import Any

import click

from storemount.cli.mount_words import spelled_out
from storemount.cli.user import places, registry
from storemount.cli.values import DURATION, GROUP, MODE, SIZE, USER, duration_text, size_text
from storemount.config import MountSettings
from storemount.control import ask, socket_path
from storemount.launch import Launch, look_up
from storemount.mountpoint import Host, located
from storemount.stores.uri import without_password

_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(MountSettings)}
_EPILOG = """\b
Examples:
  storemount default ~/artifacts
  storemount s3_store /mnt/artifacts --read-only --ttl 1m
  storemount s3://bucket/models ~/models --cache-size 1G
  storemount s3_store /mnt/results --write-through
  storemount mount s3_store /mnt/artifacts -o ro,allow_other,uid=1000
\b
In /etc/fstab (see mount(8) and mount.fuse3(8)):
  s3_store  /mnt/artifacts  fuse.storemount  _netdev,nofail,allow_other  0 0
"""


class MountCommand(click.Command):
    """Reads the words of `-o` as if their options stood first, so that an option on the command line wins over one in `-o`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        try:
            spelled = list(spelled_out(given.get("mount_words") or ()))
        except ValueError as error:
            raise click.UsageError(str(error), ctx) from None
        return super().parse_args(ctx, [*spelled, *args])


def _option(name: str, kind: click.ParamType[Any], text: str, show: Callable[[Any], str] = str) -> Callable[[Any], Any]:
    """An option that is a setting of the mount, with that setting's default."""
    default = _DEFAULTS[name]
    shown = "" if default is None else f"  [default: {show(default)}]"
    return click.option(f"--{name.replace('_', '-')}", name, type=kind, default=default, help=text + shown)


def _octal(mode: int) -> str:
    return f"{mode:04o}"


@click.command(cls=MountCommand, epilog=_EPILOG)
@click.argument("store", metavar="NAME|URI")
@click.argument("mountpoint")
@click.option("--read-only/--read-write", default=False, help="Whether to refuse every change.")
@_option("ttl", DURATION, "How old a listing or an attribute may be; 0 asks the store each time.", duration_text)
@click.option("--immutable", is_flag=True, help="Nothing in the store ever changes: never ask again.")
@_option("cache_size", SIZE, "Cap of the block cache in memory.", size_text)
@_option("staging_dir", click.Path(), "Where files wait for their upload.  [default: below ~/.local/state/storemount]")
@_option("staging_size", SIZE, "Cap of what waits for its upload.  [default: the disk, less a twentieth and at most 1G]")
@_option("staging_wait", DURATION, "How long a write waits for uploads to make room, before it fails with ENOSPC.", duration_text)
@_option("uid", USER, "Owner shown for every file.  [default: who mounts]")
@_option("gid", GROUP, "Group shown for every file.  [default: that of who mounts]")
@_option("umask", MODE, "Permission bits taken off --file-mode and --dir-mode.", _octal)
@_option("file_mode", MODE, "Permission bits of a file for which the store has none.", _octal)
@_option("dir_mode", MODE, "Permission bits of a directory for which the store has none.", _octal)
@click.option("--allow-other", is_flag=True, help="Let other users in, as far as the permission bits do.")
@_option("deadline", DURATION, "How long one request to the store may take.", duration_text)
@_option("drain_timeout", DURATION, "How long a stop waits until everything is in the store.", duration_text)
@_option(
    "durability",
    click.Choice(["crash", "power", "store"]),
    "What a close waits for: until the file outlives a killed storemount (`crash`; a power cut costs the last second), until it outlives "
    "a power cut (`power`), or until the store has it (`store`; what the store refuses is then the error of the close).",
)
@click.option("--write-through", is_flag=True, help="The same as --durability=store.")
@_option(
    "fsync",
    click.Choice(["store", "local"]),
    "What an fsync waits for: until the `store` has the file, or until the `local` disk has it, from where it goes up.",
)
@_option(
    "exclusive_create",
    click.Choice(["local", "store"]),
    "Among whom O_EXCL makes one the winner: the programs of this mount, or all machines (the object is there, empty, at once).",
)
@_option(
    "metadata",
    click.Choice(["listing", "full"]),
    "What modes, owners, times and links are taken from: what a `listing` of the store tells and this machine knows, or (`full`) what each "
    "object says, for one request each on a store whose listings do not tell.",
)
@_option("uploads", click.IntRange(min=1), "How many files go up at once.")
@click.option(
    "--engine", type=click.Choice(["auto", "native", "fsspec"]), default="auto", show_default=True, help="What talks to the store."
)
@_option("log_file", click.Path(), "Where to log.  [default: below ~/.local/state/storemount/logs; standard error with -f]")
@_option("log_level", click.Choice(["debug", "info", "warning", "error"]), "How much to log.")
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground until unmounted.")
@click.option("--nonempty", is_flag=True, help="Mount over a directory that has files, and hide them.")
@click.option("--fuse-option", "fuse_options", multiple=True, hidden=True)
@click.option(
    "-o", "mount_words", metavar="WORD[,WORD...]", multiple=True, expose_value=False, help="Options as mount(8) has them: ro,ttl=5s,..."
)
def mount(
    store: str, mountpoint: str, engine: str, immutable: bool, foreground: bool, nonempty: bool, write_through: bool, **settings: Any
) -> None:
    """Mount a store as a folder: its NAME (here, or in ZenML), or any URI that fsspec can open.

    Returns once the mount answers. The word `mount` can be left out.
    """
    if immutable:
        settings["ttl"] = float("inf")
    if write_through:
        settings["durability"] = "store"
    for name in ("staging_dir", "log_file"):
        settings[name] = settings[name] and os.path.abspath(os.path.expanduser(settings[name]))
    mount_settings = MountSettings(located(mountpoint), **settings)
    stores = registry()
    resolved = look_up(stores, store)
    launch = Launch(resolved.spec, mount_settings, engine, places(), stores.renewal(store, resolved))
    launch.check(Host(os.getuid()), nonempty=nonempty, say=lambda line: click.echo(f"storemount: {line}", err=True))
    if foreground:
        sys.exit(launch.serve(_nobody_waits))
    launch.in_background()
    click.echo(f"{without_password(launch.spec.path)} is mounted on {mount_settings.mountpoint}")
    _say_limits(mount_settings.mountpoint)


def _say_limits(mountpoint: str) -> None:
    """What this store cannot do, while whoever mounts it still looks. A mount that has gone already has nothing to say."""
    with suppress(OSError, StopIteration):
        for limit in next(ask(socket_path(places(), mountpoint), "status"))["limits"]:
            click.echo(f"storemount: {limit}", err=True)


def _nobody_waits() -> None:
    """In the foreground nobody is told that the mount is ready."""
