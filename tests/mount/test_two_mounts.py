"""Two mounts of one store at once, as two machines would have it: nothing of either is lost (S9)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.command import Storemount
from tests.support.mounting import AZURE, GCS, Mount, mount_of, mounted
from tests.support.outside import Outside
from tests.support.readme import told

SUBJECTS = ("local", "s3-native", AZURE[0], GCS[1])
BASE = b"x" * 20_000


@pytest.fixture
def outside(kind: str, fresh_store: Callable[[str], Outside]) -> Outside:
    return fresh_store(kind)


@pytest.fixture
def both(kind: str, outside: Outside, storemount: Storemount) -> Iterator[tuple[Mount, Mount]]:
    one = mount_of(storemount, kind, outside, ("--ttl", "0"))
    with mounted(one), mounted(Mount(storemount, one.store, one.options)) as other:
        yield one, other


@contextmanager
def edited(mount: Mount, name: str, offset: int, data: bytes) -> Iterator[None]:
    """An edit in place that is based on what is there now, and is saved when the block ends."""
    fd = os.open(mount.point / name, os.O_RDWR)
    try:
        os.pread(fd, 1, 0)
        os.pwrite(fd, data, offset)
        yield
        os.fsync(fd)
    finally:
        os.close(fd)


def test_S9_an_edit_of_what_another_machine_has_changed_is_kept_beside_it(both: tuple[Mount, Mount], outside: Outside) -> None:
    one, other = both
    outside.put("notes", BASE)
    one.expect("conflict")
    other.expect("conflict")
    with edited(one, "notes", 0, b"ONE"), edited(other, "notes", 100, b"OTHER"):
        pass
    theirs, ours = BASE[:100] + b"OTHER" + BASE[105:], b"ONE" + BASE[3:]
    names = outside.keys("notes")
    (beside,) = [name for name in names if name.startswith("notes.conflict-")]
    assert len(names) == 2 and {outside.get("notes"), outside.get(beside)} == {theirs, ours}
    assert any(told("was changed in the store while it was edited here", mount.log.read_text()) for mount in both)
    listed = [conflict for mount in both for conflict in mount.status()["conflicts"]]
    assert [(conflict["path"], conflict["ours"]) for conflict in listed] == [("notes", beside)]
    for mount in both:
        assert (mount.point / beside).read_bytes() == outside.get(beside)


def test_S9_a_whole_replacement_wins(both: tuple[Mount, Mount], outside: Outside) -> None:
    one, other = both
    outside.put("model", BASE)
    for mount, data in ((one, b"first"), (other, b"second")):
        with (mount.point / "model").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    assert outside.get("model") == b"second"
    assert outside.keys("model") == {"model"}


def test_S9_an_edit_of_what_another_machine_has_deleted_is_there_again(both: tuple[Mount, Mount], outside: Outside) -> None:
    one, _ = both
    outside.put("notes", BASE)
    with edited(one, "notes", 0, b"ONE"):
        outside.delete("notes")
    assert outside.get("notes")[:3] == b"ONE"


def test_S9_different_files_disturb_nobody(both: tuple[Mount, Mount], outside: Outside) -> None:
    for mount, name in zip(both, ("a", "b"), strict=True):
        for number in range(20):
            (mount.point / f"{name}{number}").write_bytes(name.encode() * number)
    for mount in both:
        fd = os.open(mount.point, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    for name in "ab":
        assert all(outside.get(f"{name}{number}") == name.encode() * number for number in range(20))
