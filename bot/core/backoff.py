"""Pauses between the tries of something that fails and may come back: each longer than the last, up to a limit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """One series of tries.

    Attributes:
        first: The first pause, in seconds.
        longest: The longest pause, in seconds.
        factor: By how much each pause is longer than the one before.
        tries: How many pauses were handed out since the last success.
    """

    first: float = 1.0
    longest: float = 60.0
    factor: float = 2.0
    tries: int = 0

    @property
    def pause(self) -> float:
        """The pause that comes next, in seconds."""
        # Many tries would overflow a float long before they reach an end.
        pause = self.first
        for _ in range(self.tries):
            pause *= self.factor
            if pause >= self.longest:
                return self.longest
        return min(pause, self.longest)

    def fail(self, at_least: float = 0.0) -> float:
        """Count a failure and return how many seconds to wait, ``at_least`` what the other side asked for."""
        pause = max(self.pause, at_least)
        self.tries += 1
        return pause

    def succeed(self) -> None:
        """Begin again with the first pause."""
        self.tries = 0
