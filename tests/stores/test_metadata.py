"""What a store keeps of a file beside its bytes, and what a change of it leaves alone (S12)."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import Any

import pytest

from storemount.errors import Changed, NoSpace, NotFound
from storemount.stores import s3 as s3_module
from storemount.stores.base import Artifact, Child, Meta
from storemount.stores.parts import SINGLE_PUT
from tests.stores.conftest import GCS, SourceMaker, Subject

TIME = 1_700_000_000_123_456_789
META = Meta(mode=stat.S_IFREG | 0o750, uid=1000, gid=100, mtime_ns=TIME, xattrs={b"user.colour": "grün".encode()})


async def rows(subject: Subject, prefix: str = "") -> dict[str, Child]:
    return {child.name: child async for page in subject.store.list(prefix) for child in page}


def said(artifact: Artifact | None) -> Meta:
    assert artifact is not None and artifact.meta is not None
    return artifact.meta


def kept(subject: Subject, meta: Meta) -> Meta:
    """`meta` as far as it survives: gcloud's names have room for the permission bits of a mode only."""
    return replace(meta, mode=stat.S_IMODE(meta.mode)) if subject.name in GCS and meta.mode is not None else meta


async def test_S12_metadata_is_given_where_the_store_keeps_it(subject: Subject, source: SourceMaker) -> None:
    made = await subject.store.write("f", source(b"x", Meta(mode=0o100640, mtime_ns=10**18)))
    if not subject.store.traits.modes:
        with pytest.raises(NotImplementedError):
            await subject.store.annotate(made, Meta(mode=0o100600))
        return
    given = await subject.store.annotate(made, Meta(mode=0o100600, mtime_ns=2 * 10**18))
    assert given.mode is not None and stat.S_IMODE(given.mode) == 0o600
    assert (await subject.store.stat("f")).artifact == await subject.store.describe("f") == given
    assert said(await subject.store.describe("f")) == said(given)
    assert bytes(await subject.store.read(given, 0, 1)) == b"x"
    await subject.store.write("f", source(b"y"), over=given)


async def test_S12_all_of_it_comes_back_by_a_look_and_none_by_a_listing(flat: Subject, source: SourceMaker) -> None:
    made = await flat.store.write("d/f", source(b"x", META))
    assert kept(flat, said(made)) == kept(flat, META)
    assert said((await flat.store.stat("d/f")).artifact) == kept(flat, META)
    assert said(await flat.store.describe("d/f")) == kept(flat, META)
    listed = (await rows(flat, "d/"))["f"].artifact
    assert listed == made and listed is not None and listed.meta is None


async def test_S12_a_file_in_parts_has_it_too(s3: Subject, source: SourceMaker) -> None:
    made = await s3.store.write("f", source(bytes(SINGLE_PUT + 1), META))
    assert said(await s3.store.describe("f")) == said(await s3.store.describe(made.key)) == META


async def test_S12_a_marker_has_it_too(flat: Subject, source: SourceMaker) -> None:
    meta = Meta(mode=stat.S_IFDIR | 0o700, mtime_ns=TIME, xattrs={})
    await flat.store.write("d/", source(b"", meta))
    assert said(await flat.store.describe("d/")) == kept(flat, meta)
    assert (await flat.store.stat("d")).artifact is None
    given = await flat.store.annotate(await flat.store.describe("d/"), Meta(mode=stat.S_IFDIR | 0o755))
    assert said(given) == kept(flat, replace(meta, mode=stat.S_IFDIR | 0o755))
    with pytest.raises(NotFound):
        await flat.store.describe("absent/")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Meta(), META),
        (Meta(mode=stat.S_IFREG | 0o600), replace(META, mode=stat.S_IFREG | 0o600)),
        (Meta(uid=5, mtime_ns=7), replace(META, uid=5, mtime_ns=7)),
        (Meta(xattrs={}), replace(META, xattrs={})),
    ],
)
async def test_S12_what_a_change_does_not_say_stays(flat: Subject, source: SourceMaker, change: Meta, expected: Meta) -> None:
    made = await flat.store.write("f", source(b"x", META))
    assert said(await flat.store.annotate(made, change)) == kept(flat, expected)
    assert said(await flat.store.describe("f")) == kept(flat, expected)


async def test_S12_a_change_is_of_this_version_only(flat: Subject, source: SourceMaker) -> None:
    made = await flat.store.write("f", source(b"old"))
    await flat.store.write("f", source(b"new", META))
    for gone in (made, replace(made, key="absent")):
        with pytest.raises(Changed):
            await flat.store.annotate(gone, Meta(mode=0o100600))
    assert said(await flat.store.describe("f")) == kept(flat, META)


