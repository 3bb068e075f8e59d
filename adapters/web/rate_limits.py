"""Rate limits: token buckets in memory, by client or by person."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_BUCKETS = 20_000
"""Most buckets in memory; the one that was used longest ago is dropped, as if it were full."""


class RateLimit:
    """Allows ``burst`` at once, and ``per_minute`` in the long run, for each key."""

    def __init__(self, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Return the seconds until the key has something left; 0 if it has now. Takes nothing."""
        return max(0.0, (1 - self._left(key)) / self._rate)

    def take(self, key: str) -> float:
        """Take one; returns 0, or, if nothing is left, the seconds until there is."""
        left = self._left(key)
        if left < 1:
            return (1 - left) / self._rate
        self._buckets[key] = (left - 1, self._clock())
        self._buckets.move_to_end(key)
        if len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return 0.0

    def give_back(self, key: str) -> None:
        """Give back one that was taken."""
        if key in self._buckets:
            self._buckets[key] = (min(float(self._burst), self._left(key) + 1), self._clock())

    def _left(self, key: str) -> float:
        level, at = self._buckets.get(key, (float(self._burst), 0.0))
        return min(float(self._burst), level + (self._clock() - at) * self._rate)
