"""`storemount systemd`: a mount as a service, from the next start of the machine (or of the user's session) on.

What it is: the settings file, the units and the links written or taken away, each said; and systemd told of it.
What it is not: the units themselves (`systemd/`), or the settings' meaning (`settings_file`).
Invariants: a settings file that is there is never written over, and one that is taken out of use is kept under another name. Where systemd
does not run, all is prepared for its next start.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from storemount.cli.settings_file import FOLDER
from storemount.cli.user import places, registry
from storemount.errors import ExitCode, Refusal
from storemount.kernel.mountpoint import UNMOUNT_PROGRAM, located
from storemount.registry.tomlfile import TomlFile
from storemount.running.units import SERVICE, TARGET, Units, instance
from storemount.stores.flavors.spec import REFERENCE

_RUNS = Path("/run/systemd/system")
_PROGRAMS = {Path("/sbin/mount.storemount"): "mount.storemount", UNMOUNT_PROGRAM: "umount.storemount"}
_EPILOG = """\b
Examples:
  storemount systemd install s3_store /mnt/artifacts
  storemount systemd install s3_store ~/artifacts --user
  storemount systemd remove s3_store
"""

_user = click.option("--user", is_flag=True, help="For your own session instead of the machine.")


@click.group(epilog=_EPILOG)
def systemd() -> None:
    """Mount a store as a service of systemd."""


@systemd.command(epilog=_EPILOG)
@click.argument("name")
@click.argument("mountpoint")
@_user
def install(name: str, mountpoint: str, user: bool) -> None:
    """Mount the registered store NAME on MOUNTPOINT, now and with every start of the machine.

    Options of the mount go into the settings file that this writes, one `name = value` a line; after a change: systemctl reload or restart.
    """
    service = _service(name, user)
    _say_what_a_service_lacks(name)
    path = located(mountpoint)
    if not os.path.lexists(path):
        _folder(Path(path))
    service.write_settings(path)
    service.write_units()
    if not user:
        _link_programs()
    service.tell("enable", TARGET)
    service.tell("enable", "--now", instance(name))


@systemd.command(epilog=_EPILOG)
@click.argument("name")
@click.argument("mountpoint", required=False)
@_user
def remove(name: str, mountpoint: str | None, user: bool) -> None:
    """Stop the mount NAME, save what it still has to save, and never start it again by itself."""
    service = _service(name, user)
    service.check_is_of(mountpoint)
    service.tell("disable", "--now", instance(name))
    service.check_saved()
    service.keep_settings()
    service.take_units()


@dataclass(frozen=True, slots=True)
class _Service:
    """One mount: its name, its settings file, and the units it shares with others."""

    name: str
    settings: Path
    units: Units
    user: bool

    def write_settings(self, mountpoint: str) -> None:
        """Raises Refusal: there are settings for another mountpoint."""
        wanted = {"store": self.name, "mountpoint": mountpoint}
        if self.settings.exists():
            self.check_is_of(mountpoint)
            click.echo(f"kept {self.settings}")
            return
        _folder(self.settings.parent)
        with TomlFile(self.settings, private=False).edit() as document:
            document.update(wanted)
        self.settings.chmod(0o644)
        click.echo(f"wrote {self.settings}")

    def check_is_of(self, mountpoint: str | None) -> None:
        """Raises Refusal: there are none, or they are for another mountpoint."""
        content = TomlFile(self.settings, private=False).read()
        if not content:
            raise Refusal(ExitCode.BAD_CONFIGURATION, f"there is no service {self.name!r}: no settings in {self.settings}")
        there = content.get("mountpoint")
        if mountpoint is not None and located(str(there)) != located(mountpoint):
            message = f"{self.settings} mounts {content.get('store')} on {there}; change that, or copy it under another name"
            raise Refusal(ExitCode.BAD_CONFIGURATION, message)

    def write_units(self) -> None:
        _folder(self.units.installed)
        for name in (SERVICE, TARGET):
            text, file = self.units.text(name, _program("storemount")), self.units.installed / name
            if not file.exists() or file.read_text() != text:
                file.write_text(text)
                click.echo(f"wrote {file}")
        self._reload()

    def check_saved(self) -> None:
        """Raises Refusal: it has stopped with changes that the store does not have; systemctl does not say so."""
        if not self._is_there():
            return
        unit = instance(self.name)
        asked = ["systemctl", *(["--user"] if self.user else []), "show", "--property=Result,ExecMainStatus", unit]
        told = dict(line.split("=", 1) for line in self._run(asked).splitlines() if "=" in line)
        if told.get("ExecMainStatus") == str(int(ExitCode.NOT_DRAINED)) or told.get("Result") in _CUT_SHORT:
            message = (
                f"{unit} has stopped ({told.get('Result')}) before everything was in the store; start it again to save the rest, "
                f"or give that up with: systemctl reset-failed {unit}; {self.settings} stays"
            )
            raise Refusal(ExitCode.NOT_DRAINED, message)

    def keep_settings(self) -> None:
        kept = self.settings.with_suffix(".toml.old")
        self.settings.replace(kept)
        click.echo(f"moved {self.settings} to {kept}")

    def take_units(self) -> None:
        """When this was the last mount."""
        if any(self.settings.parent.glob("*.toml")):
            return
        self.tell("disable", TARGET)
        for name in (SERVICE, TARGET):
            (self.units.installed / name).unlink(missing_ok=True)
            click.echo(f"removed {self.units.installed / name}")
        self._reload()

    def tell(self, verb: str, *words: str) -> None:
        """`systemctl VERB`. Raises Refusal: it failed."""
        command = ["systemctl", *(["--user"] if self.user else []), verb, *words]
        if not self._is_there() and "--now" in command:
            command.remove("--now")
        self._run(command)
        click.echo(" ".join(command))

    def _reload(self) -> None:
        if self._is_there():
            self._run(["systemctl", *(["--user"] if self.user else []), "daemon-reload"])

    def _is_there(self) -> bool:
        return _RUNS.is_dir()

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            raise Refusal(ExitCode.UNEXPECTED, f"{' '.join(command)} failed: {said}")
        return done.stdout


_CUT_SHORT = ("timeout", "signal", "core-dump", "watchdog", "oom-kill")
"""systemd's words for a service that could not come to its end."""


