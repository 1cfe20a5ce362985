"""How many names a mount knows is bounded (S15), and nobody notices which of them it has let go of."""

from __future__ import annotations

from pathlib import Path

import pytest
from trio.testing import MockClock

from storemount.names.forgetting import AGES, Forgetting
from storemount.stores.memory import MemoryStore
from tests.support.bare import BareMount, bare_mount

FILES = 3000
MOST = 1000
LONG = AGES[-1] + 60


@pytest.fixture
def large(tmp_path: Path) -> MemoryStore:
    """Three directories of a thousand files."""
    store = MemoryStore()
    for number in range(FILES):
        store._put(f"d{number % 3}/{number:05}", b"data")
    return store


class Kernel:
    """What the kernel is asked to let go of."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bytes]] = []

    def __call__(self, parent: int, name: bytes) -> None:
        self.asked.append((parent, name))


def forgetting(m: BareMount, kernel: Kernel, most: int = MOST) -> Forgetting:
    return Forgetting(m.mount.tree, m.store.traits, most, kernel)


async def test_S15_names_that_nobody_uses_are_let_go_and_found_again(mock_clock: MockClock, large: MemoryStore, staging: Path) -> None:
    kernel = Kernel()
    async with bare_mount(large, staging) as m:
        for folder in ("d0", "d1", "d2"):
            await m.names(folder)
        await forgetting(m, kernel).look()
        assert len(m.mount.tree) == FILES + 4, "what was just learnt may be about to be used"
        mock_clock.jump(LONG)
        await forgetting(m, kernel).look()
        assert MOST // 2 < len(m.mount.tree) <= MOST
        assert not kernel.asked
        for number, folder in enumerate(("d0", "d1", "d2")):
            assert await m.names(folder) == [f"{each:05}" for each in range(number, FILES, 3)]
        assert await m.get("d1/00001") == b"data"
        assert not await m.exists("d1/00000")


async def test_S15_what_the_kernel_holds_goes_once_it_has_let_go(mock_clock: MockClock, large: MemoryStore, staging: Path) -> None:
    kernel = Kernel()
    async with bare_mount(large, staging) as m:
        held = [await m.ino(f"d0/{number:05}") for number in range(0, FILES, 3)]
        mock_clock.jump(LONG)
        await forgetting(m, kernel, 500).look()
        assert all(m.mount.tree.get(ino) is not None for ino in held)
        folder = m.mount.tree.find("d0")
        assert folder is not None and len(kernel.asked) >= 500
        assert {parent for parent, _ in kernel.asked} == {folder.ino}
        await m.fs.forget([(ino, 1) for ino in held])  # type: ignore[list-item]
        await forgetting(m, kernel, 500).look()
        assert len(m.mount.tree) <= 500


async def test_S15_what_only_this_mount_knows_stays(mock_clock: MockClock, large: MemoryStore, staging: Path, tmp_path: Path) -> None:
    """A file on its way, one that is open, one in a directory that somebody reads, a mode that the store does not keep."""
    kernel = Kernel()
    async with bare_mount(large, staging, upload_delay=10_000.0) as m:
        await m.names("d0")
        await m.put("d0/new", b"not in the store")
        fh = await m.open("d0/00003")
        reading = await m.fs.opendir(await m.ino("d1"), m._ctx)
        await m.names("d1")
        for ino, node in list(m.mount.tree._nodes.items()):
            if node.name not in ("", "d1"):
                await m.fs.forget([(ino, node.lookups)])  # type: ignore[list-item]
        mock_clock.jump(LONG)
        await forgetting(m, kernel, 10).look()
        names = {node.name for node in m.mount.tree.every()}
        assert {"new", "00003"} <= names and "00000" not in names
        assert sum(name.isdigit() for name in names) == 1001
        assert await m.read(fh) == b"data" and await m.get("d0/new") == b"not in the store"
        assert len(await m.names("d0")) == 1001
        await m.close(fh)
        await m.fs.releasedir(reading)


async def test_S15_a_directory_that_was_made_here_and_its_files_go_too(mock_clock: MockClock, staging: Path) -> None:
    """As soon as the store has them; what was set on them is in the store."""
    kernel = Kernel()
    store = MemoryStore()
    async with bare_mount(store, staging) as m:
        await m.mkdir("d")
        for number in range(50):
            await m.put(f"d/{number}", b"data")
        await m.settle()
        for ino, node in list(m.mount.tree._nodes.items()):
            await m.fs.forget([(ino, node.lookups)])  # type: ignore[list-item]
        mock_clock.jump(LONG)
        await forgetting(m, kernel, 1).look()
        assert len(m.mount.tree) == 1
        assert len(await m.names("d")) == 50
