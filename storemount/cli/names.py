"""The words of the command line, and the default one.

What it is: `COMMANDS`, and a click group in which `storemount NAME MOUNTPOINT` means `storemount mount NAME MOUNTPOINT`.
What it is not: any of the commands.
Invariant: no store can be named like a command, so the first word says which of the two is meant.
"""

from __future__ import annotations

import difflib

import click

DEFAULT = "mount"
ALIAS = "store"
COMMANDS = (
    "mount",
    "unmount",
    "status",
    "ls-pending",
    "metrics",
    "log-level",
    "flush",
    "retry",
    "export",
    "warm",
    "pin",
    "unpin",
    "drop",
    "uri",
    "doctor",
    "artifact-store",
    ALIAS,
    "systemd",
)
RESERVED = frozenset((*COMMANDS, "help", "umount", "version"))
"""What a store cannot be called: the commands, and what people try as one."""


class MountByDefault(click.Group):
    """Whatever does not begin with a command, or with an option of the group itself, is for `mount`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {option for param in self.get_params(ctx) for option in param.opts}
        if args and args[0] not in own and args[0] not in self.commands:
            _check_meant(ctx, args)
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """For the help: the alias is the same command again."""
        return [name for name in super().list_commands(ctx) if name != ALIAS]


def _check_meant(ctx: click.Context, args: list[str]) -> None:
    """One word that is no command: a slip of the finger, or a mount without its mountpoint."""
    word = args[0]
    if len(args) > 1 or word.startswith("-"):
        return
    near = difflib.get_close_matches(word, COMMANDS, n=2, cutoff=0.6)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    ctx.fail(f"{word!r} is not a command{hint}, and a mount needs a mountpoint: storemount NAME|URI MOUNTPOINT")
