"""`storemount doctor` against the real thing: servers, buckets, mounts and machines that are as they should be, or not."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storemount.errors import ExitCode
from tests.support.command import Storemount
from tests.support.faults import faulty_server, refused_address, silence
from tests.support.mounting import AZURE, GCS, REMOTE, Mount, mount_of, mounted, temporary_home
from tests.support.outside import Outside
from tests.support.servers import BucketClient, S3Server, guarded_moto_server, permit

PROBE = ".storemount-doctor-"


@pytest.fixture
def home() -> Iterator[Path]:
    """A home of the test's own: nobody else's mounts are in it."""
    with temporary_home() as folder:
        yield folder


@pytest.fixture
def storemount(home: Path) -> Storemount:
    (home / "mnt").mkdir()
    return Storemount(home)


Found = dict[str, dict[str, str]]


def examined(storemount: Storemount, *words: str, code: ExitCode, environ: dict[str, str] | None = None) -> Found:
    """What the doctor finds, by subject (of several about one, the worst); its exit code is this one."""
    done = storemount.run("doctor", *words, "--json", within=60, environ=environ)
    assert done.stderr == ""
    told: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (ExitCode.TROUBLE_FOUND if told["failed"] else ExitCode.OK)
    assert told["version"] == 1 and told["failed"] == sum(finding["level"] == "FAIL" for finding in told["findings"])
    for finding in told["findings"]:
        assert (finding["remedy"] == "") == (finding["level"] == "OK"), "what is wrong comes with what to do, and nothing else does"
    # Other tests of this user have mounts of their own, dead ones too.
    ours = [finding for finding in told["findings"] if finding["subject"] != "mounts" or str(storemount.home) in finding["said"]]
    assert any(finding["level"] == "FAIL" for finding in ours) == (code is ExitCode.TROUBLE_FOUND), done.stdout
    rank = ["OK", "WARN", "FAIL"]
    return {finding["subject"]: finding for finding in sorted(ours, key=lambda finding: rank.index(finding["level"]))}


def of_store(found: Found) -> Found:
    """Without what depends on this machine."""
    machine = ("device", "fusermount3", "allow-other", "open files", "container", "user namespace", "privileges", "visibility", "AppArmor")
    return {subject: finding for subject, finding in found.items() if subject not in (*machine, "staging folder", "disk budget", "mounts")}


def test_without_a_name_it_looks_at_the_machine(storemount: Storemount) -> None:
    found = examined(storemount, code=ExitCode.OK)
    assert not of_store(found)
    assert {"device", "fusermount3", "allow-other", "privileges", "AppArmor", "disk budget"} <= found.keys()


def test_each_finding_is_one_line(storemount: Storemount) -> None:
    lines = storemount.run("doctor", "default", str(storemount.home / "mnt")).stdout.splitlines()
    assert all(line[:4].strip() in ("OK", "WARN", "FAIL") for line in lines[:-1])
    assert lines[-1].startswith(f"{len(lines) - 1} findings: ") and lines[-1].endswith(" FAIL")


@pytest.mark.parametrize("kind", ["local", *REMOTE, *AZURE, *GCS])
def test_S2_S9_a_store_that_does_all(kind: str, storemount: Storemount, fresh_store: Callable[[str], Outside]) -> None:
    """Nothing fails, nothing stays behind, and what a mount hides is listed."""
    outside = fresh_store(kind)
    outside.put("some/file", b"content")
    mount = mount_of(storemount, kind, outside)
    mount.point.rmdir()
    found = of_store(examined(storemount, mount.store, "mnt", *mount.options, code=ExitCode.OK))
    tried = {"credentials", "latency", "clock", "writing", "reading", "upload", "download", "conditional writes", "removing", "names"}
    assert found.keys() == {*tried, "mountpoint"}
    assert {found[subject]["level"] for subject in tried - {"conditional writes", "latency"}} == {"OK"}
    assert outside.keys(PROBE) == set()


def test_S2_keys_that_a_mount_hides(storemount: Storemount, bucket: BucketClient) -> None:
    for key in ("fine", "a//b", "c/../d", "./e", "x" * 256, "f", "f/g"):
        bucket.put(key, b"x")
    store = storemount.register("hostile", "s3", bucket.uri, bucket.server.attributes())
    done = storemount.run("doctor", store)
    assert "FAIL  names" not in done.stdout, "a name that is hidden keeps no mount from working"
    hidden = [line for line in done.stdout.splitlines() if "is hidden by a mount" in line]
    assert len(hidden) == 5 and all(line.startswith("WARN  names") for line in hidden)
    for name in ("'a//b'", "'c/../d'", "'./e'", "x" * 256, "'f'"):
        assert any(name in line for line in hidden), name
    assert len(bucket.list()) == 7
    bounded = examined(storemount, store, "--keys", "3", code=ExitCode.OK)["names"]
    assert "of the 3 keys looked at" in bounded["said"] and "the walk stopped there" in bounded["said"]
    assert "names" not in examined(storemount, store, "--keys", "0", code=ExitCode.OK)


def test_read_only_writes_nothing(storemount: Storemount, bucket: BucketClient) -> None:
    bucket.put("file", b"content")
    before = bucket.versions()
    store = storemount.register("reader", "s3", bucket.uri, bucket.server.attributes())
    found = of_store(examined(storemount, store, "--read-only", code=ExitCode.OK))
    assert "not tried" in found["writing"]["said"] and found["download"]["level"] == "OK"
    assert not {"removing", "conditional writes"} & found.keys()
    assert bucket.versions() == before


@pytest.mark.parametrize("kind", REMOTE)
def test_a_missing_bucket(storemount: Storemount, s3_server: S3Server, kind: str) -> None:
    store = storemount.register("remote", "s3", "s3://no-such-bucket", s3_server.attributes())
    found = of_store(examined(storemount, store, "--engine", kind.removeprefix("s3-"), code=ExitCode.TROUBLE_FOUND))
    assert found.keys() == {"clock", "store"} and "no-such-bucket" in found["store"]["said"]


def test_nobody_listens(storemount: Storemount, s3_server: S3Server) -> None:
    with refused_address() as address:
        store = storemount.register("remote", "s3", "s3://some", {**s3_server.attributes(), "endpoint": address})
        found = of_store(examined(storemount, store, "--deadline", "2s", code=ExitCode.TROUBLE_FOUND))
    assert found.keys() == {"endpoint"} and found["endpoint"]["level"] == "FAIL"


@pytest.mark.timeout(60)
def test_S14_a_server_that_never_answers(storemount: Storemount, s3_server: S3Server) -> None:
    with faulty_server(silence) as address:
        store = storemount.register("remote", "s3", "s3://some", {**s3_server.attributes(), "endpoint": address})
        found = of_store(examined(storemount, store, "--deadline", "1s", code=ExitCode.TROUBLE_FOUND))
    assert found.keys() == {"endpoint"} and "no answer" in found["endpoint"]["said"]


@pytest.fixture(scope="module")
def guarded_server() -> Iterator[S3Server]:
    with guarded_moto_server() as server:
        yield server


def test_wrong_keys(storemount: Storemount, guarded_server: S3Server) -> None:
    """The server's time is told all the same, as a wrong clock looks the same; the secret is not."""
    attributes = {**guarded_server.attributes(), "secret": "a-wrong-secret"}
    store = storemount.register("remote", "s3", "s3://some", attributes)
    found = of_store(examined(storemount, store, code=ExitCode.TROUBLE_FOUND))
    assert found.keys() == {"clock", "credentials"}
    assert (found["clock"]["level"], found["credentials"]["level"]) == ("OK", "FAIL")
    assert "a-wrong-secret" not in json.dumps(found)


