"""Exponential back-off between attempts that fail or are costly."""

from __future__ import annotations

import time
from collections.abc import Callable


class Backoff:
    """Each failure doubles the pause before the next attempt, up to a limit.

    Args:
        first: The first pause in seconds.
        longest: The longest pause in seconds.
        clock: Monotonic seconds.

    Attributes:
        failures: Failures in a row.
    """

    def __init__(self, first: float, longest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._first = first
        self._longest = longest
        self._clock = clock
        self._until = float("-inf")
        self.failures = 0

    @property
    def pause(self) -> float:
        """Seconds before the next attempt."""
        return min(self._longest, self._first * 2.0 ** min(max(0, self.failures - 1), 30))

    @property
    def resting(self) -> bool:
        """Whether the pause after the last failure is not over."""
        return self._clock() < self._until

    def fail(self) -> None:
        """Count a failure; its pause begins."""
        self.failures += 1
        self._until = self._clock() + self.pause

    def succeed(self) -> None:
        """Begin again with the first pause."""
        self.failures = 0
        self._until = float("-inf")
