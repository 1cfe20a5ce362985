"""Clearing away what a killed writer left in a store (S6)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from storemount.errors import Unavailable
from tests.stores.conftest import ENGINES, SourceMaker, Subject, make_subject, s3_store
from tests.support.faults import error, faulty_server, response, scripted
from tests.support.servers import S3Server

PAGE = (
    "<ListMultipartUploadsResult><IsTruncated>{more}</IsTruncated><NextKeyMarker>{key}</NextKeyMarker>"
    "<NextUploadIdMarker>{upload}</NextUploadIdMarker><Upload><Key>{key}</Key><UploadId>{upload}</UploadId></Upload>"
    "</ListMultipartUploadsResult>"
)


@pytest.mark.parametrize("key", ["f", "d/f", "no/such/folder/f", "d/", "ünï"])
async def test_S6_there_need_be_nothing_to_sweep(subject: Subject, source: SourceMaker, key: str) -> None:
    await subject.store.write("d/f", source(b"whole"))
    await subject.store.sweep(key)
    assert subject.outside.get("d/f") == b"whole"


@pytest.mark.parametrize("key", ["d/f", "a//b", " lead", "ünï"])
async def test_S6_uploads_of_this_very_key_are_aborted(s3: Subject, key: str) -> None:
    assert s3.bucket is not None
    others = {name: s3.bucket.begin(name) for name in (key + "2", key + "/x", "d", "other")}
    for _ in range(3):
        s3.bucket.begin(key)
    s3.bucket.put(key, b"whole")
    await s3.store.sweep(key)
    assert sorted(s3.bucket.uploads()) == sorted(others)
    assert s3.bucket.get(key) == b"whole"
    for name, upload in others.items():
        s3.bucket.abort(name, upload)


@pytest.mark.parametrize("engine", ENGINES)
async def test_S6_more_uploads_than_one_page_lists(engine: str) -> None:
    aborted: list[str] = []

    def reply(head: str) -> bytes:
        line = head.partition("\r\n")[0]
        if line.startswith("DELETE "):
            aborted.append(line.partition("uploadId=")[2][0])
            return response("204 No Content")
        later = "upload-id-marker=1" in line
        return response("200 OK", PAGE.format(key="key", upload="2" if later else "1", more="false" if later else "true").encode())

    with faulty_server(scripted(reply)) as endpoint:
        store = s3_store(S3Server(endpoint), "s3://bucket", engine)
        await store.sweep("key")
        await store.aclose()
    assert aborted == ["1", "2"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("code", "status", "fails"), [("NoSuchUpload", "404 Not Found", False), ("SlowDown", "503 Slow Down", True)])
async def test_S6_a_sweep_that_fails_says_so(engine: str, code: str, status: str, fails: bool) -> None:
    def reply(head: str) -> bytes:
        if head.startswith("DELETE "):
            return response(status, error(code))
        return response("200 OK", PAGE.format(key="key", upload="1", more="false").encode())

    with faulty_server(scripted(reply)) as endpoint:
        store = s3_store(S3Server(endpoint), "s3://bucket", engine)
        if fails:
            with pytest.raises(Unavailable):
                await store.sweep("key")
        else:
            await store.sweep("key")
        await store.aclose()


async def test_S6_an_old_partial_file_goes_from_any_file_system_and_a_fresh_one_stays(
    request: pytest.FixtureRequest, source: SourceMaker, tmp_path: Path
) -> None:
    subject = make_subject("custom", request)
    await subject.store.write("d/f", source(b"whole"))
    folder = tmp_path / "root" / "d"
    for name in (".storemount-old.part", ".storemount-new.part", "a user's own.part"):
        (folder / name).write_bytes(b"half")
    for name in (".storemount-old.part", "a user's own.part"):
        os.utime(folder / name, (0, time.time() - 2 * 3600))
    await subject.store.sweep("d/f")
    assert sorted(os.listdir(folder)) == [".storemount-new.part", "a user's own.part", "f"]
    await subject.store.aclose()
