"""How long the device's process may be silent before it counts as hung."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of the supervision, in seconds unless said otherwise.

    Attributes:
        silence: With work open, silence is allowed this long at least.
        steps: With work open, silence is allowed for this many of its own steps.
        loading: Silence that is allowed while the model is loaded (20 GB from a slow disk take minutes).
        first_pause: Before the first new start; doubled for each start that never became warm.
        longest_pause: The pause grows to this.
        starts: So many starts in a row that end before the engine was ever warm, and it is broken.
        closing: How long the process may take to end by itself before it is killed.
    """

    silence: float = 60.0
    steps: float = 20.0
    loading: float = 1800.0
    first_pause: float = 1.0
    longest_pause: float = 60.0
    starts: int = 3
    closing: float = 3.0

    def pause(self, failures: int) -> float:
        """Return the pause before the next start, after ``failures`` starts in a row that never became warm."""
        return min(self.longest_pause, self.first_pause * 2.0 ** min(failures, 30))


@dataclass(slots=True)
class StepTimer:
    """What a step takes on this device, by the pixels of a picture and the pictures that are drawn together."""

    _seconds: dict[tuple[int, int], float] = field(default_factory=dict)

    def saw(self, pixels: int, count: int, seconds: float) -> None:
        """Note how long a step of ``count`` pictures of so many pixels took; the slow ones weigh more."""
        before = self._seconds.get((pixels, count), seconds)
        self._seconds[pixels, count] = max(seconds, (before + seconds) / 2)

    def step(self, pixels: int, count: int) -> float:
        """Return how long a step may be expected to take at most; 0 when nothing was seen yet.

        Attention makes a picture of twice the pixels take up to four times as long, twice as many pictures up to
        twice as long; of several guesses the least is the nearest.
        """
        guesses = (s * max(1.0, pixels / p) ** 2 * max(1.0, count / n) for (p, n), s in self._seconds.items())
        return min(guesses, default=0.0)
