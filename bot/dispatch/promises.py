"""When pictures were promised and when they came: how wide a range must be to be true is learnt from that.

Each end of the range is a quantile that is tracked: whenever it was too near it moves away by much, otherwise closer by
little, so that it is wrong as often as it may be in the long run, whatever the day is like. (Angelopoulos, Candes and
Tibshirani, "Conformal PID Control for Time Series Prediction", NeurIPS 2023, section 2.1: quantile tracking.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bot.observe.metrics import Kept
from bot.ports import Eta
from engine.contract import Lane

FIRST = (0.7, 1.6)
"""The range as shares of what is expected, while nothing was measured."""

OUTSIDE = 0.06
"""So many promises may come early, and so many late: seven of eight are to be true."""

STEP = 0.15
"""How far the end of a range moves when it was too near, as a share of itself."""

_HORIZONS = (4.0, 30.0, 300.0)
"""Waits up to so many seconds are learnt from apart: the shorter, the wider their range."""

_Sort = tuple[Lane, int]


@dataclass(frozen=True, slots=True)
class _Promise:
    middle: float
    eta: Eta
    at: float
    sort: _Sort


class Promises:
    """What was said to whom, until it is kept."""

    def __init__(self, kept: Callable[[Kept, float], None]) -> None:
        """Args:
        kept: Told how a promise ended, and the time it took as a share of what was expected.
        """
        self._kept = kept
        self._open: dict[int, _Promise] = {}
        # The ends of each sort's range: logarithms of shares of what is expected.
        self._ends: dict[_Sort, tuple[float, float]] = {}

    def range(self, middle: float, lane: Lane) -> Eta:
        """The range to promise where so many seconds are expected."""
        low, high = self._range(_sort(lane, middle))
        return Eta(middle * math.exp(low), middle * math.exp(high))

    def made(self, job_id: int, middle: float, eta: Eta, lane: Lane, *, now: float) -> None:
        """Somebody was told this of a job; what they were told first counts."""
        if job_id not in self._open and middle > 0:
            self._open[job_id] = _Promise(middle, eta, now, _sort(lane, middle))

    def came(self, job_id: int, *, now: float) -> None:
        """Its pictures are there."""
        promise = self._open.pop(job_id, None)
        if promise is None:
            return
        took = now - promise.at
        early, late = took < promise.eta.low, took > promise.eta.high
        low, high = self._range(promise.sort)
        low -= STEP * (early - OUTSIDE)
        high += STEP * (late - OUTSIDE)
        self._ends[promise.sort] = min(low, high), max(low, high)
        self._kept(Kept.EARLY if early else Kept.LATE if late else Kept.TRUE, took / promise.middle)

    def forget(self, job_id: int) -> None:
        """It was cancelled, or failed: nothing is to be learnt from it."""
        self._open.pop(job_id, None)

    def _range(self, sort: _Sort) -> tuple[float, float]:
        return self._ends.get(sort, (math.log(FIRST[0]), math.log(FIRST[1])))


def _sort(lane: Lane, middle: float) -> _Sort:
    return lane, sum(middle > horizon for horizon in _HORIZONS)
