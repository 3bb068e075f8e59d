"""Percentiles of measured values."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that so many percent of them stay below."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def spread(seconds: Sequence[float], *, scale: float = 1000) -> dict[str, float]:
    """Return the median, the 99th percentile and the largest of these, times ``scale``; nothing where there are none."""
    if len(seconds) < 2:
        return {}
    return {
        "p50": round(percentile(seconds, 50) * scale, 2),
        "p99": round(percentile(seconds, 99) * scale, 2),
        "max": round(max(seconds) * scale, 2),
    }
