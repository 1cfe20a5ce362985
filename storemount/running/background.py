"""Going to the background, and saying how it went.

What it is: a fork whose parent waits for the child's one word: ready, or why not.
What it is not: the daemon; `serve` is handed in. It is called in the child, which must not have started any thread or event loop before.
Invariants: the parent returns only when the child is ready. The child never returns: it ends its process, and whatever goes wrong is
either its word to the parent, or stands in the log.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from storemount.errors import ExitCode, Refusal

log = logging.getLogger(__name__)

INTERRUPTED = 0.5
"""Seconds after which a wait looks for an interrupt that came just before it: the system call knows nothing of that one."""

Serve = Callable[[Callable[[], None]], ExitCode]
"""Serves to the end; calls what it is given once it is ready. Raises Refusal before that."""


def run_in_background(serve: Serve, log_file: Path) -> int:
    """Run `serve` in a child, its output in `log_file`; the child's process id once it is ready, and in a session of its own.

    Raises the child's Refusal; Refusal(UNEXPECTED), naming the log, when it died without a word.
    """
    output = _open_log(log_file)
    listening, telling = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    # An interrupt within fork would raise in one of its hooks, where Python swallows whatever is raised; it waits until it can be caught.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    child = os.fork()
    if child == 0:
        os.close(listening)
        _live(serve, output, telling, before)
    os.close(telling)
    os.close(output)
    _await_word(child, listening, log_file, before)
    return child


def _open_log(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refusal(ExitCode.BAD_CONFIGURATION, f"cannot write the log {path}: {error.strerror}; name another with --log-file") from error


# the parent


def _await_word(child: int, listening: int, log_file: Path, mask: set[int | signal.Signals]) -> None:
    try:
        with open(listening, "rb") as pipe:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            while not select.select([pipe], [], [], INTERRUPTED)[0]:
                continue
            word = pipe.readline()
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise
    if not word:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        raise Refusal(ExitCode.UNEXPECTED, f"the mount ended without a word ({how}); see {log_file}")
    said = json.loads(word)
    if said["code"] != ExitCode.OK:
        os.waitpid(child, 0)
        raise Refusal(ExitCode(said["code"]), said["message"])


# the child


def _live(serve: Serve, output: int, telling: int, mask: set[int | signal.Signals]) -> None:
    """Serve and end this process; never returns."""
    code = ExitCode.UNEXPECTED
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _detach(output)
        code = serve(lambda: _leave(telling))
    except Refusal as refusal:
        code = refusal.code
        print(f"storemount: {refusal.message}", file=sys.stderr)
        _tell(telling, refusal.code, refusal.message)
    except BaseException:
        log.critical("the mount ended in a way nobody foresaw", exc_info=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # nothing of the parent's may run a second time, and no thread of a client library may hold us


def _detach(log: int) -> None:
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for descriptor in (null, log):
        os.close(descriptor)


def _leave(telling: int) -> None:
    """Ready: from here on in a session of its own. Not before: an autofs lets only the process group through that it waits for, and the
    mount is made on top of it."""
    os.setsid()
    _tell(telling, ExitCode.OK, "")


def _tell(telling: int, code: ExitCode, message: str) -> None:
    """The one word. A parent that is gone, or has had its word, is not an error."""
    try:
        os.write(telling, json.dumps({"code": code, "message": message}).encode() + b"\n")
        os.close(telling)
    except OSError:
        return