@pytest.mark.parametrize(
    ("allowed", "fails"),
    [
        (("s3:List*", "s3:Get*"), "writing"),
        (("s3:List*", "s3:Put*", "s3:Delete*"), "reading"),
        (("s3:List*", "s3:Get*", "s3:Put*"), "removing"),
    ],
)
def test_keys_that_may_not_do_everything(storemount: Storemount, guarded_server: S3Server, allowed: tuple[str, ...], fails: str) -> None:
    """By one engine: moto computes another signature than OpenDAL for a listing."""
    name = f"allowed-{fails}"
    permit(guarded_server, "s3:*")
    with guarded_server.client(name) as client:
        client.create().put("file", b"content")
        store = storemount.register("remote", "s3", client.uri, guarded_server.attributes())
        permit(guarded_server, *allowed)
        found = of_store(examined(storemount, store, "--engine", "fsspec", code=ExitCode.TROUBLE_FOUND))
        assert [subject for subject, finding in found.items() if finding["level"] == "FAIL"] == [fails], found
        permit(guarded_server, "s3:*")
        assert [key for key in client.list() if PROBE in key] == [] or fails == "removing"


def test_an_attribute_that_no_engine_takes(storemount: Storemount, s3_server: S3Server) -> None:
    attributes = {**s3_server.attributes(), "client_kwargs": '{"verify": false}'}
    store = storemount.register("remote", "s3", "s3://some", attributes)
    found = of_store(examined(storemount, store, "--engine", "native", code=ExitCode.TROUBLE_FOUND))
    assert "client_kwargs.verify" in found["store"]["said"] and found["store"]["remedy"] == "use --engine fsspec"


