"""io_utils: what programs often do with the functions of `fileio`.

What it is: whole files as text, directories copied and moved, what is made if it is missing, and questions about paths.
What it is not: another way to a store; all of it goes through `fileio`, and means what that means.
Invariants: nothing here looks first and acts then where acting alone can tell. Paths are answered as they were asked.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from contextlib import suppress

from storemount import fileio
from storemount.api.spelling import PathType, Spelling, joined
from storemount.config import Places, environment
from storemount.errors import EXDEV, Invalid, NotADirectory, NotEmpty, os_error
from storemount.fileio import convert_to_str
from storemount.stores.uri import FILE, scheme_of

__all__ = [
    "convert_to_str",
    "copy_dir",
    "create_dir_if_not_exists",
    "create_dir_recursive_if_not_exists",
    "create_file_if_not_exists",
    "find_files",
    "get_global_config_directory",
    "get_grandparent",
    "get_parent",
    "is_path_within_directory",
    "is_remote",
    "is_root",
    "move",
    "read_file_contents_as_string",
    "resolve_relative_path",
    "sanitize_remote_path",
    "write_file_contents_as_string",
]


def get_global_config_directory() -> str:
    """The folder of this user's registry."""
    return str(Places.of(environment()).config)


# whole files


def write_file_contents_as_string(file_path: PathType, content: str) -> None:
    """Make `content` all that is in a file, as UTF-8. Raises TypeError when it is not text."""
    if not isinstance(content, str):
        raise TypeError(f"the content is {type(content).__name__}, not str")
    with fileio.open(file_path, "w", newline="") as file:
        file.write(content)


def read_file_contents_as_string(file_path: PathType) -> str:
    """What is in a file, as UTF-8. Raises FileNotFoundError."""
    with fileio.open(file_path, newline="") as file:
        return str(file.read())


def create_file_if_not_exists(file_path: PathType, file_contents: str = "{}") -> None:
    """A file with this content, and the directories above it; one that is there already stays as it is."""
    fileio.makedirs(_above(Spelling.of(file_path).text) or ".")
    with suppress(FileExistsError), fileio.open(file_path, "x", newline="") as file:
        file.write(file_contents)


# directories


def find_files(dir_path: PathType, pattern: str) -> Iterator[str]:
    """Every file below a directory whose name matches a shell pattern, one at a time, as they are found."""
    return fileio.find(dir_path, lambda name: fnmatch.fnmatchcase(name, pattern))


def create_dir_if_not_exists(dir_path: PathType) -> None:
    """Make one directory, unless there is one. Raises FileExistsError for a file of this name, FileNotFoundError."""
    try:
        fileio.mkdir(dir_path)
    except FileExistsError:
        if not fileio.isdir(dir_path):
            raise


def create_dir_recursive_if_not_exists(dir_path: PathType) -> None:
    """Make a directory and those above it, as far as they are missing."""
    fileio.makedirs(dir_path)


def copy_dir(source_dir: PathType, destination_dir: PathType, overwrite: bool = False) -> None:
    """Copy a directory with all that is in it, empty directories too, into a directory that may be there already. What a symbolic link
    leads to is copied, not the link.

    Without `overwrite`, the first file that is there already raises FileExistsError, and what was copied stays. A directory cannot be
    copied into itself (OSError, EINVAL).
    """
    source, destination = Spelling.of(source_dir).text, Spelling.of(destination_dir).text
    if _is_within(_whole(destination), _whole(source)):
        raise os_error(Invalid("a directory cannot be copied into itself"), destination)
    _copy_dir(source, destination, overwrite)


def _copy_dir(source: str, destination: str, overwrite: bool) -> None:
    _, directories, files = next(iter(fileio.walk(source)))
    fileio.makedirs(destination)
    for name in files:
        fileio.copy(joined(source, name), joined(destination, name), overwrite)
    for name in directories:
        _copy_dir(joined(source, name), joined(destination, name), overwrite)


def move(source: PathType, destination: PathType, overwrite: bool = False) -> None:
    """Rename a file or a directory; to another store or disk, copy it and then remove the old one.

    A directory can take the place of an empty one only, as in `fileio.rename`.
    """
    try:
        fileio.rename(source, destination, overwrite)
    except OSError as error:
        if error.errno != EXDEV:
            raise
        if fileio.isdir(source):
            _move_directory(source, destination, overwrite)
        else:
            fileio.copy(source, destination, overwrite)
            fileio.remove(source)


def _move_directory(source: PathType, destination: PathType, overwrite: bool) -> None:
    try:
        fileio.mkdir(destination)
    except FileExistsError:
        if not overwrite:
            raise
        if not fileio.isdir(destination):
            raise os_error(NotADirectory(""), convert_to_str(destination)) from None
        if fileio.listdir(destination):
            raise os_error(NotEmpty(""), convert_to_str(destination)) from None
    copy_dir(source, destination)
    fileio.rmtree(source)


# paths


def is_remote(path: PathType) -> bool:
    """Whether it is a URI of a store, and not a path of this machine."""
    return scheme_of(convert_to_str(path)) not in ("", FILE)


def sanitize_remote_path(path: str) -> str:
    """A URI with slashes where there are backslashes; a path of this machine as it is."""
    return path.replace("\\", "/") if is_remote(path) else path


def resolve_relative_path(path: PathType) -> str:
    """A path of this machine made absolute, its symbolic links followed; a URI as it is."""
    text = convert_to_str(path)
    return text if is_remote(text) else os.path.realpath(text)


def is_root(path: PathType) -> bool:
    """Whether nothing is above it: "/", or a bucket."""
    text = Spelling.of(path).text
    return _above(text) == text.rstrip("/") or text == "/"


def get_parent(dir_path: PathType) -> str:
    """The name of the directory above; "" where there is none."""
    return _name(_above(Spelling.of(dir_path).text))


def get_grandparent(dir_path: PathType) -> str:
    """The name of the directory two above; "" where there is none."""
    return _name(_above(_above(Spelling.of(dir_path).text)))


def is_path_within_directory(path: PathType, directory: PathType) -> bool:
    """Whether a path, relative to the directory or whole, is in the directory or is it; ".." is resolved."""
    inner, outer = Spelling.of(path).text, Spelling.of(directory).text
    is_whole = is_remote(inner) or inner.startswith("/")
    return _is_within(_whole(inner if is_whole else joined(outer, inner)), _whole(outer))


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _whole(text: str) -> str:
    """Without "..", and from the root on."""
    scheme = scheme_of(text)
    return scheme + os.path.normpath("/" + text[len(scheme) :]).strip("/") if scheme else os.path.realpath(text)


def _above(text: str) -> str:
    """The directory above; of a bucket, and of "/", itself."""
    scheme = scheme_of(text)
    rest = text[len(scheme) :].rstrip("/")
    if not scheme:
        return os.path.dirname(rest) or ("" if rest else "/")
    return scheme + (os.path.dirname(rest) or rest)


def _name(text: str) -> str:
    return text[len(scheme_of(text)) :].rpartition("/")[2]
