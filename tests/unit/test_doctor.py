"""The doctor's checks, one by one: each against what it is to find."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from storemount.doctor.access import PROBE, bandwidth, probing, reachable, removing, unanswered
from storemount.doctor.confinement import Surroundings, confinement
from storemount.doctor.endpoint import clock, endpoint_of, skew
from storemount.doctor.finding import Finding, Level
from storemount.doctor.folders import file_system_of, folders
from storemount.doctor.machine import machine
from storemount.doctor.mounts import answer_of, mountpoint
from storemount.doctor.names import fault_of, names
from storemount.doctor.races import races
from storemount.errors import Denied, Expired, Invalid, MissingStore, StoreMountError, TimedOut, Unavailable, Unreachable
from storemount.kernel.mountpoint import Host
from storemount.stores.base import EMPTY, Artifact, Source
from storemount.stores.conditions import Condition
from storemount.stores.flavors import StoreSpec
from storemount.stores.memory import MemoryStore
from tests.support.faults import faulty_server, refused_address, response, scripted
from tests.support.faulty import FaultyStore, PromptMemoryStore

Found = dict[str, Finding]


def by_subject(findings: Sequence[Finding]) -> Found:
    found = {finding.subject: finding for finding in findings}
    assert len(found) == len(findings), "each subject once"
    return found


# machine


def host(tmp_path: Path, *, uid: int = 1000, device: str = "/dev/null", settings: str = "", tool: str | None = None) -> Host:
    (tmp_path / "fuse.conf").write_text(settings)
    return Host(uid, Path(device), tmp_path / "fuse.conf", lambda name: tool, Path("/proc/self/mounts"))


def looked_at(host: Host, files: int = 65536) -> Found:
    return by_subject(list(machine(host, files)))


def setuid_tool(tmp_path: Path, mode: int) -> str:
    tool = tmp_path / "fusermount3"
    tool.touch()
    tool.chmod(mode)
    return str(tool)


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes a file that is setuid root")
def test_a_machine_that_can_mount(tmp_path: Path) -> None:
    found = looked_at(host(tmp_path, settings="user_allow_other\n", tool=setuid_tool(tmp_path, 0o4755)))
    assert {finding.level for finding in found.values()} == {Level.OK}
    assert set(found) == {"device", "fusermount3", "allow-other", "open files"}


def test_no_device(tmp_path: Path) -> None:
    found = looked_at(host(tmp_path, device=str(tmp_path / "fuse"), tool="/bin/true"))
    assert (found["device"].level, found["device"].remedy) == (Level.FAIL, "load the kernel's module: modprobe fuse")


@pytest.mark.parametrize(("uid", "level"), [(1000, Level.FAIL), (0, Level.WARN)])
def test_no_fusermount3(tmp_path: Path, uid: int, level: Level) -> None:
    """Root mounts without it, as long as there is umount."""
    without = Host(uid, Path("/dev/null"), tmp_path / "fuse.conf", lambda name: "/bin/umount" if name == "umount" else None)
    found = looked_at(without)["fusermount3"]
    assert found.level == level and "apt install fuse3" in found.remedy


def test_a_fusermount3_that_is_not_setuid(tmp_path: Path) -> None:
    found = looked_at(host(tmp_path, tool=setuid_tool(tmp_path, 0o755)))["fusermount3"]
    assert found.level is Level.FAIL and "chmod u+s" in found.remedy


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes a file that is setuid root")
@pytest.mark.parametrize(("uid", "level"), [(1000, Level.FAIL), (0, Level.OK)])
def test_no_table_of_mounts(tmp_path: Path, uid: int, level: Level) -> None:
    """As in a root that debootstrap made: fusermount3 mounts, and does not unmount. Root has no need of it."""
    without = replace(host(tmp_path, uid=uid, tool=setuid_tool(tmp_path, 0o4755)), table=tmp_path / "mtab")
    found = looked_at(without)["fusermount3"]
    assert found.level is level and ("ln -s" in found.remedy) == (level is Level.FAIL)


def test_others_are_not_let_in(tmp_path: Path) -> None:
    found = looked_at(host(tmp_path, tool=setuid_tool(tmp_path, 0o755)))["allow-other"]
    assert found.level is Level.WARN and "user_allow_other" in found.said


def test_few_descriptors(tmp_path: Path) -> None:
    for files, level in ((1024, Level.WARN), (65536, Level.OK), (resource.RLIM_INFINITY, Level.OK)):
        assert looked_at(host(tmp_path, tool="/bin/true"), files)["open files"].level is level


# confinement

SHARED = "22 1 0:21 / / rw shared:1 - ext4 /dev/root rw"
PRIVATE = SHARED.replace(" shared:1", "")


def surroundings(
    tmp_path: Path,
    *,
    uid: int = 1000,
    uid_map: str = "0 0 4294967295",
    capabilities: str = "000001ffffffffff",
    fresh: int = 0,
    mounts: str = SHARED,
    release: str = "6.1.0-13-amd64",
    profile: str = "unconfined",
    files: Sequence[str] = (),
    environ: dict[str, str] | None = None,
) -> Surroundings:
    """A machine as its /proc and its files tell it."""
    told = {
        "self/status": f"Name:\tx\nNoNewPrivs:\t{fresh}\nCapEff:\t{capabilities}\nCapBnd:\t{capabilities}\n",
        "self/uid_map": f"         {uid_map}\n",
        "self/mountinfo": mounts + "\n",
        "sys/kernel/osrelease": release,
        "self/attr/apparmor/current": profile + "\n",
    }
    for name, text in told.items():
        path = tmp_path / "proc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in files:
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Surroundings(uid, environ or {}, tmp_path / "proc", tmp_path / "root")


def confined(here: Surroundings) -> Found:
    return by_subject(list(confinement(here)))


def test_nothing_confines(tmp_path: Path) -> None:
    assert {finding.level for finding in confined(surroundings(tmp_path)).values()} == {Level.OK}


@pytest.mark.parametrize(
    ("files", "environ", "engine"),
    [
        ([".dockerenv"], {}, "docker"),
        (["run/.containerenv"], {}, "podman"),
        ([], {"container": "lxc"}, "lxc"),
        ([".dockerenv"], {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
    ],
)
def test_a_container_and_who_sees_its_mounts(tmp_path: Path, files: list[str], environ: dict[str, str], engine: str) -> None:
    found = confined(surroundings(tmp_path, files=files, environ=environ, mounts=PRIVATE))
    assert engine in found["container"].said
    assert found["visibility"].level is Level.WARN and "rshared" in found["visibility"].remedy


@pytest.mark.parametrize("uid", [0, 1000])
def test_a_container_without_the_capability(tmp_path: Path, uid: int) -> None:
    found = confined(surroundings(tmp_path, uid=uid, capabilities="00000000a80425fb", files=[".dockerenv"]))["privileges"]
    assert found.level is Level.FAIL and "--cap-add SYS_ADMIN" in found.remedy


@pytest.mark.parametrize(("uid", "level"), [(1000, Level.FAIL), (0, Level.OK)])
def test_no_new_privileges_disarm_fusermount3(tmp_path: Path, uid: int, level: Level) -> None:
    assert confined(surroundings(tmp_path, uid=uid, fresh=1))["privileges"].level == level


@pytest.mark.parametrize(("release", "level"), [("4.15.0-20-generic", Level.FAIL), ("4.18.0", Level.OK), ("6.12.1", Level.OK)])
def test_a_user_namespace_needs_a_kernel_that_mounts_in_it(tmp_path: Path, release: str, level: Level) -> None:
    found = confined(surroundings(tmp_path, uid=0, uid_map="0 1000 1", release=release))["user namespace"]
    assert found.level == level and release in found.said


def test_profiles_of_apparmor(tmp_path: Path) -> None:
    found = confined(surroundings(tmp_path / "one", profile="docker-default (enforce)"))["AppArmor"]
    assert found.level is Level.WARN and "apparmor=unconfined" in found.remedy
    found = confined(surroundings(tmp_path / "two", files=["etc/apparmor.d/fusermount3", "sys/module/apparmor"]))["AppArmor"]
    assert found.level is Level.WARN and "local/fusermount3" in found.remedy


def test_this_very_machine_can_be_looked_at() -> None:
    assert len(list(confinement(Surroundings(os.getuid(), os.environ)))) == 5


# the disk, and mountpoints


def test_a_staging_folder_that_is_to_be_made(tmp_path: Path) -> None:
    found = by_subject(list(folders(tmp_path / "a" / "b")))
    assert "MiB are free" in found["disk budget"].said and str(tmp_path / "a" / "b") in found["staging folder"].said
    assert not (tmp_path / "a").exists()


def test_a_staging_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (found,) = list(folders(tmp_path / "file" / "staging"))
    assert found.level is Level.FAIL and "--staging-dir" in found.remedy


@pytest.mark.skipif(file_system_of("/dev/shm") != "tmpfs", reason="this machine has no tmpfs there")
def test_S7_a_staging_folder_in_memory() -> None:
    found = by_subject(list(folders(Path("/dev/shm"))))["staging folder"]
    assert found.level is Level.WARN and "does not survive" in found.said


def test_what_never_answers_is_not_waited_for() -> None:
    released = threading.Event()
    assert answer_of(released.wait, 0.01) is None
    released.set()
    assert answer_of(lambda: True, 5.0) is True


def test_a_mountpoint(tmp_path: Path) -> None:
    assert mountpoint(str(tmp_path), os.getuid()).level is Level.OK
    (tmp_path / "file").touch()
    assert mountpoint(str(tmp_path), os.getuid()).level is Level.FAIL
    assert mountpoint("/proc", os.getuid()).level is Level.OK
    assert "mkdir -p" in mountpoint(str(tmp_path / "absent"), os.getuid()).remedy


# the server's time


def dated(ahead: float) -> Callable[[str], bytes]:
    """A server that refuses everything, and whose clock is so many seconds ahead."""
    return lambda head: response("403 Forbidden", lines=f"Date: {formatdate(time.time() + ahead, usegmt=True)}\r\n")


@pytest.mark.parametrize(
    ("ahead", "level"), [(0.0, Level.OK), (-20.0, Level.OK), (-120.0, Level.WARN), (120.0, Level.WARN), (3600.0, Level.FAIL)]
)
def test_a_clock_is_compared_with_the_servers(ahead: float, level: Level) -> None:
    with faulty_server(scripted(dated(ahead))) as url:
        found = skew(url)
    assert found is not None and abs(found + ahead) < 3
    assert clock(found).level == level
    assert (clock(found).remedy != "") == (level is not Level.OK)


def test_a_server_that_tells_no_time() -> None:
    with faulty_server(scripted(lambda head: response("200 OK"))) as url:
        assert skew(url) is None
    with refused_address() as url:
        assert skew(url) is None


def test_no_redirection_is_followed() -> None:
    """Whoever is asked is the store's own server."""
    asked: list[str] = []

    def sends_away(head: str) -> bytes:
        asked.append(head)
        return response("307 Temporary Redirect", lines=f"Location: /elsewhere\r\nDate: {formatdate(usegmt=True)}\r\n")

    with faulty_server(scripted(sends_away)) as url:
        assert skew(url) is not None
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("spec", "url"),
    [
        (StoreSpec("x", "s3", "s3://b", {"endpoint": "http://here:1"}), "http://here:1"),
        (StoreSpec("x", "s3", "s3://b", {"client_kwargs": '{"endpoint_url": "http://here:2"}'}), "http://here:2"),
        (StoreSpec("x", "s3", "s3://b", {"region": "eu-central-1"}), "https://s3.eu-central-1.amazonaws.com"),
        (StoreSpec("x", "gcp", "gs://b", {"endpoint": "http://here:3"}), "http://here:3"),
        (StoreSpec("x", "azure", "abfs://c", {"account_name": "a"}), "https://a.blob.core.windows.net"),
        (StoreSpec("x", "azure", "abfs://c"), None),
        (StoreSpec("x", "local", "/srv"), None),
        (StoreSpec("x", "custom", "memory://x"), None),
    ],
)
def test_the_server_behind_a_description(spec: StoreSpec, url: str | None) -> None:
    assert endpoint_of(spec, {}) == url


