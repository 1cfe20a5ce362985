"""What the tests of the verbs share: a store that can be made to fail, and a clock that jumps."""

from __future__ import annotations

import pytest

from tests.support.clock import clock as clock
from tests.support.faulty import FaultyStore, PromptMemoryStore


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(PromptMemoryStore())