def test_no_fusermount3(storemount: Storemount, tmp_path: Path) -> None:
    found = examined(storemount, code=ExitCode.TROUBLE_FOUND, environ={"PATH": str(tmp_path)})
    assert found["fusermount3"]["level"] == "FAIL" and "apt install fuse3" in found["fusermount3"]["remedy"]


def test_an_unknown_store(storemount: Storemount) -> None:
    done = storemount.run("doctor", "no-such-store")
    assert done.returncode == ExitCode.UNKNOWN_STORE and len(done.stderr.splitlines()) == 1


def test_mounts_that_answer_and_one_that_is_dead(storemount: Storemount) -> None:
    """A mountpoint alone stands for its store; a dead mount is named with what cleans it, and left as it is."""
    with mounted(Mount(storemount, "default")) as mount:
        found = examined(storemount, str(mount.point), code=ExitCode.OK)
        assert found["mountpoint"]["said"] == f"default is mounted on {mount.point}, and answers"
        assert found["removing"]["level"] == "OK"
        assert os.listdir(mount.point) == []
        mount.kill()
        found = examined(storemount, code=ExitCode.TROUBLE_FOUND)
        assert (found["mounts"]["level"], found["mounts"]["remedy"]) == ("FAIL", f"clean it: storemount unmount {mount.point}")
        assert mount.mounted


@pytest.mark.timeout(60)
def test_S14_a_mount_that_does_not_answer(storemount: Storemount) -> None:
    with mounted(Mount(storemount, "default")) as mount:
        os.kill(mount.pid, signal.SIGSTOP)
        try:
            found = examined(storemount, code=ExitCode.TROUBLE_FOUND)
        finally:
            os.kill(mount.pid, signal.SIGCONT)
        assert f"{mount.point} (default) does not answer" in found["mounts"]["said"]


def test_a_mountpoint_that_is_none(storemount: Storemount) -> None:
    found = examined(storemount, "default", "absent", code=ExitCode.TROUBLE_FOUND)
    assert "mkdir -p" in found["mountpoint"]["remedy"]


def test_where_a_bucket_is_named_by_its_uri(storemount: Storemount, bucket: BucketClient) -> None:
    """With what the environment says of it."""
    server = bucket.server
    environ = {"AWS_ACCESS_KEY_ID": server.key, "AWS_SECRET_ACCESS_KEY": server.secret, "AWS_ENDPOINT_URL": server.endpoint}
    found = of_store(examined(storemount, bucket.uri, code=ExitCode.OK, environ={**environ, "AWS_DEFAULT_REGION": "us-east-1"}))
    assert found["clock"]["level"] == found["removing"]["level"] == "OK"