# the store


class Blind(PromptMemoryStore):
    """Looks before it writes, as for a server that takes a condition and ignores it."""

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        with suppress(StoreMountError):
            Condition(over, absent).check(key, self._objects[key][0] if key in self._objects else None)
        return await super().write(key, source)


@pytest.mark.parametrize(("store", "level"), [(PromptMemoryStore(), Level.OK), (Blind(), Level.WARN)])
async def test_S9_conditions_are_tried_by_writers_that_race(store: MemoryStore, level: Level) -> None:
    told: list[Finding] = []
    async with probing(store, 1) as probes:
        await races(store, probes, told.append)
        await removing(store, [probes.key, probes.other(0)], told.append)
    assert [(finding.subject, finding.level) for finding in told] == [("conditional writes", level), ("removing", Level.OK)]
    assert not store._objects


async def test_probes_are_gone_when_the_doctor_is_stopped() -> None:
    store = PromptMemoryStore()
    with pytest.raises(KeyboardInterrupt):
        async with probing(store, 1) as probes:
            await bandwidth(store, probes, lambda finding: None)
            await store.write(probes.other(0), EMPTY)
            assert len(store._objects) == 2
            raise KeyboardInterrupt
    assert not store._objects


async def test_a_removal_that_changes_nothing_is_noticed() -> None:
    class Retained(PromptMemoryStore):
        async def delete(self, keys: Sequence[str]) -> None:
            """Says yes."""

    store, told = Retained(), list[Finding]()
    async with probing(store, 0) as probes:
        await store.write(probes.key, EMPTY)
        await removing(store, [probes.key], told.append)
    assert told[0].level is Level.FAIL and "retention" in told[0].remedy


