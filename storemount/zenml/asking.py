"""Asking ZenML itself, in a process of its own.

What it is: the call of `answering` by a Python that has ZenML, and what its failures mean for the user.
What it is not: the question's meaning (`names`).
Invariants: neither the question nor the answer stands on a command line or in an environment, where other programs see it. The process
runs in /, away from any repository of ZenML's that it might change, sends no analytics, and migrates no database.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storemount.errors import ExitCode, Refusal
from storemount.zenml.definition import Definition
from storemount.zenml.interpreter import VARIABLE
from storemount.zenml.place import Place

DEADLINE = 60.0
"""Seconds for one question; importing ZenML takes two, a server may be far."""

_SCRIPT = Path(__file__).with_name("answering.py")
_SETTINGS = {"ZENML_ANALYTICS_OPT_IN": "false", "ZENML_LOGGING_VERBOSITY": "ERROR", "DISABLE_DATABASE_MIGRATION": "true"}
_UNREACHABLE = ("Connection", "Timeout", "OperationalError", "MaxRetry", "HTTPError")
_REFUSED = ("Authoriz", "Authentic", "Credentials", "Forbidden", "AccessDenied")


@dataclass(frozen=True, slots=True)
class Answer:
    """`stores` as asked for; `names` are those there are when the one asked for is not. `connector`: what its service connector gave."""

    stores: tuple[Definition, ...]
    names: tuple[str, ...] = ()
    secrets: Mapping[str, Mapping[str, str] | None] = field(default_factory=dict, repr=False)
    connector: Mapping[str, Any] | None = field(default=None, repr=False)
    expires: datetime | None = None

    def secret(self, name: str) -> Mapping[str, str]:
        """Raises KeyError."""
        values = self.secrets.get(name)
        if values is None:
            raise KeyError(name)
        return values


def ask(place: Place, name: str | None, python: str, environ: Mapping[str, str]) -> Answer:
    """What ZenML knows of the store `name`, with its secrets; of all stores, without, when `name` is None. `python` is one that has ZenML.
    Raises Refusal."""
    question = json.dumps({"name": name, "old": place.old, "pinned": place.pinned, "version": place.version})
    said = _run(python, question, place, environ)
    if "failure" in said:
        raise _refusal(place, python, str(said["failure"]), str(said["message"]))
    stores = tuple(Definition(**store) for store in said["stores"])
    expires = _moment(said["expires"]) if said.get("expires") else None
    return Answer(stores, tuple(said.get("names", ())), said.get("secrets", {}), said.get("connector"), expires)


def _run(python: str, question: str, place: Place, environ: Mapping[str, str]) -> dict[str, Any]:
    settings = {**environ, **_SETTINGS, "ZENML_CONFIG_PATH": str(place.folder)}
    settings.pop("ZENML_REPOSITORY_PATH", None)
    command = [python, str(_SCRIPT)]
    try:
        done = subprocess.run(
            command, input=question, env=settings, cwd="/", capture_output=True, text=True, timeout=DEADLINE, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise Refusal(ExitCode.STORE_UNREACHABLE, f"ZenML ({place.where}) did not answer within {DEADLINE:.0f} s; try again") from None
    except OSError as error:
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"cannot run {python}: {error.strerror}; set {VARIABLE} to a Python with ZenML") from None
    try:
        said: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"{python} could not ask ZenML: {last}; mend it, or set {VARIABLE}") from None
    return said


def _moment(text: str) -> datetime:
    """ZenML's times are UTC, also where they do not say so."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _refusal(place: Place, python: str, kind: str, message: str) -> Refusal:
    where, message = f"ZenML ({place.where})", message.rstrip(".")
    if kind == "version":
        theirs = f"was last used by version {place.version}, and {python} has {message}"
        return Refusal(ExitCode.BAD_CONFIGURATION, f"{where} {theirs}, which would change it; set {VARIABLE} to the Python that uses it")
    if kind in ("ImportError", "ModuleNotFoundError"):
        text = f"{python} cannot ask {where}: {message}; install what it needs there (zenml[local] for a database), or set {VARIABLE}"
        return Refusal(ExitCode.BAD_CONFIGURATION, text)
    if any(word in kind for word in _REFUSED):
        return Refusal(ExitCode.STORE_REFUSED, f"{where} refuses: {message}; mend the credentials, or log in with `zenml login`")
    if any(word in kind for word in _UNREACHABLE):
        return Refusal(ExitCode.STORE_UNREACHABLE, f"{where} does not answer ({message}); check the server and the network")
    return Refusal(ExitCode.BAD_CONFIGURATION, f"{where}: {message or kind}; mend it in ZenML")
