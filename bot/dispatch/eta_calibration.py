"""When pictures were promised and when they came: how wide a range must be to be true is learnt from that.

Each end of the range is a quantile that is tracked: whenever it was too near it moves away by much, otherwise closer by
little, so that it is wrong as often as it may be in the long run, whatever the day is like. (Angelopoulos, Candes and
Tibshirani, "Conformal PID Control for Time Series Prediction", NeurIPS 2023, section 2.1: quantile tracking.)
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

from bot.core.ports import Eta
from bot.observability.metrics import Kept
from engine.contract import Lane

FIRST = (0.7, 1.6)
"""The range as shares of what is expected, while nothing was measured."""

OUTSIDE = 0.06
"""So many promises may come early, and so many late: seven of eight are to be true."""

STEP = 0.15
"""How far the end of a range moves when it was too near, as a share of itself."""

HORIZONS = (4.0, 30.0, 300.0)
"""Waits up to so many seconds are learnt from apart: the shorter, the wider their range."""

_Sort = tuple[Lane, int]


@dataclass(slots=True)
class _Promise:
    middle: float
    eta: Eta
    at: float
    sort: _Sort
    overdue: bool = False
    """It has taken longer than its sort's range allows, and that was learnt from."""


class EtaCalibration:
    """What was said to whom, until it is kept."""

    def __init__(self, kept: Callable[[Kept, float], None]) -> None:
        """Args:
        kept: Told how a promise ended, and the time it took as a share of what was expected.
        """
        self._kept = kept
        self._open: dict[int, _Promise] = {}
        # When to look whether each is overdue; promises that are not open any more are skipped.
        self._due: list[tuple[float, int]] = []
        # The ends of each sort's range: logarithms of shares of what is expected.
        self._ends: dict[_Sort, tuple[float, float]] = {}

    def range(self, middle: float, lane: Lane, *, now: float) -> Eta:
        """The range to promise at ``now`` where so many seconds are expected."""
        self._learn_overdue(now)
        low, high = self._range(_sort(lane, middle))
        return Eta(middle * math.exp(low), middle * math.exp(high))

    def made(self, job_id: int, middle: float, eta: Eta, lane: Lane, *, now: float) -> None:
        """Somebody was told this of a job; what they were told first counts."""
        if job_id not in self._open and middle > 0:
            self._open[job_id] = _Promise(middle, eta, now, _sort(lane, middle))
            heapq.heappush(self._due, (now + eta.high, job_id))

    def came(self, job_id: int, *, now: float) -> None:
        """Its pictures are there."""
        self._learn_overdue(now)
        promise = self._open.pop(job_id, None)
        if promise is None:
            return
        took = now - promise.at
        share = took / promise.middle
        if not promise.overdue:
            self._learn(promise.sort, share)
        early, late = took < promise.eta.low, took > promise.eta.high
        self._kept(Kept.EARLY if early else Kept.LATE if late else Kept.TRUE, share)

    def forget(self, job_id: int) -> None:
        """It was cancelled, or failed: nothing is to be learnt from it."""
        self._open.pop(job_id, None)

    def _learn_overdue(self, now: float) -> None:
        """Learn from promises that are overdue before their pictures come: in a burst many more are made until then."""
        while self._due and self._due[0][0] < now:
            _, job_id = heapq.heappop(self._due)
            promise = self._open.get(job_id)
            if promise is None or promise.overdue:
                continue
            due = promise.at + promise.middle * math.exp(self._range(promise.sort)[1])
            if due < now:
                promise.overdue = True
                self._learn(promise.sort, (now - promise.at) / promise.middle)
            else:
                # Others of its sort were late, and the range is wider now.
                heapq.heappush(self._due, (due, job_id))

    def _learn(self, sort: _Sort, share: float) -> None:
        """Move the ends of a range after this share of what was expected.

        The range of now counts, not the one that was promised: else each promise of a burst would widen it again.
        """
        low, high = self._range(sort)
        early, late = share < math.exp(low), share > math.exp(high)
        low -= STEP * (early - OUTSIDE)
        high += STEP * (late - OUTSIDE)
        self._ends[sort] = min(low, high), max(low, high)

    def _range(self, sort: _Sort) -> tuple[float, float]:
        """What was learnt for this sort; else for the nearest: by length in the same lane first, then in the other."""
        if sort in self._ends or not self._ends:
            return self._ends.get(sort, (math.log(FIRST[0]), math.log(FIRST[1])))
        lane, horizon = sort
        return self._ends[min(self._ends, key=lambda other: (other[0] is not lane, abs(other[1] - horizon)))]


def _sort(lane: Lane, middle: float) -> _Sort:
    return lane, sum(middle > horizon for horizon in HORIZONS)
