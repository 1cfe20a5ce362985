"""Somebody who looks at the store all the time, with another client, while daemons come and go.

What it is: a thread that lists the store again and again, and reads every object that is new.
What it is not: a judge; what it saw is compared with what was closed later (`Judge.seen`), when the logs are complete.
Invariants: a version is read once. What goes away between the listing and the reading was not seen.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.crash.promises import Shape
from tests.crash.survey import LINK, is_partial, walk
from tests.support.outside import Bucket, Folder, Outside

PAUSE = 0.2
BEGIN = 1 << 16


class Watcher:
    """`seen`: every (key, what it was), with its first bytes."""

    def __init__(self, outside: Outside) -> None:
        self.seen: dict[tuple[str, Shape], bytes] = {}
        self.looks = 0
        self._outside = outside
        self._known: dict[str, object] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            while not self._stop.wait(PAUSE):
                self._look()
                self.looks += 1
        except Exception as error:
            self._error = error

    def finish(self) -> None:
        self._stop.set()

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def take(self) -> dict[tuple[str, Shape], bytes]:
        """What was seen since this was last asked."""
        with self._lock:
            seen, self.seen = self.seen, {}
        return seen

    def _look(self) -> None:
        if isinstance(self._outside, Folder):
            self._look_at_folder(self._outside.root)
        else:
            assert isinstance(self._outside, Bucket)
            self._look_at_bucket(self._outside)

    def _look_at_folder(self, root: Path) -> None:
        for path, entry in walk(root):
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                version = (status.st_ino, status.st_mtime_ns, status.st_size)
                if entry.is_file(follow_symlinks=False) and not is_partial(entry.name) and self._is_new(path, version):
                    self._saw(path, Path(entry.path).read_bytes())

    def _look_at_bucket(self, bucket: Bucket) -> None:
        for key, version in bucket.client.versions().items():
            if not key.endswith(("/", LINK)) and self._is_new(key, version):
                with suppress(KeyError):
                    self._saw(key, bucket.get(key))

    def _saw(self, path: str, data: bytes) -> None:
        shape = ("file", hashlib.sha256(data).hexdigest())
        with self._lock:
            self.seen[path, shape] = data[:BEGIN]

    def _is_new(self, path: str, version: object) -> bool:
        known = self._known.get(path)
        self._known[path] = version
        return known != version


@contextmanager
def watching(outside: Outside) -> Iterator[Watcher]:
    watcher = Watcher(outside)
    thread = threading.Thread(target=watcher.run, name="watcher")
    thread.start()
    try:
        yield watcher
    finally:
        watcher.finish()
        thread.join()
    watcher.check()
