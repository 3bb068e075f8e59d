"""What sharing a step gains on this device, as measured: more pictures at once than that only wait for each other."""

from __future__ import annotations

from dataclasses import dataclass, field

MEASURED = 3
"""Steps that must have been seen before their time is believed."""

WORSE = 1.10
"""A batch that takes so much more for each picture than a smaller one is too large."""


@dataclass(slots=True)
class _Seen:
    count: int = 0
    each: float = 0.0


@dataclass(slots=True)
class BatchTuner:
    """Seconds that a step takes for each picture, by pixels and by how many share it."""

    _seen: dict[tuple[int, int], _Seen] = field(default_factory=dict)

    def saw(self, pixels: int, count: int, seconds: float) -> None:
        """Note what a step of ``count`` pictures took."""
        seen = self._seen.setdefault((pixels, count), _Seen())
        seen.count += 1
        each = seconds / count
        # The quickest is the truest: what disturbs a step only makes it slower. It may fade, as devices get warm.
        seen.each = each if seen.count == 1 else min(each, seen.each * 1.01)

    def most(self, pixels: int, worth: int) -> int:
        """Return how many should share a step, at most ``worth``: fewer only where more were measured to be worse."""
        known = {
            n: seen.each for (p, n), seen in self._seen.items() if p == pixels and n <= worth and seen.count >= MEASURED
        }
        if worth not in known:
            return worth
        best = min(known, key=lambda n: known[n])
        return best if best < worth and known[worth] > known[best] * WORSE else worth
