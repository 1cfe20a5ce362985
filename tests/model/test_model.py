"""The mount against a reference model (S1, S5, S6, S10, S11): chance chooses what programs do, and when the store answers.

Every answer of the mount must be the model's, also when its daemon is killed and another one takes up its journal; at the end the store
must hold the model's files object by object, its directories and nothing else, and another mount must show the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from storemount.errors import Unavailable
from storemount.stores.base import Artifact, ArtifactStore, Source
from storemount.stores.local import LocalStore
from tests.model.driver import Driver, Outsider, Step
from tests.model.reference import Reference
from tests.support.bare import BareMount, bare_mount, close_descriptors, faultless, objects, shown, without_threads
from tests.support.faulty import FaultyStore, PromptMemoryStore


@pytest.fixture(autouse=True, scope="module")
def no_threads() -> Iterator[None]:
    """Time jumps when nobody works, and who waits for a thread looks as if he did not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio.to_thread, "run_sync", without_threads)
        yield


NAMES = ("mkdir", "rmdir", "unlink", "rename", "rename", "rename", "list", "stat")
FILES = (
    "create",
    "create",
    "create",
    "open",
    "open",
    "close",
    "write",
    "write",
    "truncate",
    "read",
    "read",
    "get",
    "fsync",
    "sleep",
    "sleep",
)
VERBS = NAMES + FILES
REMOUNT = "remount"
"""The daemon is killed, and the next one begins (S7)."""

BYTE = st.integers(0, 255)
STEPS = st.lists(st.builds(Step, st.sampled_from((*VERBS, REMOUNT)), BYTE, BYTE, BYTE), min_size=10, max_size=60)


def shape(reference: Reference) -> dict[str, bytes]:
    """As `shown` tells it."""
    links = {f"{path} ->": target for path, target in reference.links().items()}
    return {**reference.files(), **links, **{f"{path}/": b"" for path in reference.folders()}}


async def _compare(m: BareMount, reference: Reference, staging: Path) -> None:
    await m.settle()
    held, suffix = await objects(m.store), m.store.traits.link_suffix
    links = {f"{path}{suffix}": target for path, target in reference.links().items()}
    assert {key: data for key, data in held.items() if not key.endswith("/")} == {**reference.files(), **links}
    async with bare_mount(faultless(m.store), staging) as other:
        assert await shown(other) == shape(reference)


async def _run(store: ArtifactStore, folder: Path, steps: Sequence[Step], *, ttl: float) -> None:
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    reference, driver = Reference(), None
    lives = _lives(steps)
    for number, life in enumerate(lives):
        async with bare_mount(store, folder / "one", ttl=ttl) as m:
            if driver is None:
                driver = Driver(m, reference)
            else:
                driver.follow(m)
            for step in life:
                await driver.do(step)
            if number == len(lives) - 1:
                await driver.close_all()
                await _compare(m, reference, folder / "two")


def _lives(steps: Sequence[Step]) -> list[list[Step]]:
    """What each daemon has to do."""
    lives: list[list[Step]] = [[]]
    for step in steps:
        if step.verb == REMOUNT:
            lives.append([])
        else:
            lives[-1].append(step)
    return lives


def _check(make: Callable[[Path], ArtifactStore], steps: Sequence[Step], *, ttl: float) -> None:
    with TemporaryDirectory() as folder:
        try:
            trio.run(lambda: _run(make(Path(folder)), Path(folder), steps, ttl=ttl), clock=MockClock(autojump_threshold=0))
        finally:
            close_descriptors(Path(folder))


def _prompt(folder: Path) -> ArtifactStore:
    return PromptMemoryStore()


def _slow(folder: Path) -> ArtifactStore:
    return FaultyStore.random_delays(PromptMemoryStore(), random.Random(1), 2.0)


class _LateMemoryStore(PromptMemoryStore):
    """What is asked of it is done at once, and told later: a daemon that is killed meanwhile does not know."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._dice = dice

    async def write(self, key: str, source: Source, *, over: Artifact | None = None, absent: bool = False) -> Artifact:
        artifact = await super().write(key, source, over=over, absent=absent)
        await trio.sleep(self._dice.uniform(0, 2))
        return artifact

    async def copy(self, artifact: Artifact, key: str) -> Artifact:
        copied = await super().copy(artifact, key)
        await trio.sleep(self._dice.uniform(0, 2))
        return copied

    async def delete(self, keys: Sequence[str]) -> None:
        await super().delete(keys)
        await trio.sleep(self._dice.uniform(0, 2))


def _late(folder: Path) -> ArtifactStore:
    return _LateMemoryStore(random.Random(3))


def _broken(folder: Path) -> ArtifactStore:
    """Slow, and a tenth of its requests fail."""
    dice = random.Random(2)
    store = FaultyStore.random_delays(PromptMemoryStore(), dice, 1.0)
    for verb in ("stat", "list", "read", "write", "copy"):
        store.fail_sometimes(verb, Unavailable("503"), lambda: dice.random() < 0.1)
    return store


def _local(folder: Path) -> ArtifactStore:
    (folder / "store").mkdir()
    return LocalStore(str(folder / "store"))


@pytest.mark.parametrize("ttl", [0.0, 10.0, float("inf")])
@pytest.mark.parametrize("make", [_prompt, _slow, _late, _broken])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
@given(steps=STEPS)
def test_S1_S5_S10_S11_the_mount_is_the_model(make: Callable[[Path], ArtifactStore], ttl: float, steps: Sequence[Step]) -> None:
    _check(make, steps, ttl=ttl)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
@given(steps=STEPS)
def test_S1_S5_S10_S11_the_mount_of_a_local_store_is_the_model(steps: Sequence[Step]) -> None:
    _check(_local, steps, ttl=10.0)


async def _program(driver: Driver, dice: random.Random, steps: int) -> None:
    for _ in range(steps):
        await driver.do(Step(dice.choice(VERBS), dice.randrange(256), dice.randrange(256), dice.randrange(256)))
    await driver.close_all()


async def _other_client(outsider: Outsider, dice: random.Random, steps: int) -> None:
    for _ in range(steps):
        await outsider.do(Step("outside", dice.randrange(256), dice.randrange(256), dice.randrange(256)))


async def _run_at_once(store: ArtifactStore, folder: Path, seed: int, steps: int) -> None:
    for name in ("one", "two", "three"):
        (folder / name).mkdir()
    reference = Reference()
    async with bare_mount(store, folder / "one", ttl=5) as m:
        outsider = Outsider(m, 5, folder / "three")
        async with trio.open_nursery() as nursery:
            for number in range(4):
                top = f"program-{number}"
                await m.mkdir(top)
                reference.mkdir(top)
                nursery.start_soon(_program, Driver(m, reference, top), random.Random(seed * 10 + number), steps)
            nursery.start_soon(_other_client, outsider, random.Random(seed * 10 + 9), steps // 5)
        reference.add("outside", outsider.files)
        await _compare(m, reference, folder / "two")


@pytest.mark.parametrize("seed", range(6))
def test_S1_S3_S5_S10_programs_and_another_client_at_once_each_in_a_directory(seed: int) -> None:
    """Four programs at once, each with a directory of its own, and another client of the store: the worker and the listings are shared."""
    with TemporaryDirectory() as folder:
        trio.run(lambda: _run_at_once(_slow(Path(folder)), Path(folder), seed, 150), clock=MockClock(autojump_threshold=0))
