"""Every name that the store can hold can be used, and the others are refused by one clear error (S1, S2)."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path

import pytest

from tests.support.mounting import AZURE, GCS, PLAIN, REMOTE, STORES, Subject
from tests.support.waiting import synced

NAMES = {
    "umlauts": "Größenmaß.txt",
    "cyrillic": "модель.bin",
    "chinese": "数据集",
    "emoji": "🦊🚀.pt",
    "right-to-left": "שלום עולם",
    "combining": unicodedata.normalize("NFD", "café"),
    "spaces": "  two words  ",
    "shell": "a$b`c`!(d)&;|<e>'\"",
    "url": "a%20b+c?d=e#f&g;h",
    "percent": "%2e%2e%2F%00",
    "glob": "[a-z]*?{x}",
    "backslash": "a\\b",
    "dots": "...",
    "hidden": ".hidden",
    "trailing dot": "name.",
    "tilde": "~",
    "dash": "-rf",
    "colon": "s3:,=@",
    "long": "n" * 255,
    "long unicode": "é" * 127,
    "uppercase": "Case",
    "lowercase": "case",
}
CONTROL = ("tab\there", "bell\x07", "del\x7f")
NOT_ON_AZURE = {NAMES["backslash"], NAMES["dots"], NAMES["trailing dot"], *CONTROL}
"""What Azure would keep under another name, or not at all: "Naming and referencing containers, blobs, and metadata" in its reference."""


def is_refused(root: Path, subject: Subject, name: str) -> bool:
    """Whether the store cannot have the name. If so, each way to make it is refused at once (EILSEQ), and nothing is there."""
    if subject.kind not in AZURE or name not in NOT_ON_AZURE:
        return False
    other, wanted = root / "other", root / name
    other.touch()
    for act in (wanted.touch, wanted.mkdir, lambda: wanted.symlink_to("x"), lambda: other.rename(wanted)):
        with pytest.raises(OSError) as caught:
            act()
        assert caught.value.errno == errno.EILSEQ
    assert os.listdir(root) == ["other"]
    return True


@pytest.mark.parametrize("kind", NAMES)
def test_S1_names_of_files_and_directories(root: Path, subject: Subject, kind: str) -> None:
    name = NAMES[kind]
    if is_refused(root, subject, name):
        return
    (root / name).write_bytes(name.encode())
    assert os.listdir(root) == [name]
    assert (root / name).read_bytes() == name.encode()
    (root / name).rename(root / "plain")
    (root / name).mkdir()
    (root / "plain").rename(root / name / name)
    assert [str(path.relative_to(root)) for path in root.rglob("*")] == [name, f"{name}/{name}"]
    assert (root / name / name).read_bytes() == name.encode()


@pytest.mark.subjects(*STORES)
@pytest.mark.parametrize("kind", NAMES)
def test_S1_the_object_has_the_same_name(root: Path, subject: Subject, kind: str) -> None:
    """The key is the path, letter for letter, as another client sees it."""
    name = NAMES[kind]
    if is_refused(root, subject, name):
        return
    (root / name).write_bytes(name.encode())
    synced(root / name)
    assert subject.outside is not None
    assert subject.outside.get(f"{root.name}/{name}") == name.encode()


def test_S1_names_that_differ_in_normal_form_are_two(root: Path) -> None:
    one, two = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    (root / one).write_bytes(b"NFC")
    (root / two).write_bytes(b"NFD")
    assert (root / one).read_bytes() == b"NFC"
    assert len(os.listdir(root)) == 2


@pytest.mark.parametrize("name", ["n" * 256, "é" * 128], ids=["ascii", "unicode"])
def test_S2_a_name_over_255_bytes_is_too_long(root: Path, name: str) -> None:
    for act in ((root / name).touch, (root / name).mkdir, (root / name).stat, lambda: (root / name).symlink_to("x")):
        with pytest.raises(OSError) as caught:
            act()
        assert caught.value.errno == errno.ENAMETOOLONG
    (root / "short").touch()
    with pytest.raises(OSError) as caught:
        (root / "short").rename(root / name)
    assert caught.value.errno == errno.ENAMETOOLONG
    assert os.listdir(root) == ["short"]


@pytest.mark.subjects(*REMOTE, AZURE[0], GCS[0])
def test_S2_a_key_over_the_store_s_limit_is_too_long(root: Path) -> None:
    """Segments may be short and the path still longer than an object's key can be (1024 bytes); refused at once, not at upload."""
    deep = root
    with pytest.raises(OSError) as caught:
        for _ in range(6):
            deep = deep / ("d" * 200)
            deep.mkdir()
    assert caught.value.errno == errno.ENAMETOOLONG


@pytest.mark.subjects(*REMOTE, AZURE[0], GCS[0])
def test_S2_an_object_store_refuses_a_name_that_is_not_utf8(root: Path) -> None:
    """Its keys are UTF-8: EILSEQ at once, and nothing is there."""
    name = os.fsencode(root) + b"/latin-\xe9"
    with pytest.raises(OSError) as caught:
        os.mkdir(name)
    assert caught.value.errno == errno.EILSEQ
    assert not os.path.exists(name)


@pytest.mark.subjects(PLAIN, "local")
def test_S1_a_local_folder_takes_any_bytes_as_a_name(root: Path) -> None:
    name = os.fsencode(root) + b"/latin-\xe9"
    with open(name, "wb") as file:
        file.write(b"bytes")
    assert os.listdir(os.fsencode(root)) == [b"latin-\xe9"]
    with open(name, "rb") as file:
        assert file.read() == b"bytes"


@pytest.mark.parametrize("name", CONTROL)
def test_S1_control_characters(root: Path, subject: Subject, name: str) -> None:
    if not is_refused(root, subject, name):
        keeps(root, name)


@pytest.mark.subjects(PLAIN, "local")
def test_S1_line_break(root: Path) -> None:
    """S3 takes it too; the S3 server of these tests does not."""
    keeps(root, "line\nbreak")


def keeps(root: Path, name: str) -> None:
    (root / name).write_bytes(b"odd")
    synced(root / name)
    assert os.listdir(root) == [name]
    assert (root / name).read_bytes() == b"odd"
