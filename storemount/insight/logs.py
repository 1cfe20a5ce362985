"""The daemon's log: one line an event.

What it is: where the log goes and how a line looks: time, level, where, what happened, and `name=value` for the fields an event has.
What it is not: the collapse of floods (`floods`), or what is a secret (`redaction`), which are handed in.
Invariants: whatever text an event carries (a server's XML, a name with a newline), it stays on one line; only tracebacks take more. Every
text passes `fit`. A file that was moved away (logrotate) is made anew, readable for its owner only.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from typing import Any

FIELDS = "fields"
"""The attribute of a record that has its fields."""


def fields(**values: object) -> dict[str, Mapping[str, object]]:
    """The `extra` of a logging call: what programs want to find in the line without reading it."""
    return {FIELDS: values}


class OneLine(logging.Formatter):
    """`2026-01-31 12:00:00,000 WARNING storemount.worker: what happened name=value`; `fit` makes a text fit to be seen."""

    def __init__(self, fit: Callable[[str], str] = str) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._fit = fit

    def formatMessage(self, record: logging.LogRecord) -> str:
        said = super().formatMessage(record)
        told: Mapping[str, object] = getattr(record, FIELDS, {})
        return " ".join(" ".join([said, *(f"{name}={_value(value)}" for name, value in told.items())]).splitlines())

    def format(self, record: logging.LogRecord) -> str:
        return self._fit(super().format(record))


def _value(value: object) -> str:
    """A word as it is; what has spaces or quotes as JSON writes it."""
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=\\') else json.dumps(text, ensure_ascii=False)


class LogFile(WatchedFileHandler):
    """Appends to a file of its owner's. While that cannot be opened, events are lost, and nothing else is."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")


LEVELS = ("debug", "info", "warning", "error")


class ForJournal(OneLine):
    """`<4>storemount.worker: what happened`: the journal has a clock of its own, and takes the level from sd-daemon(3)'s prefix."""

    def __init__(self, fit: Callable[[str], str] = str) -> None:
        super().__init__(fit)
        self._style = logging.PercentStyle("%(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        return f"<{_PRIORITY[record.levelno // 10]}>{super().formatMessage(record)}"


_PRIORITY = (7, 7, 6, 4, 3, 2)
"""syslog(3)'s priority of debug (10), info (20), warning, error and critical."""


def goes_to_journal(environ: Mapping[str, str]) -> bool:
    """Whether standard error is the journal's own socket (JOURNAL_STREAM, systemd.exec(5))."""
    status = os.fstat(sys.stderr.fileno())
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


_CHATTY = ("azure",)
"""Libraries that tell of each request, with its headers, on the level info; in our log that is debug."""

Front = Callable[[logging.Handler], logging.Handler]
"""Puts something in front of a handler."""


def start_log(
    level: str, path: str | None, fit: Callable[[str], str] = str, front: Front = lambda target: target, *, journal: bool = False
) -> logging.StreamHandler[Any]:
    """Log events from `level` on to the file `path`, or to standard error, which may be the `journal`; what writes them. Raises OSError
    when the file cannot be opened."""
    target: logging.StreamHandler[Any] = LogFile(path) if path else logging.StreamHandler(sys.stderr)
    target.setFormatter(ForJournal(fit) if journal and not path else OneLine(fit))
    logging.basicConfig(handlers=[front(target)], force=True)
    # It warns with a traceback of what it raises besides, which `stores.credentials` tells in one line.
    logging.getLogger("botocore.credentials").setLevel(logging.CRITICAL)
    log_from(level)
    return target


def log_level() -> str:
    """The level from which events are logged now."""
    return logging.getLevelName(logging.getLogger().level).lower()


def log_from(level: str) -> None:
    """From now on log events from `level` on. Raises ValueError: there is no such level."""
    if level not in LEVELS:
        raise ValueError(f"{level!r} is not a level; write {', '.join(LEVELS)}")
    logging.getLogger().setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING if level == "info" else logging.NOTSET)