async def test_a_slow_store(autojump_clock: object) -> None:
    store, told = FaultyStore(MemoryStore(), lambda: 0.7), list[Finding]()
    assert await reachable(store, told.append)
    assert by_subject(told)["latency"].level is Level.WARN


async def test_bandwidth_ends_in_time(autojump_clock: object) -> None:
    store, told = FaultyStore(PromptMemoryStore(), lambda: 30.0), list[Finding]()
    async with probing(store, 0) as probes:
        await bandwidth(store, probes, told.append)
    assert by_subject(told)["bandwidth"].level is Level.WARN


@pytest.mark.parametrize(
    ("error", "subject"),
    [
        (MissingStore("no such bucket"), "store"),
        (Invalid("another region"), "store"),
        (Denied("no"), "credentials"),
        (Expired("over"), "credentials"),
        (TimedOut("late"), "endpoint"),
        (Unreachable("nobody"), "endpoint"),
        (Unavailable("500"), "endpoint"),
    ],
)
async def test_a_store_that_does_not_answer(error: StoreMountError, subject: str) -> None:
    finding = unanswered("s3://b", error)
    assert (finding.level, finding.subject) == (Level.FAIL, subject)
    assert str(error) in finding.said and finding.remedy


# names


@pytest.mark.parametrize("key", ["a", "a/b", "a/", "dir/.storemount-x.part", "ä" * 127, "a b/..c/d..", "\n"])
def test_S2_keys_that_can_be_shown(key: str) -> None:
    assert fault_of(key) == ""


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("a//b", "empty"),
        ("/a", "empty"),
        ("a//", "empty"),
        ("/", "empty"),
        ("./a", "'.'"),
        ("a/../b", "'..'"),
        ("a\0b", "NUL"),
        ("x" * 256, "255"),
        ("ä" * 128 + "/b", "255"),
    ],
)
def test_S2_keys_that_cannot(key: str, why: str) -> None:
    assert why in fault_of(key)


