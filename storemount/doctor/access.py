"""What a store lets us do, and how fast: each verb tried with a probe that is removed again.

What it is: listing, reading, writing and removing, the time that a request takes, and what moves in a second.
What it is not: conditions on writes (`races`), or a benchmark.
Invariants: nothing but keys that begin with `PROBE` is written or removed; no other program has such names, and none stays behind. A
store that is only to be read is not written to. Time is bounded: a few requests, and `LONGEST` seconds for each direction.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import NamedTemporaryFile

import trio

from storemount.config import KIB, MIB
from storemount.doctor.finding import Finding, Report, fail, ok, warn
from storemount.errors import (
    Denied,
    Expired,
    Invalid,
    MissingStore,
    NotFound,
    ReadOnly,
    StoreMountError,
    TimedOut,
    Unreachable,
)
from storemount.stores.base import Artifact, ArtifactStore, Source

PROBE = ".storemount-doctor-"
"""How the key of every probe begins."""

TIMES = 5
"""Requests for the time that one takes."""

SLOW = 0.5
"""Seconds from which a request is slow: a folder with a thousand names takes one, a small file another."""

AMOUNT = 4 * MIB
LONGEST = 10.0
LAST_WORDS = 10.0
"""Seconds for the removal of what a cancelled doctor has left."""

ALLOW_READING = "allow it for this prefix (on S3: GetObject)"
READ_ONLY = "allow it for this prefix, or mount with --read-only (and: storemount doctor --read-only)"


@dataclass(frozen=True, slots=True)
class Probes:
    """A name that nobody else has, and a file with bytes that cannot be squeezed."""

    key: str
    file: str

    def source(self, size: int) -> Source:
        return Source(self.file, size)

    def other(self, number: int) -> str:
        """Further keys."""
        return f"{self.key}-{number}"


@asynccontextmanager
async def probing(store: ArtifactStore, count: int) -> AsyncIterator[Probes]:
    """Probes, with up to `count` further keys; all of them are gone from the store when the block is left, however it is left."""
    with NamedTemporaryFile(prefix="storemount-") as file:
        await trio.to_thread.run_sync(Path(file.name).write_bytes, secrets.token_bytes(AMOUNT))
        probes = Probes(PROBE + secrets.token_hex(16), file.name)
        try:
            yield probes
        except BaseException:
            with trio.move_on_after(LAST_WORDS) as limit:
                limit.shield = True
                await store.delete([probes.key, *map(probes.other, range(count))])
            raise


async def reachable(store: ArtifactStore, report: Report) -> bool:
    """Whether the store answers, and takes our credentials; the time of a request when it does."""
    try:
        await store.check()
    except StoreMountError as error:
        report(unanswered(store.uri, error))
        return False
    report(ok("credentials", f"{store.uri} takes them, and can be listed"))
    times = []
    for _ in range(TIMES):
        began = trio.current_time()
        await store.check()
        times.append(trio.current_time() - began)
    usual = median(times)
    said = f"a request takes {usual * 1000:.1f} ms ({min(times) * 1000:.1f} to {max(times) * 1000:.1f})"
    remedy = "use a store, or a machine, that is nearer; a longer --ttl asks less often"
    report(warn("latency", said, remedy) if usual >= SLOW else ok("latency", said))
    for limit in store.traits.limits:
        report(warn("limits", limit, "see the README on what this kind of store does"))
    return True


def unanswered(where: str, error: StoreMountError) -> Finding:
    """Why the first request failed: whose move is it?"""
    if isinstance(error, MissingStore):
        return fail("store", f"{where}: {error}", "create it, or mend the store's path")
    if isinstance(error, Expired):
        return fail("credentials", f"{where}: {error}", "renew them where this store takes them from")
    if isinstance(error, Denied):
        return fail("credentials", f"{where}: refused ({error})", "check the credentials and what they allow")
    if isinstance(error, Invalid):
        return fail("store", f"{where}: {error}", "storemount artifact-store update NAME --ATTRIBUTE=VALUE")
    if isinstance(error, TimedOut | Unreachable):
        return fail(
            "endpoint", f"{where}: no answer ({error})", "check the endpoint, its name and port, the network, and a proxy's variables"
        )
    return fail("endpoint", f"{where}: {error}", "look at the server; it answered, with a failure of its own")


async def reading(store: ArtifactStore, report: Report) -> None:
    """Read what is there already, as nothing is to be written."""
    try:
        artifact = await _some_file(store)
        if artifact is None:
            report(ok("reading", "not tried: there is no file at the top of this store"))
            return
        await _fetched(store, artifact, min(artifact.size, AMOUNT), report)
    except StoreMountError as error:
        report(fail("reading", str(error), ALLOW_READING))


async def _some_file(store: ArtifactStore) -> Artifact | None:
    async with aclosing(store.list("", recursive=True)) as pages:
        async for page in pages:
            return next((child.artifact for child in page if child.artifact is not None and child.artifact.size), None)
    return None


async def writing(store: ArtifactStore, probes: Probes, report: Report) -> Artifact | None:
    """Write a probe; it, if that could be done."""
    try:
        made = await store.write(probes.key, probes.source(64 * KIB))
    except (Denied, ReadOnly) as error:
        report(fail("writing", f"refused ({error})", READ_ONLY))
        return None
    except StoreMountError as error:
        report(fail("writing", str(error), "look at the store's quota and policies"))
        return None
    report(ok("writing", "a probe was written"))
    return made


async def read_back(store: ArtifactStore, probes: Probes, made: Artifact, report: Report) -> bool:
    """Whether the probe can be read, and is what was written."""
    try:
        came = await store.read(made, 0, made.size)
    except StoreMountError as error:
        report(fail("reading", f"the probe could be written, and not be read ({error})", ALLOW_READING))
        return False
    same = bytes(came) == await trio.to_thread.run_sync(_beginning, probes.file, made.size)
    if same:
        report(ok("reading", "the probe was read"))
    else:
        report(fail("reading", "the probe came back with other bytes", "find what stands between here and the store (a proxy, a gateway)"))
    return same


def _beginning(path: str, size: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(size)


async def bandwidth(store: ArtifactStore, probes: Probes, report: Report) -> None:
    """What moves in a second, in both directions. Raises what the store raises."""
    began = trio.current_time()
    with trio.move_on_after(LONGEST) as limit:
        made = await store.write(probes.key, probes.source(AMOUNT))
        report(ok("upload", _speed(AMOUNT, trio.current_time() - began)))
        await _fetched(store, made, AMOUNT, report)
    if limit.cancelled_caught:
        said = f"{AMOUNT // MIB} MiB do not go up and come back within {LONGEST:.0f} s"
        report(warn("bandwidth", said, "look at the network; a longer --deadline helps large files"))


async def _fetched(store: ArtifactStore, artifact: Artifact, size: int, report: Report) -> None:
    began = trio.current_time()
    await store.read(artifact, 0, size)
    report(ok("download", _speed(size, trio.current_time() - began)))


def _speed(size: int, seconds: float) -> str:
    return f"{size / MIB / max(seconds, 1e-6):.1f} MiB/s ({size / MIB:.1f} MiB at once)"


async def removing(store: ArtifactStore, keys: list[str], report: Report) -> None:
    """Take the probes away, and see that they are gone."""
    left = f"delete {keys[0]!r} with another tool of the store"
    try:
        await store.delete(keys)
    except (Denied, ReadOnly) as error:
        report(
            fail(
                "removing", f"refused ({error}), so that nothing can be removed or renamed in a mount", f"allow it for this prefix; {left}"
            )
        )
    except StoreMountError as error:
        report(fail("removing", str(error), left))
    else:
        await _gone(store, keys[0], left, report)


async def _gone(store: ArtifactStore, key: str, left: str, report: Report) -> None:
    try:
        await store.describe(key)
    except NotFound:
        report(ok("removing", "the probe is gone again"))
    except StoreMountError as error:
        report(ok("removing", f"it was not refused; whether the probe is gone could not be seen ({error})"))
    else:
        report(fail("removing", "the probe is still there after its removal", f"look for retention or locks in the store; {left}"))
