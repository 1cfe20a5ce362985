"""Where a daemon can be made to die: the named steps of the journal and of the way into the store.

What it is: the one table that knows the product's insides. Whoever renames or moves one of these functions says so here.
What it is not: the injection (`doomed`), which is compiled into no production path.
Invariant: every step is reached by the writer's tour (`plans`) on every kind of store that it names; a test fails when it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LOCAL = ("local",)
NATIVE = ("s3-native",)
FSSPEC = ("s3-fsspec",)

Arguments = tuple[Any, ...]


def always(arguments: Arguments) -> bool:
    return True


def later_part(arguments: Arguments) -> bool:
    """`read_part(source, start, stop)` of a part that is not the first."""
    return bool(arguments[1] > 0)


def request(method: str) -> Callable[[Arguments], bool]:
    """`S3Store._call(self, key, method)` of this method."""
    return lambda arguments: bool(arguments[2] == method)


@dataclass(frozen=True)
class Step:
    """A call of `target` (`module:function` or `module:Class.method`), before or after which the daemon dies.

    number: at which of the calls that `only` (which sees the positional arguments) lets count."""

    name: str
    target: str
    when: str
    kinds: tuple[str, ...]
    number: int = 1
    only: Callable[[Arguments], bool] = always


STEPS = (
    # the way of a file: closed, frozen, a row of the journal, sent, done
    Step("freeze-before", "storemount.writeback.staging:StagedFile.freeze", "before", LOCAL, 2),
    Step("freeze-after", "storemount.writeback.staging:StagedFile.freeze", "after", NATIVE, 2),
    Step("put-before", "storemount.writeback.publish:Publisher.put", "before", LOCAL + FSSPEC, 2),
    Step("put-after", "storemount.writeback.publish:Publisher.put", "after", LOCAL + NATIVE, 2),
    # the life of a row
    Step("row-added", "storemount.writeback.journal:Journal._register", "after", LOCAL, 9),
    Step("row-started", "storemount.writeback.journal:Journal.start", "after", LOCAL, 3),
    Step("row-finished-before", "storemount.writeback.journal:Journal.finish", "before", LOCAL + NATIVE, 3),
    Step("row-finished-after", "storemount.writeback.journal:Journal.finish", "after", LOCAL, 3),
    # the database
    Step("promised", "storemount.writeback.publish:Publisher.promise", "after", LOCAL + NATIVE, 5),
    Step("commit-before", "storemount.writeback.ledger:Ledger.commit", "before", LOCAL + NATIVE, 40),
    Step("commit-after", "storemount.writeback.ledger:Ledger.commit", "after", LOCAL + NATIVE, 40),
    Step("log-synced", "storemount.writeback.ledger:Ledger.sync", "after", LOCAL),
    Step("rows-marked", "storemount.writeback.ledger:Ledger.mark_synced", "before", NATIVE),
    Step("rows-forgotten", "storemount.writeback.record:Record.forget", "before", LOCAL),
    # names
    Step("mkdir-before", "storemount.writeback.application:Application.make_marker", "before", LOCAL, 2),
    Step("mkdir-after", "storemount.writeback.application:Application.make_marker", "after", NATIVE, 2),
    Step("remove-before", "storemount.writeback.application:Application.remove", "before", LOCAL),
    Step("remove-after", "storemount.writeback.application:Application.remove", "after", LOCAL + NATIVE),
    Step("move-before", "storemount.writeback.application:Application.move", "before", LOCAL + NATIVE),
    Step("move-after", "storemount.writeback.application:Application.move", "after", LOCAL),
    Step("move-copied", "storemount.stores.s3:S3Store.copy", "after", NATIVE, 2),
    Step("move-all-copied", "storemount.stores.relocation:Relocation.copies", "after", NATIVE),
    # the stores
    Step("local-prepared", "storemount.stores.local:LocalStore._place", "before", LOCAL, 2),
    Step("local-written", "storemount.stores.local:LocalStore._write", "after", LOCAL, 4),
    Step("native-put-before", "storemount.stores.native:NativeStore._put", "before", NATIVE, 2),
    Step("native-put-after", "storemount.stores.native:NativeStore._put", "after", NATIVE, 2),
    Step("native-between-parts", "storemount.stores.native:read_part", "before", NATIVE, 2, later_part),
    Step("native-parts-after", "storemount.stores.native:NativeStore._send_parts", "after", NATIVE),
    Step("fsspec-put-after", "storemount.stores.s3:S3Store._put", "after", FSSPEC, 2),
    Step("fsspec-multipart-begun", "storemount.stores.s3:S3Store._begin", "after", FSSPEC),
    Step("fsspec-complete-before", "storemount.stores.s3:S3Store._call", "before", FSSPEC, 1, request("complete_multipart_upload")),
    Step("fsspec-complete-after", "storemount.stores.s3:S3Store._call", "after", FSSPEC, 1, request("complete_multipart_upload")),
)

UPLOAD = Step("upload", "storemount.writeback.publish:Publisher.put", "before", LOCAL + NATIVE + FSSPEC)
"""What never returns while uploads are held up: everything that is closed stays on this machine."""
