"""The command line: `storemount NAME|URI MOUNTPOINT` and its nouns.

What it is: the root command, and the one place where a failure becomes a line on standard error and an exit code.
What it is not: any command's body; each has its own module.
Invariants: importing this package imports no event loop, no FUSE and no cloud client, so that every command starts fast.
What the user can mend is one line, never a traceback.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence

import click

from storemount import __version__
from storemount.cli.artifact_store import artifact_store
from storemount.cli.doctor import doctor
from storemount.cli.export import export
from storemount.cli.flush import flush
from storemount.cli.log_level import log_level
from storemount.cli.ls_pending import ls_pending
from storemount.cli.metrics import metrics
from storemount.cli.mount import mount
from storemount.cli.names import ALIAS, MountByDefault
from storemount.cli.retry import retry
from storemount.cli.status import status
from storemount.cli.systemd import systemd
from storemount.cli.unmount import unmount
from storemount.cli.uri import uri
from storemount.cli.user import places
from storemount.cli.values import printable
from storemount.cli.warm import drop, pin, unpin, warm
from storemount.config import private_folder
from storemount.errors import ExitCode, Refusal

INTERRUPTED = 130

_MEANING = {
    ExitCode.OK: "done",
    ExitCode.UNEXPECTED: "a failure nobody foresaw; the line says where the details are",
    ExitCode.USAGE: "the command line makes no sense",
    ExitCode.UNKNOWN_STORE: "no store of this name",
    ExitCode.BAD_CONFIGURATION: "a store's description, an option or a settings file is wrong",
    ExitCode.BAD_MOUNTPOINT: "the mountpoint is missing, not empty, in use, ...",
    ExitCode.NO_FUSE: "this machine or user cannot mount with FUSE",
    ExitCode.STORE_UNREACHABLE: "the store does not answer",
    ExitCode.STORE_REFUSED: "the store refused the credentials",
    ExitCode.STORE_MISSING: "the bucket or folder does not exist",
    ExitCode.NOT_MOUNTED: "nothing is mounted there",
    ExitCode.BUSY: "programs still use the mount",
    ExitCode.NOT_DRAINED: "something that was asked for is not in the store",
    ExitCode.JOURNAL_UNUSABLE: "the journal of an earlier mount of this store cannot be used, or the staging folder",
    ExitCode.TROUBLE_FOUND: "the doctor found something that keeps a mount from working as promised",
    ExitCode.NOT_WARM: "something that was asked for is not on the disk",
    INTERRUPTED: "interrupted (Ctrl-C)",
}

_EPILOG = """\b
Examples:
  storemount default ~/artifacts
  storemount s3://bucket/models ~/models --read-only
  storemount unmount ~/artifacts

\b
Exit codes:
""" + "\n".join(f"  {code:3}  {meaning}" for code, meaning in _MEANING.items())


@click.group(
    cls=MountByDefault,
    epilog=_EPILOG,
    options_metavar="",
    subcommand_metavar="NAME|URI MOUNTPOINT [OPTIONS]  |  COMMAND ...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, message="storemount %(version)s")
def root() -> None:
    """Make an artifact store look like a local folder.

    Without a command, mounts: NAME is a registered store (`storemount artifact-store list`), or a URI.
    """


root.add_command(mount)
root.add_command(unmount)
root.add_command(status)
root.add_command(ls_pending)
root.add_command(metrics)
root.add_command(log_level)
root.add_command(flush)
root.add_command(retry)
root.add_command(export)
root.add_command(warm)
root.add_command(pin)
root.add_command(unpin)
root.add_command(drop)
root.add_command(uri)
root.add_command(doctor)
root.add_command(artifact_store, "artifact-store")
root.add_command(artifact_store, ALIAS)
root.add_command(systemd)


def main() -> None:
    """The entry point: runs the command line and exits."""
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Run one command line; its exit code, after saying on standard error what went wrong."""
    try:
        result = root.main(list(words), prog_name="storemount", standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except Refusal as refusal:
        return _say(refusal.message, refusal.code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "storemount"
        return _say(f"{error.format_message().rstrip('.')}; see: {command} --help", ExitCode.USAGE)
    except click.ClickException as error:
        return _say(error.format_message(), ExitCode.UNEXPECTED)
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        return _nobody_reads()
    except Exception as error:
        return _unforeseen(error)


def _say(message: str, code: int) -> int:
    # A path or the store's own words may hold what a terminal would obey.
    click.echo("\n".join(map(printable, f"storemount: {message}".split("\n"))), err=True)
    return code


def _nobody_reads() -> int:
    """`storemount status | head -1`: fine. What is still buffered must not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OK


def _unforeseen(error: Exception) -> int:
    """A traceback is for whoever mends storemount, so it goes to a file that the one line names."""
    file = private_folder(places().state / "logs") / "failures.log"
    with open(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8") as log:
        log.write(time.strftime("%Y-%m-%d %H:%M:%S\n"))
        traceback.print_exception(error, file=log)
    return _say(f"unexpected {type(error).__name__}: {error}; the details are in {file}", ExitCode.UNEXPECTED)
