"""The units of systemd that storemount brings, and their places.

What it is: the shipped files, found beside a checkout or where pip has put them, and written for one program.
What it is not: a talk with systemd (`cli.systemd`).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from storemount.errors import ExitCode, Refusal

SERVICE = "storemount@.service"
TARGET = "storemount.target"
_PROGRAM = "/usr/bin/storemount"
_SYSTEM = Path("/etc/systemd/system")


@dataclass(frozen=True, slots=True)
class Units:
    """shipped: the folder of `SERVICE` and `TARGET`. installed: where systemd reads them."""

    shipped: Path
    installed: Path

    @classmethod
    def of(cls, config: Path, *, user: bool) -> Units:
        """Of the machine, or of the user whose folder for settings is `config`. Raises Refusal: the files are not there."""
        shipped = _shipped() / ("user" if user else "system")
        return cls(shipped, config / "systemd" / "user" if user else _SYSTEM)

    def text(self, name: str, program: Path) -> str:
        """What the file `name` says, for the command `program`."""
        return (self.shipped / name).read_text().replace(_PROGRAM, str(program))


def instance(name: str) -> str:
    """The service of the mount `name`."""
    return SERVICE.replace("@", f"@{name}")


def _shipped() -> Path:
    beside = Path(__file__).resolve().parents[2] / "systemd"
    if beside.is_dir():
        return beside
    for file in distribution("storemount").files or ():
        if file.name == SERVICE and file.parent.name == "system":
            return Path(file.locate()).resolve().parent.parent
    raise Refusal(ExitCode.UNEXPECTED, f"the units of systemd are not where they were installed ({beside}); install storemount again")
