"""Which Python has ZenML.

What it is: a search, without importing or running anything: what STOREMOUNT_ZENML_PYTHON names, the Python that storemount runs in (the
extra `zenml`), the one behind the command `zenml` on PATH.
What it is not: the run of it (`asking`).
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec

from storemount.errors import ExitCode, Refusal

VARIABLE = "STOREMOUNT_ZENML_PYTHON"

_HEAD = 4096
_FIRST_LINE = re.compile(rb"#!\s*(/\S*python[\w.]*)\s*\n")
_LONG_PATH = re.compile(rb"""#!/bin/sh\s*\n'''exec' ["']?(/[^"'\n]*?python[\w.]*)["']? "\$0" "\$@"\n""")
"""How installers write a first line that is too long for the kernel."""


def interpreter(environ: Mapping[str, str], reason: str) -> str:
    """The path of a Python that can import ZenML. Raises Refusal when there is none; it begins with `reason`, why one is needed."""
    if given := environ.get(VARIABLE):
        if found := shutil.which(given, path=environ.get("PATH")):
            return found
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"{VARIABLE} is {given!r}, which cannot be run; name a Python that has ZenML")
    if (here := find_spec("zenml")) is not None and here.origin:  # a mere folder of this name has none
        return sys.executable
    command = shutil.which("zenml", path=environ.get("PATH"))
    if found := command and _behind(command):
        return found
    remedy = f"install the extra (pip install 'storemount[zenml]'), or set {VARIABLE}"
    raise Refusal(ExitCode.BAD_CONFIGURATION, f"{reason}, and no Python with ZenML was found; {remedy}")


def _behind(command: str) -> str | None:
    """The Python of a console script."""
    try:
        with open(command, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    found = _FIRST_LINE.match(head) or _LONG_PATH.match(head)
    return shutil.which(found[1].decode(errors="surrogateescape")) if found else None
