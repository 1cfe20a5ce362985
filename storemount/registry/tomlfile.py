"""One TOML file that people and programs edit: read, or changed as a whole.

What it is: the locking and the atomic replacement. Comments and order survive an edit.
What it is not: the meaning of what stands in the file (`registry`).
Invariants: a reader sees the old file or the new one, never half of one. Edits exclude each other (flock on a lock file beside it).
A file that does not parse is never written over.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storemount.config import private_folder
from storemount.errors import ExitCode, Refusal

if TYPE_CHECKING:
    from tomlkit import TOMLDocument


class TomlFile:
    """`private` says that only its owner may ever read it: mode 0600 after each edit. Otherwise an existing file keeps mode and owner."""

    def __init__(self, path: Path, *, private: bool) -> None:
        self.path = path
        self._private = private

    def read(self) -> dict[str, Any]:
        """What stands in it; empty when there is no such file. Raises Refusal (one line, with the line number) when it does not parse,
        PermissionError when this user may not read it."""
        try:
            return tomllib.loads(self.path.read_bytes().decode())
        except FileNotFoundError:
            return {}
        except PermissionError:
            raise
        except OSError as error:
            raise Refusal(ExitCode.BAD_CONFIGURATION, f"cannot read {self.path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise self._broken(f"not UTF-8 (at line {line})") from None
        except tomllib.TOMLDecodeError as error:
            raise self._broken(str(error)) from None

    @contextmanager
    def edit(self) -> Iterator[TOMLDocument]:
        """The document, to be changed in place; written when the block ends without an exception. Raises Refusal."""
        import tomlkit
        from tomlkit.exceptions import ParseError

        private_folder(self.path.parent)
        try:
            with self._locked():
                self.read()
                try:
                    document = tomlkit.parse(self.path.read_bytes() if self.path.exists() else b"")
                except ParseError as error:
                    raise self._broken(str(error)) from None
                yield document
                self._replace(tomlkit.dumps(document))
        except OSError as error:
            raise Refusal(ExitCode.BAD_CONFIGURATION, f"cannot change {self.path}: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _replace(self, text: str) -> None:
        target = Path(os.path.realpath(self.path))  # a symbolic link (to somebody's dotfiles) stays one
        descriptor, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=target.parent)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                self._keep_owner(target, file.fileno())
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
        _sync_folder(target.parent)

    def _keep_owner(self, target: Path, descriptor: int) -> None:
        if self._private or not target.exists():
            return  # mkstemp made it 0600
        before = target.stat()
        os.fchown(descriptor, before.st_uid, before.st_gid)
        os.fchmod(descriptor, before.st_mode & 0o777)

    def _broken(self, message: str) -> Refusal:
        return Refusal(ExitCode.BAD_CONFIGURATION, f"{self.path}: {message}; mend it by hand, nothing was changed")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