def _service(name: str, user: bool) -> _Service:
    """Raises Refusal: no systemd, no such name, not root."""
    if not re.fullmatch(r"[A-Za-z0-9:_.-]+", name):
        message = f"{name!r} cannot name a service; give the store a name of letters, digits and :_.- (artifact-store rename)"
        raise Refusal(ExitCode.BAD_CONFIGURATION, message)
    if shutil.which("systemctl") is None:
        raise Refusal(ExitCode.BAD_CONFIGURATION, "there is no systemctl on this machine; mount from /etc/fstab instead, see the README")
    if not user and os.getuid():
        raise Refusal(ExitCode.BAD_CONFIGURATION, "only root makes a service of the machine; add --user for one of your own")
    here = places()
    settings = (here.config if user else here.system_config) / FOLDER / f"{name}.toml"
    return _Service(name, settings, Units.of(here.config.parent, user=user), user)


def _say_what_a_service_lacks(name: str) -> None:
    """Variables that a store takes from a shell are not there in a service. Raises Refusal: there is no such store."""
    entry = registry().entry(name)
    for attribute, value in {"path": entry.path, **entry.attributes}.items():
        if value.startswith(REFERENCE):
            hint = "set it with Environment= in a drop-in, or update the store with credential:NAME or file:/PATH"
            click.echo(f"storemount: {attribute} of {name} is {value}, which a service does not have; {hint}", err=True)


def _program(name: str) -> Path:
    """The command of this very installation. Raises Refusal."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise Refusal(ExitCode.UNEXPECTED, f"the command {name} is not beside {sys.executable} or on PATH; install storemount with pip")
    return Path(found)


def _link_programs() -> None:
    """So that mount(8), umount(8) and /etc/fstab find this installation. What is there already stays, unless it leads nowhere."""
    for link, name in _PROGRAMS.items():
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(_program(name))
            click.echo(f"linked {link} to {_program(name)}")


def _folder(path: Path) -> None:
    if not path.is_dir():
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise Refusal(ExitCode.BAD_CONFIGURATION, f"cannot make the folder {path}: {error.strerror}") from error
        click.echo(f"made {path}")
