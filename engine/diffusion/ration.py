"""Rate limit with exponential back-off for costly attempts."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable


class Ration:
    """Permits an attempt, and the next one after a pause that doubles with each attempt. Keys are independent.

    Args:
        first: Seconds before the second attempt.
        most: The longest pause in seconds.
        clock: Monotonic clock in seconds.
    """

    def __init__(self, first: float, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._first = first
        self._most = most
        self._clock = clock
        self._next: dict[Hashable, tuple[float, float]] = {}

    def left(self, key: Hashable) -> float:
        """Return the seconds until the next attempt is permitted; 0 when it is permitted now."""
        granted = self._next.get(key)
        return 0.0 if granted is None else max(0.0, granted[0] - self._clock())

    def take(self, key: Hashable) -> bool:
        """Start an attempt; return False when the pause is not over."""
        if self.left(key):
            return False
        _, pause = self._next.get(key, (0.0, self._first))
        self._next[key] = (self._clock() + pause, min(pause * 2, self._most))
        return True

    def forget(self, key: Hashable) -> None:
        """Permit the next attempt at once, since the last one succeeded."""
        self._next.pop(key, None)
