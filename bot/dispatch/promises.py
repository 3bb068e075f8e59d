"""When pictures were promised and when they came: how wide a range must be to be true is learnt from that."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import quantiles

from bot.observe.metrics import Kept
from bot.ports import Eta
from engine.contract import Lane

KEPT = 200
"""Promises whose end is remembered, of each sort: enough for a steady range, few enough to follow the time of day."""

ENOUGH = 20
"""From so many on they decide the range; before, it is FIRST."""

FIRST = (0.7, 1.6)
"""The range as shares of its middle while little was measured."""

OUTSIDE = 20
"""One in so many promises may be early, and one in so many late: nine of ten are to be true."""

_HORIZONS = (4.0, 30.0, 300.0)
"""Waits up to so many seconds are learnt from apart: the shorter, the wider their range."""


@dataclass(frozen=True, slots=True)
class _Promise:
    middle: float
    eta: Eta
    at: float
    sort: tuple[Lane, int]


class Promises:
    """What was said to whom, until it is kept."""

    def __init__(self, kept: Callable[[Kept, float], None]) -> None:
        """Args:
        kept: Told how a promise ended, and the time it took as a share of its middle.
        """
        self._kept = kept
        self._open: dict[int, _Promise] = {}
        self._shares: dict[tuple[Lane, int], deque[float]] = {}

    def range(self, middle: float, lane: Lane) -> Eta:
        """The range to promise where so many seconds are expected."""
        low, high = FIRST
        shares = self._shares.get(_sort(lane, middle), ())
        if len(shares) >= ENOUGH:
            cuts = quantiles(shares, n=OUTSIDE, method="inclusive")
            low, high = cuts[0], cuts[-1]
        return Eta(middle * low, middle * high)

    def made(self, job_id: int, middle: float, eta: Eta, lane: Lane, *, now: float) -> None:
        """Somebody was told this of a job; what they were told first counts."""
        if job_id not in self._open:
            self._open[job_id] = _Promise(middle, eta, now, _sort(lane, middle))

    def came(self, job_id: int, *, now: float) -> None:
        """Its pictures are there."""
        promise = self._open.pop(job_id, None)
        if promise is None or promise.middle <= 0:
            return
        took = now - promise.at
        share = took / promise.middle
        self._shares.setdefault(promise.sort, deque(maxlen=KEPT)).append(share)
        kept = Kept.EARLY if took < promise.eta.low else Kept.LATE if took > promise.eta.high else Kept.TRUE
        self._kept(kept, share)

    def forget(self, job_id: int) -> None:
        """It was cancelled, or starts anew: nothing is to be learnt from it."""
        self._open.pop(job_id, None)


def _sort(lane: Lane, middle: float) -> tuple[Lane, int]:
    return lane, sum(middle > horizon for horizon in _HORIZONS)
