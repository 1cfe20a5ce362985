"""`storemount status --watch`: the terminal, once a second.

What it is: a screen of its own where there is a terminal, a line for each mount where there is none, until q or Ctrl-C.
What it is not: what stands there (`view`).
Invariants: the terminal is left as it was found, however the watch ends. To end it is no failure. Keys are heard at once, also while a
mount does not answer.
"""

from __future__ import annotations

import contextlib
import json
import locale
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import click

from storemount.cli.table import cut
from storemount.cli.view import clock, line, paces, screen

if TYPE_CHECKING:
    import curses

INTERVAL = 1.0
GLANCE = 0.1
"""Seconds after which it is seen at the latest that a look has ended."""

LATE = 2.0
"""Seconds after which a look counts as late: its figures are old then, and that is said."""

QUIT = (ord("q"), ord("Q"))

Look = Callable[[], list[dict[str, Any]]]


class Looking:
    """`look` once an `INTERVAL`, in a thread that nobody waits for."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._answers: SimpleQueue[list[dict[str, Any]] | Exception] = SimpleQueue()
        self._due = self._began = time.monotonic()
        self._running = False

    @property
    def late(self) -> int:
        """For how many seconds nothing has been seen, when it is longer than it should be; else 0."""
        waited = time.monotonic() - self._began
        return int(waited) if self._running and waited >= LATE else 0

    def seen(self) -> list[dict[str, Any]] | None:
        """What a look has seen since this was asked last, if one has ended. Raises what it has raised."""
        if not self._running and time.monotonic() >= self._due:
            self._running, self._began = True, time.monotonic()
            self._due = self._began + INTERVAL
            threading.Thread(target=self._run, daemon=True).start()
        try:
            answer = self._answers.get_nowait()
        except Empty:
            return None
        self._running = False
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _run(self) -> None:
        try:
            self._answers.put(self._look())
        except Exception as error:
            self._answers.put(error)


def watch(look: Look, *, as_json: bool) -> None:
    """Show what `look` sees, again and again. Raises Refusal when it does."""
    with contextlib.suppress(KeyboardInterrupt):
        if as_json:
            _repeat(lambda rows, before: click.echo(json.dumps({"mounts": rows})), look)
        elif _has_screen():
            import curses

            locale.setlocale(locale.LC_ALL, "")  # What curses encodes for.
            curses.wrapper(_on_screen, look)
        else:
            _repeat(_print_lines, look)


def _has_screen() -> bool:
    """Whether there is a terminal on both sides, one on which text can be put anywhere."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    import curses

    try:
        curses.setupterm()
    except curses.error:
        return False  # TERM says nothing, or nothing that this machine knows.
    return bool(curses.tigetstr("cup") and curses.tigetstr("clear"))


def _repeat(show: Callable[[list[dict[str, Any]], list[dict[str, Any]]], None], look: Look) -> None:
    before: list[dict[str, Any]] = []
    while True:
        due = time.monotonic() + INTERVAL
        rows = look()
        show(rows, before)
        sys.stdout.flush()
        before = rows
        time.sleep(max(0.0, due - time.monotonic()))


def _print_lines(rows: list[dict[str, Any]], before: list[dict[str, Any]]) -> None:
    if not rows:
        click.echo(f"{clock()} nothing is mounted")
    for pace in paces(rows, before):
        click.echo(line(pace, clock()))


def _on_screen(window: curses.window, look: Look) -> None:
    import curses

    with contextlib.suppress(curses.error):
        curses.use_default_colors()  # Some terminals have none,
        curses.curs_set(0)  # or cannot hide the cursor.
    window.timeout(round(GLANCE * 1000))
    looking = Looking(look)
    before: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    key, late = -1, 0
    while key not in QUIT:
        seen = looking.seen()
        if seen is not None:
            before, rows = rows, seen
        if seen is not None or key != -1 or late != looking.late:
            late = looking.late
            _draw(window, screen(paces(rows, before), clock(), late))
        key = window.getch()  # Or -1 when it is time for a glance; a change of the window's size is a key, too.


def _draw(window: curses.window, lines: list[str]) -> None:
    """As much as fits; the last line says when there is more, and so does the end of a line."""
    import curses

    height, width = window.getmaxyx()
    if len(lines) > height:
        lines = [*lines[: height - 1], f"... {len(lines) - height + 1} lines more: a taller window shows them"]
    window.erase()
    for number, text in enumerate(lines):
        spelled = text.encode(window.encoding, "replace").decode(window.encoding)
        with contextlib.suppress(curses.error):  # The window has become smaller since it was asked.
            window.addstr(number, 0, cut(spelled, width - 1), curses.A_BOLD if _is_heading(text) else curses.A_NORMAL)
    window.refresh()


def _is_heading(text: str) -> bool:
    return text[:1] not in ("", " ") and not text[:1].islower()
