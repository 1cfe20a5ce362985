"""The harness can fail: each kind of loss is seen, and what is allowed is not taken for one (S6, S7)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pytest

from tests.crash.contents import Piece, bytes_of, described, digest_of, size_of, spliced, truncated, whole
from tests.crash.promises import (
    Directory,
    File,
    Link,
    Op,
    Promises,
    Shape,
    State,
    found_line,
    mark_line,
    op_line,
    shape,
    state_of,
)
from tests.crash.survey import Survey
from tests.crash.verdicts import LOST, OLD, RETURNED, STRANGE, TORN, Judge, Problem

HOME = "w0"


class Story:
    """A log, written line by line; each operation takes one second."""

    def __init__(self) -> None:
        self.promises = Promises()
        self.now = 0.0
        self.promises.feed([found_line({HOME: Directory()}, 0)])

    def op(self, verb: str, path: str, to: str = "", size: int = 0, edits: Iterable[tuple[int, int]] = (), *, until: str = "done") -> None:
        """`until`: the last line of it that the log has."""
        op = Op(self.promises.number + 1, verb, f"{HOME}/{path}", f"{HOME}/{to}" if to else "", size, tuple(edits))
        self.now += 1.0
        lines = [op_line(op, self.now), mark_line("point", op, self.now), mark_line("done", op, self.now)]
        if verb in ("fsync", "unlink", "rename", "mkdir", "rmdir", "symlink", "truncate"):
            del lines[1]
        self.promises.feed(lines[: {"intent": 1, "point": 2, "done": 3}[until]])

    def file(self, path: str) -> bytes:
        entry = self.promises.state[f"{HOME}/{path}"]
        assert isinstance(entry, File)
        return bytes_of(entry.content)


class Disk:
    """What somebody finds: the promised state, then spoiled."""

    def __init__(self, state: State) -> None:
        self.bytes = {path: bytes_of(entry.content) for path, entry in state.items() if isinstance(entry, File)}
        self.survey = Survey("the mount", {path: shape(entry) for path, entry in state.items()})

    def put(self, path: str, data: bytes) -> None:
        self.bytes[f"{HOME}/{path}"] = data
        self.survey.shapes[f"{HOME}/{path}"] = ("file", hashlib.sha256(data).hexdigest())

    def remove(self, path: str) -> None:
        del self.survey.shapes[f"{HOME}/{path}"]


@pytest.fixture
def story() -> Story:
    story = Story()
    story.op("write", "kept", size=3000)
    story.op("write", "kept", size=4000)
    story.op("write", "gone", size=100)
    story.op("unlink", "gone")
    return story


def problems(story: Story, disk: Disk) -> list[Problem]:
    judge = Judge([story.promises])
    return judge.after_kill(story.promises, HOME, disk.survey, lambda path: disk.bytes[path]).problems


def kinds(story: Story, disk: Disk) -> list[tuple[str, str]]:
    return [(problem.kind, problem.path) for problem in problems(story, disk)]


# what is seen after a kill


def test_what_was_promised_is_no_problem(story: Story) -> None:
    assert problems(story, Disk(story.promises.state)) == []


def test_a_missing_file_is_seen(story: Story) -> None:
    disk = Disk(story.promises.state)
    disk.remove("kept")
    assert kinds(story, disk) == [(LOST, "w0/kept")]


def test_an_old_version_is_seen(story: Story) -> None:
    disk = Disk(story.promises.state)
    disk.put("kept", bytes_of(whole("w0/kept", 1, 3000)))
    assert kinds(story, disk) == [(OLD, "w0/kept")]
    assert "w0/kept version 1 from 0" in str(problems(story, disk)[0])


@pytest.mark.parametrize("border", [1, 511, 512, 1000, 2048, 3999])
def test_a_mix_of_two_versions_is_seen(story: Story, border: int) -> None:
    disk = Disk(story.promises.state)
    disk.put("kept", bytes_of(whole("w0/kept", 1, 4000))[:border] + story.file("kept")[border:])
    assert kinds(story, disk) == [(TORN, "w0/kept")]


@pytest.mark.parametrize("size", [0, 3999, 4001])
def test_a_wrong_length_is_seen(story: Story, size: int) -> None:
    disk = Disk(story.promises.state)
    disk.put("kept", story.file("kept")[:size].ljust(size, b"\0"))
    assert kinds(story, disk) == [(TORN, "w0/kept")]


def test_blocks_that_changed_their_place_are_seen(story: Story) -> None:
    data = story.file("kept")
    disk = Disk(story.promises.state)
    disk.put("kept", data[512:1024] + data[:512] + data[1024:])
    assert kinds(story, disk) == [(TORN, "w0/kept")]


def test_an_unlinked_file_that_came_back_is_seen(story: Story) -> None:
    disk = Disk(story.promises.state)
    disk.put("gone", bytes_of(whole("w0/gone", 3, 100)))
    assert kinds(story, disk) == [(RETURNED, "w0/gone")]


def test_a_file_that_nobody_made_is_seen(story: Story) -> None:
    disk = Disk(story.promises.state)
    disk.put("stranger", b"?")
    assert kinds(story, disk) == [(STRANGE, "w0/stranger")]


def test_another_kind_of_entry_is_seen(story: Story) -> None:
    disk = Disk(story.promises.state)
    disk.survey.shapes["w0/kept"] = ("directory",)
    assert kinds(story, disk) == [(TORN, "w0/kept")]


# what was under way


def test_a_close_under_way_may_have_been_or_not(story: Story) -> None:
    before = Disk(story.promises.state)
    story.op("edit", "kept", edits=[(0, 10), (2000, 2600)], until="point")
    states = story.promises.allowed()
    assert len(states) == 2 and problems(story, before) == problems(story, Disk(states[1])) == []
    before.put("kept", before.bytes["w0/kept"][:2000] + Disk(states[1]).bytes["w0/kept"][2000:])
    assert kinds(story, before) == [(TORN, "w0/kept")]


def test_what_was_not_closed_must_not_be_there(story: Story) -> None:
    before = Disk(story.promises.state)
    story.op("edit", "kept", edits=[(0, 10)], until="intent")
    story.op("write", "fresh", size=0, until="intent")
    assert problems(story, before) == []
    before.put("fresh", b"")
    before.put("kept", bytes_of(spliced(whole("w0/kept", 2, 4000), Piece("w0/kept", 5, 0, 10))))
    assert kinds(story, before) == [(STRANGE, "w0/fresh"), (TORN, "w0/kept")]


def test_a_directory_rename_under_way_is_all_or_nothing(story: Story) -> None:
    story.op("mkdir", "d")
    story.op("write", "d/one", size=10)
    story.op("write", "d/two", size=10)
    story.op("rename", "d", "e", until="intent")
    before, after = story.promises.allowed()
    assert problems(story, Disk(before)) == problems(story, Disk(after)) == []
    half = Disk(before)
    half.remove("d/one")
    half.put("e/one", story.file("d/one"))
    assert problems(story, half)


# the store


def test_what_was_fsynced_has_to_be_in_the_store(story: Story) -> None:
    story.op("fsync", "kept")
    judge = Judge([story.promises])
    disk = Disk(story.promises.state)
    assert judge.settled(story.promises.settled, disk.survey, lambda path: disk.bytes[path]) == []
    disk.remove("kept")
    assert [each.kind for each in judge.settled(story.promises.settled, disk.survey, lambda path: disk.bytes[path])] == [LOST]
    story.op("unlink", "kept", until="intent")
    assert judge.settled(story.promises.settled, disk.survey, lambda path: disk.bytes[path]) == []


def test_a_fsync_of_a_directory_is_about_what_has_gone_too(story: Story) -> None:
    story.promises.feed([op_line(op := Op(9, "fsync", HOME), 9.0), mark_line("done", op, 9.0)])
    disk = Disk(story.promises.state)
    disk.put("gone", b"?")
    found = Judge([story.promises]).settled(story.promises.settled, disk.survey, lambda path: disk.bytes[path])
    assert [(each.kind, each.path) for each in found] == [(RETURNED, "w0/gone")]


def test_objects_that_were_seen_half_written_are_told(story: Story) -> None:
    def seen(path: str, data: bytes) -> list[str]:
        objects: dict[tuple[str, Shape], bytes] = {(path, ("file", hashlib.sha256(data).hexdigest())): data}
        return [problem.kind for problem in Judge([story.promises]).seen(objects)]

    assert seen("w0/kept", bytes_of(whole("w0/kept", 1, 3000))) == []
    assert seen("w0/kept", bytes_of(whole("w0/kept", 1, 3000))[:-1]) == [TORN]
    assert seen("w0/stranger", b"") == [STRANGE]


# power cuts


def after_cut(story: Story, disk: Disk, since: float) -> list[str]:
    judge = Judge([story.promises])
    verdict = judge.after_cut(story.promises.window(since), HOME, disk.survey, lambda path: disk.bytes[path])
    return [f"{problem.kind} {problem.path}" for problem in verdict.problems]


def test_a_cut_may_take_the_last_seconds_and_no_more(story: Story) -> None:
    early = Disk(story.promises.state)
    early.put("kept", bytes_of(whole("w0/kept", 1, 3000)))
    early.put("gone", bytes_of(whole("w0/gone", 3, 100)))
    assert after_cut(story, early, since=1.0) == []
    assert after_cut(story, early, since=3.0) == ["old version w0/kept"]
    assert after_cut(story, early, since=4.0) == ["came back w0/gone", "old version w0/kept"]
    early.put("kept", story.file("kept")[:3000])
    assert after_cut(story, early, since=1.0) == ["torn w0/kept"]


def test_a_cut_takes_nothing_that_was_fsynced(story: Story) -> None:
    early = Disk(story.promises.state)
    early.put("kept", bytes_of(whole("w0/kept", 1, 3000)))
    story.op("fsync", "kept")
    assert after_cut(story, early, since=1.0) == ["old version w0/kept"]


def test_a_renamed_file_may_not_fall_between_its_names(story: Story) -> None:
    story.op("rename", "kept", "moved")
    nowhere = Disk(story.promises.state)
    assert after_cut(story, nowhere, since=4.0) == []
    nowhere.remove("moved")
    assert after_cut(story, nowhere, since=4.0) == ["lost w0/kept"]


def test_a_file_may_not_be_lost_to_what_came_after_its_rename(story: Story) -> None:
    story.op("rename", "kept", "moved")
    story.op("write", "kept", size=7)
    disk = Disk(story.promises.state)
    disk.remove("moved")
    assert after_cut(story, disk, since=4.0) == ["lost w0/kept"]


# contents and logs


def test_contents_are_what_a_file_would_be() -> None:
    content, data = whole("a", 1, 5000), bytearray(bytes_of(whole("a", 1, 5000)))
    for number, (start, stop) in enumerate([(100, 700), (0, 10), (4990, 5600), (6000, 6100)], 2):
        content = spliced(content, Piece("a", number, start, stop))
        data.extend(bytes(max(0, start - len(data))))
        data[start:stop] = bytes_of(whole("a", number, stop))[start:]
    for size in (3000, 9000):
        content = truncated(content, size)
        data = data[:size].ljust(size, b"\0")
    assert bytes_of(content) == data and size_of(content) == len(data) and digest_of(content) == hashlib.sha256(data).hexdigest()


def test_bytes_tell_who_wrote_them() -> None:
    data = bytes_of(whole("a", 1, 1024)) + bytes_of(whole("b", 2, 1600))[1024:1600] + bytes(512)
    assert described(data[:1536], ["a", "b"]) == "1536 bytes: a version 1 from 0, b version 2 from 1024"
    assert described(bytes(5), []) == "5 bytes: zeros from 0"


def test_a_state_survives_a_log() -> None:
    state: State = {"d": Directory(), "d/f": File("d/f#1", truncated(whole("d/f", 1, 700), 900)), "d/l": Link("x")}
    promises = Promises()
    promises.feed([found_line(state, 7)])
    assert promises.state == state == state_of({path: [type(entry).__name__, *entry] for path, entry in state.items()})
    assert promises.number == 7