async def walked(keys: Sequence[str], *, most: int = 1000, longest: float = 60.0) -> list[Finding]:
    store, told = PromptMemoryStore(), list[Finding]()
    for key in keys:
        await store.write(key, EMPTY)
    await names(store, told.append, most=most, longest=longest)
    return told


async def test_S2_each_hidden_key_is_listed() -> None:
    told = await walked(["a//b", "c", "d", "d/e", "d-", "f/", "f", "g/h/i", "g/h", PROBE + "x", "fine/"])
    lines = [str(finding) for finding in told[:-1]]
    assert len(lines) == 5
    for key in ("'a//b'", "'d'", "'f'", "'g/h'", repr(PROBE + "x")):
        assert sum(line.startswith(key) for line in lines) == 1, key
    assert all(finding.level is Level.WARN and finding.remedy for finding in told[:-1])
    assert told[-1].level is Level.OK and told[-1].said == "5 of the 11 keys looked at need another name"


@pytest.mark.parametrize(("most", "longest", "count"), [(1500, 60.0, "1500"), (10000, -1.0, "1000")])
async def test_S2_the_walk_is_bounded_and_says_where_it_stopped(most: int, longest: float, count: str) -> None:
    (told,) = await walked([f"key-{number:04}" for number in range(2500)], most=most, longest=longest)
    assert told.level is Level.WARN and f"all of the {count} keys" in told.said and "--keys" in told.remedy
