"""Limits of the device process's supervision, and how long one of its steps may take."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits, in seconds unless stated otherwise.

    Attributes:
        silence: Shortest limit on the process's silence while requests are open.
        steps: While requests are open, silence is allowed for at least this many of its steps.
        loading: Limit on its silence while a model is loaded (20 GB from a slow disk take minutes).
        first_pause: Pause before the first restart; doubled for each start that never became warm.
        longest_pause: Longest pause before a restart.
        starts: Starts in a row that may end before the engine was ever warm; then it is broken.
        closing: How long the process may take to end by itself before it is killed.
    """

    silence: float = 60.0
    steps: float = 20.0
    loading: float = 1800.0
    first_pause: float = 1.0
    longest_pause: float = 60.0
    starts: int = 3
    closing: float = 3.0


@dataclass(slots=True)
class StepTimer:
    """Seconds that a step takes on this device, by pixels and batch size."""

    _seconds: dict[tuple[int, int], float] = field(default_factory=dict)

    def record(self, pixels: int, count: int, seconds: float) -> None:
        """Record how long a step of ``count`` pictures took; slow steps weigh more."""
        before = self._seconds.get((pixels, count), seconds)
        self._seconds[pixels, count] = max(seconds, (before + seconds) / 2)

    def limit(self, pixels: int, count: int) -> float:
        """Return how long a step may take at most; 0 if nothing was recorded yet.

        Attention makes a picture of twice the pixels take up to four times as long, and twice as many pictures take up
        to twice as long; the least of several estimates is the nearest.
        """
        estimates = (s * max(1.0, pixels / p) ** 2 * max(1.0, count / n) for (p, n), s in self._seconds.items())
        return min(estimates, default=0.0)
