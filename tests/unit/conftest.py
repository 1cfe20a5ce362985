"""What the unit tests share: a clock that jumps."""

from tests.support.clock import clock as clock
