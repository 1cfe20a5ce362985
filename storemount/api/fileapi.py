"""FileApi: the artifact-store abstraction's functions, over stores and local paths alike.

What it is: the documented names and signatures (open, copy, exists, glob, isdir, listdir, makedirs, mkdir, remove, rename, rmtree, stat,
size, walk), one meaning for all places, and Python's own exceptions.
What it is not: the verbs of any place (`volume`); the module-level functions (`fileio`).
Invariants:
- What cannot be looked at is an error, never an empty directory and never an absent file (S3). Nothing is cached.
- Whatever returns has happened: in a store, the store has it; in a mounted folder, the mount has it (S7).
- An answer that is a path is written as the question was: bytes for bytes, a URI for a URI.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import IO, Any

from storemount.api.patterns import Matches, paths_below
from storemount.api.session import Locator, OpenStore, Target
from storemount.api.spelling import PathType, Spelling, joined
from storemount.api.streams import reading, writing
from storemount.api.volume import Access, Entry
from storemount.config import MIB
from storemount.errors import AlreadyExists, IsADirectory, OtherStore, os_error

STEP = 32 * MIB
"""Bytes of a file that a copy has in memory."""

OnError = Callable[[OSError], object]
Walked = tuple[str, list[str], list[str]]


class FileApi:
    """`locator` says where a path leads."""

    def __init__(self, locator: Locator) -> None:
        self._locator = locator

    def _at(self, path: PathType) -> Target:
        return self._locator.locate(Spelling.of(path).text)

    # files

    def open(
        self, path: PathType, mode: str = "r", *, encoding: str | None = "utf-8", errors: str | None = None, newline: str | None = None
    ) -> IO[Any]:
        """A file object, in the modes of Python's `open`; the last three arguments are for text.

        For reading it is one version to its end (S4): OSError (ESTALE) when that has gone. For writing it is staged in a temporary file
        (TMPDIR), and published as a whole when it is closed (S6), which raises what the store raises; not when a `with` block ends with an
        exception. "x" is exclusive on all machines where the store can check that. "a" and "r+" start from the old bytes, and raise
        OSError (ESTALE) at the close when somebody else has changed the file meanwhile (S9): theirs stays.
        """
        access = Access.of(mode)
        if not access.text and (errors is not None or newline is not None):
            raise ValueError("binary mode takes no encoding, errors or newline")
        target, text = self._at(path), {"encoding": encoding, "errors": errors, "newline": newline}
        if not access.writes:
            return reading(target.volume.reader(target.key), access, **text)
        return writing(target.volume.draft(target.key, access), access, Spelling.of(path).text, **text)

    def copy(self, src: PathType, dst: PathType, overwrite: bool = False) -> None:
        """Copy a file, within a store on its server. Raises FileExistsError, IsADirectoryError, FileNotFoundError (also for the directory
        of `dst`). Without `overwrite`, and within one store, another writer's `dst` is looked for just before."""
        source, target = self._at(src), self._at(dst)
        if source.volume is target.volume:
            if source.key == target.key:
                self._refuse_itself(source, dst, overwrite)
                return
            if source.volume.copy(source.key, target.key, replace=overwrite):
                return
        with self.open(src, "rb") as old, self.open(dst, "wb" if overwrite else "xb") as new:
            shutil.copyfileobj(old, new, STEP)

    def _refuse_itself(self, target: Target, path: PathType, overwrite: bool) -> None:
        """A file copied to itself is a file that is there."""
        target.volume.status(target.key)
        if target.volume.kind(target.key) == "directory":
            raise os_error(IsADirectory(""), Spelling.of(path).text)
        if not overwrite:
            raise os_error(AlreadyExists(""), Spelling.of(path).text)

    copyfile = copy
    """The same, under its name in the abstraction."""

    def remove(self, path: PathType) -> None:
        """Remove a file. Its directory stays (S11)."""
        target = self._at(path)
        target.volume.remove(target.key)

    def rename(self, src: PathType, dst: PathType, overwrite: bool = False) -> None:
        """Rename a file, or a directory with all that is in it. With `overwrite` a file may replace a file and a directory an empty one.

        Raises FileExistsError, and OSError (EXDEV) when `dst` is in another store; `io_utils.move` goes there too.
        """
        source, target = self._at(src), self._at(dst)
        if source.volume is not target.volume:
            raise os_error(OtherStore(""), Spelling.of(src).text)
        source.volume.rename(source.key, target.key, replace=overwrite)

    # directories

    def mkdir(self, path: PathType) -> None:
        """Make one directory, which stays though it is empty (S11). Raises FileExistsError, FileNotFoundError, NotADirectoryError."""
        target = self._at(path)
        target.volume.make_directory(target.key)

    def makedirs(self, path: PathType) -> None:
        """Make a directory and those above it, as far as they are missing."""
        target = self._at(path)
        target.volume.make_directories(target.key)

    def rmtree(self, path: PathType) -> None:
        """Remove a directory with all that is in it. Raises NotADirectoryError, FileNotFoundError; PermissionError for a store's root."""
        target = self._at(path)
        target.volume.remove_tree(target.key)

    def listdir(self, path: PathType, only_file_names: bool = True) -> list[str]:
        """The names in a directory, in no order; with `only_file_names=False` whole paths. Raises NotADirectoryError, FileNotFoundError."""
        asked = Spelling.of(path)
        names = dict.fromkeys(entry.name for entry in self._scan(asked.text))
        return [asked.name(name) if only_file_names else asked.write(joined(asked.text, name)) for name in names]

    def walk(self, top: PathType, topdown: bool = True, onerror: OnError | None = None) -> Iterator[Walked]:
        """As `os.walk`: (directory, names of directories, names of files), and `topdown` lets the caller take directories out.

        But an error is raised, unless there is an `onerror` to be told: a store that does not answer is not an empty one. A directory that
        somebody removes meanwhile is passed over.
        """
        asked = Spelling.of(top)
        waiting: list[str | Walked] = [asked.text]
        while waiting:
            place = waiting.pop()
            if not isinstance(place, str):
                yield place
                continue
            listed = self._listed(place, place == asked.text, onerror)
            if listed is None:
                continue
            directories, files, links = listed
            walked = (asked.write(place), [asked.name(name) for name in directories], [asked.name(name) for name in files])
            if topdown:
                yield walked
            else:
                waiting.append(walked)
            waiting += [joined(place, name) for name in reversed([os.fsdecode(name) for name in walked[1]]) if name not in links]

    def _listed(self, path: str, top: bool, onerror: OnError | None) -> tuple[list[str], list[str], set[str]] | None:
        """Directories, files and links to directories in a directory; None when there was an error, which somebody has been told."""
        entries: dict[str, Entry] = {}
        try:
            for entry in self._scan(path):
                if entry.name not in entries or entry.is_dir:
                    entries[entry.name] = entry
        except OSError as error:
            if onerror is not None:
                onerror(error)
            elif top or not isinstance(error, FileNotFoundError):
                raise
            return None
        directories = [entry.name for entry in entries.values() if entry.is_dir]
        files = [entry.name for entry in entries.values() if not entry.is_dir]
        return directories, files, {entry.name for entry in entries.values() if entry.is_link}

    def find(self, top: PathType, matches: Callable[[str], bool]) -> Iterator[str]:
        """Every file below a directory whose name `matches`, as they are found: for any number of files."""
        asked = Spelling.of(top)
        with closing(paths_below(self._scan, asked.text)) as found:
            for path, name in found:
                if matches(name):
                    yield asked.write(path)

    # names

    def glob(self, pattern: PathType) -> list[str]:
        """The paths that a pattern stands for: `*`, `?`, `[...]`, and `**` for directories at any depth."""
        return list(self.iglob(pattern))

    def iglob(self, pattern: PathType) -> Iterator[str]:
        """As `glob`, one path at a time, as they are found: for any number of paths."""
        asked = Spelling.of(pattern)
        for path in Matches(self._scan, self._kind).of(asked.text):
            yield asked.write(path)

    def exists(self, path: PathType) -> bool:
        """Whether a file or a directory has this name. Raises OSError when that cannot be found out."""
        return self._kind(Spelling.of(path).text) is not None

    def isdir(self, path: PathType) -> bool:
        """Whether a directory has this name. Raises OSError when that cannot be found out."""
        return self._kind(Spelling.of(path).text) == "directory"

    def stat(self, path: PathType) -> os.stat_result:
        """What `os.stat` gives, with what the store knows: type, size, time of the last change; owner and mode where it does not say are
        this user's, and 0644 or 0755."""
        target = self._at(path)
        return target.volume.status(target.key)

    def size(self, path: PathType) -> int:
        """Bytes of a file, or of all files below a directory. Raises FileNotFoundError."""
        target = self._at(path)
        return target.volume.size(target.key)

    def _scan(self, text: str) -> Generator[Entry, None, None]:
        target = self._locator.locate(text)
        return target.volume.scan(target.key)

    def _kind(self, text: str) -> str | None:
        target = self._locator.locate(text)
        return target.volume.kind(target.key)


class Store(FileApi):
    """One store: the same functions for paths relative to its root, and for URIs below it; anything else is PermissionError.

    Used in a `with` block, or closed by `close`, it lets go of its connections.
    """

    def __init__(self, opened: OpenStore) -> None:
        super().__init__(opened)
        self._opened = opened

    @property
    def path(self) -> str:
        """The root: a URI, or the path of a folder."""
        return self._opened.uri

    def close(self) -> None:
        self._opened.volume.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
