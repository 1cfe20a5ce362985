"""What programs do until their daemon is killed, and what has to be left of it (S6, S7, S10).

What it is: the table of the recovery tests.
What it is not: the killing, or the looking (`test_recovery`).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import trio

from tests.support.bare import BareMount

Objects = Mapping[str, bytes]


@dataclass(frozen=True)
class Case:
    """`given`: what the store has before. `work`: what programs do until the daemon is killed. `kept`: what the next mount shows and the
    store gets (directories end in a slash)."""

    given: Objects
    work: Callable[[BareMount], Awaitable[object]]
    kept: Objects


async def _edit(m: BareMount, path: str, offset: int, data: bytes, *, flags: int = os.O_RDWR, close: bool = True) -> None:
    fh = await m.open(path, flags)
    await m.write(fh, offset, data)
    if close:
        await m.close(fh)


async def _closed_then_overwritten(m: BareMount) -> None:
    await m.put("f", b"closed")
    await _edit(m, "f", 0, b"NOT CLOSED", close=False)


async def _closed_then_appended(m: BareMount) -> None:
    await m.put("f", b"closed")
    await _edit(m, "f", 6, b" and not closed", close=False)


async def _closed_then_emptied(m: BareMount) -> None:
    await m.put("f", b"closed")
    await _edit(m, "f", 0, b"x", flags=os.O_WRONLY | os.O_TRUNC, close=False)


async def _never_closed(m: BareMount) -> None:
    await m.write(await m.create("f"), 0, b"half")


async def _edited_twice(m: BareMount) -> None:
    await _edit(m, "f", 2, b"XX")
    await _edit(m, "f", 4, b"YY")
    await m.truncate("f", 8)


async def _dated_and_edited(m: BareMount) -> None:
    await m.touch("f", 1_000_000_000_000_000_000)
    await trio.sleep(0.2)
    await _edit(m, "f", 0, b"X")


async def _edited_while_it_goes_up(m: BareMount) -> None:
    await m.put("f", b"first version")
    await trio.sleep(1)
    await _edit(m, "f", 0, b"FIRST")


async def _appended_while_it_goes_up(m: BareMount) -> None:
    await m.put("f", b"first")
    await trio.sleep(1)
    await _edit(m, "f", 5, b" second")


async def _deleted_and_written_anew(m: BareMount) -> None:
    await m.unlink("f")
    await m.put("f", b"new")


async def _directory_for_a_file(m: BareMount) -> None:
    await m.unlink("f")
    await m.mkdir("f")
    await m.put("f/g", b"below")


async def _file_for_a_directory(m: BareMount) -> None:
    await m.rmdir("d")
    await m.put("d", b"file")


async def _made(m: BareMount) -> None:
    await m.mkdir("d")
    await m.mkdir("d/empty")
    await m.put("d/f", b"below")


async def _made_and_renamed(m: BareMount) -> None:
    await _made(m)
    await m.rename("d", "e")
    await m.put("e/g", b"later")


async def _made_renamed_while_it_is_made(m: BareMount) -> None:
    await _made(m)
    await trio.sleep(1)
    await m.rename("d", "e")
    await m.put("e/g", b"later")


async def _chain(m: BareMount) -> None:
    for old, new in itertools.pairwise(("a", "b", "c", "d")):
        await m.rename(old, new)


async def _swap(m: BareMount) -> None:
    await m.rename("a", "t")
    await m.rename("b", "a")
    await m.rename("t", "b")


async def _renamed_and_written_anew(m: BareMount) -> None:
    await m.rename("f", "g")
    await m.put("f", b"new")


async def _edited_and_renamed(m: BareMount) -> None:
    await _edit(m, "f", 0, b"X")
    await m.rename("f", "g")
    await _edit(m, "g", 1, b"Y")


async def _saved_by_rename(m: BareMount) -> None:
    for data in (b"one", b"two"):
        await m.put("tmp", data)
        await m.rename("tmp", "model")


async def _saved_by_rename_while_it_goes_up(m: BareMount) -> None:
    await m.put("tmp", b"new")
    await trio.sleep(1)
    await m.rename("tmp", "model")


async def _two_on_one_name_while_they_go_up(m: BareMount) -> None:
    for name in ("a", "b", "model"):
        await m.put(name, name.encode())
    await trio.sleep(1)
    await m.rename("a", "model")
    await m.rename("b", "model")


async def _directory_with_new_files(m: BareMount) -> None:
    await m.put("d/new", b"new")
    await _edit(m, "d/a", 0, b"A")
    await m.rename("d", "e")
    await m.put("e/later", b"later")
    await m.unlink("e/b")


async def _directory_chain(m: BareMount) -> None:
    await m.rename("d", "e")
    await m.rename("e", "f")
    await m.put("f/new", b"new")


async def _directory_renamed_and_made_anew(m: BareMount) -> None:
    await m.rename("d", "e")
    await m.mkdir("d")
    await m.put("d/a", b"another")


async def _moved_out_of_a_directory_that_moves(m: BareMount) -> None:
    await m.rename("d/a", "a")
    await m.rename("d", "e")
    await m.rename("a", "e/moved")


async def _tree_removed(m: BareMount) -> None:
    for path in ("d/a", "d/b"):
        await m.unlink(path)
    await m.rmdir("d")


TWO = {"d/a": b"a", "d/b": b"b"}

CASES = {
    "a new file": Case({}, lambda m: m.put("f", b"new"), {"f": b"new"}),
    "an empty file": Case({}, lambda m: m.put("f", b""), {"f": b""}),
    "a file replaced as a whole": Case({"f": b"older and longer"}, lambda m: m.put("f", b"new"), {"f": b"new"}),
    "an edit in place": Case({"f": b"0123456789"}, lambda m: _edit(m, "f", 3, b"XYZ"), {"f": b"012XYZ6789"}),
    "edits and a cut": Case({"f": b"0123456789"}, _edited_twice, {"f": b"01XXYY67"}),
    "an edit not closed": Case({"f": b"0123"}, lambda m: _edit(m, "f", 1, b"XX", close=False), {"f": b"0123"}),
    "a truncation": Case({"f": b"0123456789"}, lambda m: m.truncate("f", 4), {"f": b"0123"}),
    "overwritten after the close": Case({}, _closed_then_overwritten, {"f": b"closed"}),
    "appended after the close": Case({}, _closed_then_appended, {"f": b"closed"}),
    "emptied after the close": Case({"f": b"old"}, _closed_then_emptied, {"f": b"closed"}),
    "emptied and not closed": Case(
        {"f": b"old"}, lambda m: _edit(m, "f", 0, b"x", flags=os.O_WRONLY | os.O_TRUNC, close=False), {"f": b"old"}
    ),
    "never closed": Case({}, _never_closed, {}),
    "dated and edited": Case({"f": b"0123"}, _dated_and_edited, {"f": b"X123"}),
    "edited while it goes up": Case({}, _edited_while_it_goes_up, {"f": b"FIRST version"}),
    "appended while it goes up": Case({}, _appended_while_it_goes_up, {"f": b"first second"}),
    "unlink": Case({"f": b"1", "g": b"2"}, lambda m: m.unlink("f"), {"g": b"2"}),
    "unlink of the last file": Case({"d/f": b"1"}, lambda m: m.unlink("d/f"), {"d/": b""}),
    "unlink and a new file": Case({"f": b"old"}, _deleted_and_written_anew, {"f": b"new"}),
    "a directory for a file": Case({"f": b"old"}, _directory_for_a_file, {"f/": b"", "f/g": b"below"}),
    "a file for a directory": Case({"d/": b""}, _file_for_a_directory, {"d": b"file"}),
    "rmdir": Case({"d/": b"", "f": b"1"}, lambda m: m.rmdir("d"), {"f": b"1"}),
    "mkdir": Case({}, _made, {"d/": b"", "d/empty/": b"", "d/f": b"below"}),
    "mkdir and rename": Case({}, _made_and_renamed, {"e/": b"", "e/empty/": b"", "e/f": b"below", "e/g": b"later"}),
    "rename while it is made": Case({}, _made_renamed_while_it_is_made, {"e/": b"", "e/empty/": b"", "e/f": b"below", "e/g": b"later"}),
    "rename": Case({"f": b"1"}, lambda m: m.rename("f", "g"), {"g": b"1"}),
    "rename over a file": Case({"f": b"1", "g": b"old"}, lambda m: m.rename("f", "g"), {"g": b"1"}),
    "rename chain": Case({"a": b"a", "b": b"b"}, _chain, {"d": b"a"}),
    "swap": Case({"a": b"a", "b": b"b"}, _swap, {"a": b"b", "b": b"a"}),
    "rename and a new file": Case({"f": b"old"}, _renamed_and_written_anew, {"f": b"new", "g": b"old"}),
    "edit, rename, edit": Case({"f": b"0123"}, _edited_and_renamed, {"g": b"XY23"}),
    "saved by rename": Case({"model": b"old"}, _saved_by_rename, {"model": b"two"}),
    "saved by rename while it goes up": Case({"model": b"old"}, _saved_by_rename_while_it_goes_up, {"model": b"new"}),
    "two on one name": Case({}, _two_on_one_name_while_they_go_up, {"model": b"b"}),
    "directory rename": Case(TWO, lambda m: m.rename("d", "e"), {"e/": b"", "e/a": b"a", "e/b": b"b"}),
    "directory rename with new files": Case(
        {"d/a": b"aa", "d/b": b"b"}, _directory_with_new_files, {"e/": b"", "e/a": b"Aa", "e/new": b"new", "e/later": b"later"}
    ),
    "directory rename chain": Case(TWO, _directory_chain, {"f/": b"", "f/a": b"a", "f/b": b"b", "f/new": b"new"}),
    "directory renamed and made anew": Case(
        TWO, _directory_renamed_and_made_anew, {"d/": b"", "d/a": b"another", "e/": b"", "e/a": b"a", "e/b": b"b"}
    ),
    "moved out and in": Case(TWO, _moved_out_of_a_directory_that_moves, {"e/": b"", "e/b": b"b", "e/moved": b"a"}),
    "a tree removed": Case(TWO, _tree_removed, {}),
}
