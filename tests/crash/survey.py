"""What is there: a tree of names seen from outside, each with its kind and the digest of its bytes.

What it is: one `Survey` of a folder (a mount, or the store of the local flavor) and one of a bucket, in the same words.
What it is not: a judgement (`verdicts`), or a client of the product.
Invariants: every file is read to its end. Unfinished copies and uploads are not names; they are told apart, as `unfinished`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.promises import Shape
from tests.support.outside import Bucket, Folder, Outside

CHUNK = 1 << 20
PARTIAL = (".storemount-", ".part")
LINK = ".rclonelink"
"""What the key of a symbolic link ends in, in a bucket."""


@dataclass
class Survey:
    """`shapes`: path -> what is there. `unfinished`: what nobody finished or took away. `where`: for messages."""

    where: str
    shapes: dict[str, Shape] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)


def survey_of(outside: Outside) -> Survey:
    """The store, through a client that shares nothing with the mount."""
    if isinstance(outside, Folder):
        return survey_folder(outside.root, "the store")
    assert isinstance(outside, Bucket)
    return survey_bucket(outside)


def survey_folder(root: Path, where: str) -> Survey:
    found = Survey(where)
    for path, entry in walk(root):
        if is_partial(entry.name):
            found.unfinished.append(path)
        elif entry.is_symlink():
            found.shapes[path] = ("link", os.readlink(entry.path))
        elif entry.is_dir():
            found.shapes[path] = ("directory",)
        else:
            found.shapes[path] = ("file", digest_of_file(entry.path))
    return found


def walk(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every entry below `root` with its path relative to it. What goes away meanwhile is passed over."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(root / folder))
        except FileNotFoundError:
            if not folder:
                raise
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            yield path, entry


def is_partial(name: str) -> bool:
    return name.startswith(PARTIAL[0]) and name.endswith(PARTIAL[1])


def digest_of_file(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while data := file.read(CHUNK):
            digest.update(data)
    return digest.hexdigest()


def survey_bucket(bucket: Bucket) -> Survey:
    found = Survey("the store", unfinished=bucket.client.uploads())
    keys = sorted(bucket.client.list(), key=lambda key: not key.endswith(LINK))  # What else has a link's name wins over it.
    for key in keys:
        path = key.rstrip("/").removesuffix(LINK)
        folders = path.split("/")
        for depth in range(1, len(folders)):
            found.shapes["/".join(folders[:depth])] = ("directory",)
        if key.endswith(LINK):
            found.shapes[path] = ("link", os.fsdecode(bucket.get(key)))
        else:
            found.shapes[path] = ("directory",) if key.endswith("/") else ("file", hashlib.sha256(bucket.get(key)).hexdigest())
    return found
