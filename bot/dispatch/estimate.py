"""How long a picture takes: the median of what was measured last for pictures of its kind."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from statistics import median

KEPT = 15
"""Measurements kept for each kind: enough to forget one odd value, few enough to follow a change of device."""

KINDS = 256
"""Kinds (model, size, steps, guidance) that are remembered; beyond, the one that was seen longest ago is forgotten."""


class Estimate:
    """Seconds per picture by kind; a kind is whatever makes pictures cost the same, such as a ticket's ``batch_key``."""

    def __init__(self) -> None:
        self._seconds: dict[Hashable, deque[float]] = {}

    def measured(self, kind: Hashable, seconds: float) -> None:
        """One picture of this kind took so long."""
        kept = self._seconds.pop(kind, None) or deque(maxlen=KEPT)
        kept.append(seconds)
        self._seconds[kind] = kept
        if len(self._seconds) > KINDS:
            del self._seconds[next(iter(self._seconds))]

    def seconds(self, kind: Hashable) -> float | None:
        """Seconds for one picture of this kind; None when none was measured."""
        kept = self._seconds.get(kind)
        return median(kept) if kept else None
