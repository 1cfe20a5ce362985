"""A clock for tests in which time jumps: minutes of back-off, delay and expiry in milliseconds.

What it is: the fixture `clock`; a test that takes it runs under it.
What it is not: a way to make code faster; work takes what it takes, only waiting for nothing is skipped.
Invariant: time stands still while any task works; when all have been idle for `IDLE` real seconds it jumps to the next deadline.
`IDLE` is not 0 because a task that waits for a worker thread looks idle, and a hop to a thread takes about 0.1 ms.
"""

from __future__ import annotations

import pytest
from trio.testing import MockClock

IDLE = 0.01


@pytest.fixture
def clock() -> MockClock:
    """Time jumps to the next deadline when everybody waits."""
    return MockClock(autojump_threshold=IDLE)