async def test_S12_a_change_resets_nothing_that_others_said(s3: Subject) -> None:
    assert s3.bucket is not None
    client, place = s3.bucket._s3, {"Bucket": s3.bucket.name, "Key": "page.html"}
    headers = {"ContentType": "text/html", "CacheControl": "max-age=60", "ContentDisposition": "inline", "ContentLanguage": "de"}
    headers |= {"ContentEncoding": "identity", "StorageClass": "STANDARD_IA", "ServerSideEncryption": "AES256"}
    client.put_object(**place, **headers, Body=b"x", Metadata={"project": "apollo", "mode": "33188"}, Tagging="team=a&kind=b%20c")
    found = (await s3.store.stat("page.html")).artifact
    assert found is not None and found.mode == 0o100644
    given = await s3.store.annotate(found, Meta(mode=0o100755))
    assert (given, given.version) == (found, found.version)
    head = s3.bucket.head("page.html")
    assert head is not None
    assert {name: head.get(name) for name in headers} == headers
    assert head["Metadata"] == {"project": "apollo", "mode": "0100755"}
    tags = client.get_object_tagging(**place)["TagSet"]
    assert sorted(tags, key=lambda tag: str(tag["Key"])) == [{"Key": "kind", "Value": "b c"}, {"Key": "team", "Value": "a"}]


async def test_S12_a_change_of_a_very_large_object_goes_in_parts(s3: Subject, source: SourceMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert s3.bucket is not None
    monkeypatch.setattr(s3_module, "LARGEST_COPY", 3)
    client, place = s3.bucket._s3, {"Bucket": s3.bucket.name, "Key": "f"}
    client.put_object(**place, Body=b"data", ContentType="text/html", Metadata={"project": "apollo"}, Tagging="team=a")
    given = await s3.store.annotate(await s3.store.describe("f"), Meta(mode=0o100755))
    assert (await s3.store.describe("f")).version == given.version
    head: dict[str, Any] | None = s3.bucket.head("f")
    assert head is not None
    assert (head["ContentType"], head["Metadata"]) == ("text/html", {"project": "apollo", "mode": "0100755"})
    assert client.get_object_tagging(**place)["TagSet"] == [{"Key": "team", "Value": "a"}]
    assert bytes(await s3.store.read(given, 0, 4)) == b"data"


async def test_S12_a_copy_of_a_very_large_object_goes_in_parts(s3: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that it had, and byte for byte; the real limit is 5 GiB."""
    assert s3.bucket is not None
    least = 5 << 20
    monkeypatch.setattr(s3_module, "LARGEST_COPY", least)
    monkeypatch.setattr(s3_module, "COPY_PART", least)
    data = os.urandom(2 * least + 1)
    client, name = s3.bucket._s3, s3.bucket.name
    client.put_object(Bucket=name, Key="f", Body=data, ContentType="text/html", Metadata={"project": "apollo"}, Tagging="team=a")
    made = await s3.store.copy(await s3.store.describe("f"), "copy")
    assert (made.key, made.size) == ("copy", len(data))
    assert made.version.endswith('-3"') and (await s3.store.describe("copy")).version == made.version
    head: dict[str, Any] | None = s3.bucket.head("copy")
    assert head is not None
    assert (head["ContentType"], head["Metadata"]) == ("text/html", {"project": "apollo"})
    assert client.get_object_tagging(Bucket=name, Key="copy")["TagSet"] == [{"Key": "team", "Value": "a"}]
    assert s3.bucket.get("copy") == data == s3.bucket.get("f")


async def test_S12_more_than_the_store_takes_is_refused(s3: Subject, source: SourceMaker) -> None:
    made = await s3.store.write("f", source(b"x"))
    with pytest.raises(NoSpace, match="2048"):
        await s3.store.annotate(made, Meta(xattrs={b"user.large": bytes(1600)}))
    assert said(await s3.store.describe("f")).xattrs == {}


async def test_S12_what_s3fs_fuse_writes_is_read(s3: Subject) -> None:
    assert s3.bucket is not None
    s3.bucket.put("link", b"target\n", {"mode": "41471", "uid": "5", "gid": "6", "mtime": "1700000000", "ctime": "1700000000"})
    found = (await s3.store.stat("link")).artifact
    assert found is not None and found.is_symlink
    assert (said(found).uid, said(found).gid, said(found).mtime_ns) == (5, 6, 1_700_000_000 * 10**9)
    renewed = await s3.store.annotate(found, Meta(mode=stat.S_IFLNK | 0o600, mtime_ns=5))
    assert renewed.is_symlink and said(renewed).mtime_ns == 5


async def test_an_object_is_described_by_its_key(subject: Subject, source: SourceMaker) -> None:
    made = await subject.store.write("a/b", source(b"hello"))
    found = await subject.store.describe("a/b")
    assert (found, found.version) == (made, made.version)
    with pytest.raises(NotFound):
        await subject.store.describe("a/absent")
