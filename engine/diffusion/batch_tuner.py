"""Measures how long steps take, and limits batches to sizes from which pictures gain on this device."""

from __future__ import annotations

from dataclasses import dataclass, field

MIN_SAMPLES = 3
"""Steps that must have been measured before their time counts."""

WORSE = 1.10
"""A batch is too large if each picture takes this many times as long as in a smaller batch."""


@dataclass(slots=True)
class _Sample:
    count: int = 0
    each: float = 0.0


@dataclass(slots=True)
class BatchTuner:
    """Seconds that a step takes for each picture, by pixels and batch size."""

    _samples: dict[tuple[int, int], _Sample] = field(default_factory=dict)

    def record(self, pixels: int, count: int, seconds: float) -> None:
        """Record how long a step of ``count`` pictures took."""
        sample = self._samples.setdefault((pixels, count), _Sample())
        sample.count += 1
        each = seconds / count
        # Disturbances only make a step slower, so the quickest is the truest. It fades slowly, since devices get warm.
        sample.each = each if sample.count == 1 else min(each, sample.each * 1.01)

    def max_batch(self, pixels: int, limit: int) -> int:
        """Return how many pictures should share a step: ``limit``, or fewer if that was measured to be faster."""
        known = {
            n: sample.each
            for (p, n), sample in self._samples.items()
            if p == pixels and n <= limit and sample.count >= MIN_SAMPLES
        }
        if limit not in known:
            return limit
        best = min(known, key=lambda n: known[n])
        return best if best < limit and known[limit] > known[best] * WORSE else limit
