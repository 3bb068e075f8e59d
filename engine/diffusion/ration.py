"""Limits how often something costly may be tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable


class Ration:
    """Grants a try, and the next one only after a pause; each try doubles the pause. One limit for each key.

    Args:
        first: Seconds before the second try.
        most: The longest pause in seconds.
        clock: Seconds by a clock that never goes back.
    """

    def __init__(self, first: float, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._first = first
        self._most = most
        self._clock = clock
        self._next: dict[Hashable, tuple[float, float]] = {}

    def left(self, key: Hashable) -> float:
        """Return the seconds until the next try is granted; 0 when it is granted now."""
        granted = self._next.get(key)
        return 0.0 if granted is None else max(0.0, granted[0] - self._clock())

    def take(self, key: Hashable) -> bool:
        """Take a try; False when the pause is not over."""
        if self.left(key):
            return False
        _, pause = self._next.get(key, (0.0, self._first))
        self._next[key] = (self._clock() + pause, min(pause * 2, self._most))
        return True

    def forget(self, key: Hashable) -> None:
        """Grant the next try at once: the last one succeeded."""
        self._next.pop(key, None)
