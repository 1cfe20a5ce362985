"""What the tests of the verbs share: stores that can be made to fail, and a clock that jumps."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from storemount.stores.local import LocalStore
from tests.support.bare import without_threads
from tests.support.clock import clock as clock
from tests.support.faulty import FaultyStore, PromptMemoryStore


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time jumps when nobody works, and who waits for a thread looks as if he did not."""
    monkeypatch.setattr(trio.to_thread, "run_sync", without_threads)


@pytest.fixture
def store() -> FaultyStore:
    """A flat store."""
    return FaultyStore(PromptMemoryStore())


@pytest.fixture(params=["memory", "local"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FaultyStore:
    """A flat store, and one with real directories, rename and descriptors."""
    if request.param == "memory":
        return FaultyStore(PromptMemoryStore())
    return FaultyStore(LocalStore(str(tmp_path_factory.mktemp("store"))))


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """The folder of the mount's staged files."""
    folder = tmp_path / "staging"
    folder.mkdir()
    return folder
