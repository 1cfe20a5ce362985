"""`storemount mount`: check everything that can be checked, then serve, in the background unless asked otherwise.

What it is: the options of a mount, typed, with their defaults.
What it is not: the checks and the start (`launch`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from typing import Any

import click
from click.core import ParameterSource

from storemount.cli.mount_words import spelled_out
from storemount.cli.settings_file import file_of, values
from storemount.cli.user import places, registry
from storemount.cli.values import ADDRESS, DURATION, GROUP, MODE, SIZE, USER, duration_text, size_text
from storemount.config import MountSettings, environment
from storemount.control.client import ask, socket_path
from storemount.insight.logs import LEVELS
from storemount.kernel.mountpoint import Host, located
from storemount.running.launch import Launch, look_up
from storemount.running.notify import Notifier
from storemount.stores.uri import without_password

_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(MountSettings)}
_EPILOG = """\b
Examples:
  storemount default ~/artifacts
  storemount s3_store /mnt/artifacts --read-only --ttl 1m
  storemount s3://bucket/models ~/models --cache-size 1G
  storemount s3_store /mnt/results --write-through
  storemount mount s3_store /mnt/artifacts -o ro,allow_other,uid=1000
  storemount mount --config artifacts
\b
In /etc/fstab (see mount(8) and mount.fuse3(8)):
  s3_store  /mnt/artifacts  fuse.storemount  _netdev,nofail,allow_other  0 0
"""


_Read = Callable[[str, Mapping[str, Any]], MountSettings]


class MountCommand(click.Command):
    """Reads the words of `-o` as if their options stood first, so that an option on the command line wins over one in `-o`, and both win
    over a settings file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        try:
            spelled = list(spelled_out(given.get("mount_words") or ()))
        except ValueError as error:
            raise click.UsageError(str(error), ctx) from None
        if given.get("config"):
            ctx.default_map = values(file_of(given["config"], places()), ctx)
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
@_option(
    "disk_cache_size", SIZE, "Cap of the cache on the disk, which outlives the mount; all mounts of a user share it. 0 for none.", size_text
)
@_option("names", click.IntRange(min=1000), "How many names of files are kept in memory (0.8 KB each), beside those in use.")
@_option("staging_dir", click.Path(), "Where files wait for their upload.  [default: below ~/.local/state/storemount]")
@_option(
    "staging_size", SIZE, "Cap of what waits for its upload, with the disk cache.  [default: the disk, less a twentieth and at most 1G]"
)
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
@_option("metrics_listen", ADDRESS, "HOST:PORT at which Prometheus may fetch the metrics, such as 127.0.0.1:9100.")
@_option("log_file", click.Path(), "Where to log.  [default: below ~/.local/state/storemount/logs; standard error with -f]")
@_option("slow", DURATION, "From when on an operation, or a request to the store, is slow, and stands in the log.", duration_text)
@_option("log_level", click.Choice(LEVELS), "How much to log.")
@click.option(
    "--offline-start/--no-offline-start",
    default=None,
    help="Mount though the store does not answer yet: what is here can be read, what is written waits.  [default: as a service of systemd]",
)
@click.option(
    "--config",
    metavar="NAME|FILE",
    help="Take store, mountpoint and options from a settings file: mounts.d/NAME.toml in ~/.config/storemount or /etc/storemount.",
)
@click.option(
    "--supervise", is_flag=True, help="Start the daemon again when it dies (in the background; a service of systemd needs no such thing)."
)
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground until unmounted.")
@click.option("--nonempty", is_flag=True, help="Mount over a directory that has files, and hide them.")
@click.option("--fuse-option", "fuse_options", multiple=True, hidden=True)
@click.option(
    "-o", "mount_words", metavar="WORD[,WORD...]", multiple=True, expose_value=False, help="Options as mount(8) has them: ro,ttl=5s,..."
)
@click.pass_context
def mount(
    context: click.Context,
    /,
    store: str,
    mountpoint: str,
    engine: str,
    config: str | None,
    foreground: bool,
    supervise: bool,
    nonempty: bool,
    **options: Any,
) -> None:
    """Mount a store as a folder: its NAME (here, or in ZenML), or any URI that fsspec can open.

    Returns once the mount answers. The word `mount` can be left out.
    """
    if foreground and supervise:
        raise click.UsageError("--supervise is for the background; in the foreground (-f) whoever has started it sees to that")
    notifier = Notifier.of(environment(), os.getpid()) if foreground else Notifier()
    read = partial(_settings, under_a_manager=notifier.is_heard)
    mount_settings = read(mountpoint, options)
    stores = registry()
    resolved = look_up(stores, store)
    launch = Launch(resolved.spec, mount_settings, engine, places(), stores.renewal(store, resolved), notifier, supervise=supervise)
    if config is not None:
        launch = replace(launch, reread=lambda: _again(context, config, read, mount_settings.mountpoint, options))
    launch.check(Host(os.getuid()), nonempty=nonempty, say=lambda line: click.echo(f"storemount: {line}", err=True))
    if foreground:
        sys.exit(launch.serve(_nobody_waits))
    launch.in_background()
    click.echo(f"{without_password(launch.spec.path)} is mounted on {mount_settings.mountpoint}")
    _say_limits(mount_settings.mountpoint)


def _settings(mountpoint: str, options: Mapping[str, Any], *, under_a_manager: bool) -> MountSettings:
    """What the options say together."""
    settings = dict(options)
    if settings.pop("immutable"):
        settings["ttl"] = float("inf")
    if settings.pop("write_through"):
        settings["durability"] = "store"
    if settings["offline_start"] is None:
        settings["offline_start"] = under_a_manager
    for name in ("staging_dir", "log_file"):
        settings[name] = settings[name] and os.path.abspath(os.path.expanduser(settings[name]))
    return MountSettings(located(mountpoint), **settings)


def _again(context: click.Context, config: str, read: _Read, mountpoint: str, options: Mapping[str, Any]) -> MountSettings:
    """The settings with what the file says now; the command line still wins. Raises Refusal."""
    fresh = values(file_of(config, places()), context)
    context.default_map = {}
    defaults = {param.name: param.get_default(context) for param in context.command.params if param.name in options}
    typed = {name for name in options if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    in_file = {
        name for name in options if context.get_parameter_source(name) is ParameterSource.DEFAULT_MAP
    } | fresh.keys() & options.keys()
    changed = {name: fresh.get(name, defaults[name]) for name in in_file - typed}
    return read(str(fresh.get("mountpoint", mountpoint)), {**options, **changed})


def _say_limits(mountpoint: str) -> None:
    """What this store cannot do, while whoever mounts it still looks. A mount that has gone already has nothing to say."""
    with suppress(OSError, StopIteration):
        for limit in next(ask(socket_path(places(), mountpoint), "status"))["limits"]:
            click.echo(f"storemount: {limit}", err=True)


def _nobody_waits() -> None:
    """In the foreground nobody is told that the mount is ready."""
