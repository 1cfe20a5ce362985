"""The daemon's log: one line an event.

What it is: where the log goes and how a line looks.
What it is not: a place for secrets; nothing here is told any.
Invariant: whatever text an event carries (a server's XML, a name with a newline), it stays on one line; only tracebacks take more.
"""

from __future__ import annotations

import logging
import sys


class OneLine(logging.Formatter):
    """`2026-01-31 12:00:00,000 WARNING storemount.worker: what happened`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        return " ".join(super().formatMessage(record).splitlines())


_CHATTY = ("azure",)
"""Libraries that tell of each request, with its headers, on the level info; in our log that is debug."""


def start_log(level: str, path: str | None) -> None:
    """Log events from `level` on to the file `path`, or to standard error. Raises OSError when the file cannot be opened."""
    target = logging.FileHandler(path) if path else logging.StreamHandler(sys.stderr)
    target.setFormatter(OneLine())
    logging.basicConfig(level=level.upper(), handlers=[target], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING if level.upper() == "INFO" else logging.NOTSET)
