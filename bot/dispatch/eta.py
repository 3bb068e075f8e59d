"""When pictures were promised and when they came: how wide a range must be to be true is learnt from that.

Each end of the range is a quantile that is tracked: whenever it was too near it moves away by much, otherwise closer by
little, so that it is wrong as often as it may be in the long run, whatever the day is like. (Angelopoulos, Candes and
Tibshirani, "Conformal PID Control for Time Series Prediction", NeurIPS 2023, section 2.1: quantile tracking.)
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bot.core.jobs import ticket_of
from bot.core.ports import Clock, Eta, QueuePosition
from bot.dispatch.active_job import ActiveJob
from bot.dispatch.live import Live
from bot.dispatch.overhead import Overhead
from bot.observability.metrics import Kept
from bot.queue.duration_estimate import DurationEstimate
from bot.queue.job_queue import JobQueue
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


SMALL = 200
"""A queue of up to so many jobs is read anew whenever it has changed; a longer one no more often than AGAIN."""

AGAIN = 2.0
"""Seconds for which the places in a long queue are taken to be the same."""

MOVED = 0.1
"""Who waits is shown that they have moved up once it is by this share of their place: 9 of 10, but 90 of 100."""

SOONEST = 60.0
"""Whoever finds the queue full is told to come back after so many seconds at the least."""


@dataclass(frozen=True, slots=True)
class _Seat:
    position: int
    ahead: float | None
    lane: Lane


class EtaEstimator:
    """Reads the queue; what it works out is kept until the queue changes."""

    def __init__(
        self,
        queue: JobQueue,
        runs: Callable[[], Mapping[int, ActiveJob]],
        live: Live,
        estimate: DurationEstimate,
        *,
        overhead: Overhead,
        promises: EtaCalibration,
        clock: Clock,
        held: Callable[[], bool] = lambda: False,
        set_aside: Callable[[], frozenset[int]] = frozenset,
    ) -> None:
        """Args:
        queue: What waits.
        runs: What is being drawn now.
        live: How far that is.
        estimate: How long the device takes for a picture; what it draws together shares that time.
        overhead: How much longer the service takes than the device.
        promises: Knows how wide a range must be, and remembers what was said.
        clock: Time.
        held: Whether nothing new is begun, so that nobody knows when.
        set_aside: Jobs that are being drawn, and that urgent work does not wait for.
        """
        self._queue = queue
        self._runs = runs
        self._live = live
        self._estimate = estimate
        self._overhead = overhead
        self._promises = promises
        self._clock = clock
        self._held = held
        self._set_aside = set_aside
        self._version = -1
        self._read_at = 0.0
        self._seats: dict[int, _Seat] = {}
        self._last = 0.0
        self._told: dict[int, int] = {}

    def waiting(self, job_id: int) -> QueuePosition | None:
        """Position (1 is next) and expected wait; None for a job that does not wait or is partly drawn already."""
        if job_id not in self._queue:
            return None
        self._refresh()
        seat = self._seats.get(job_id)
        if seat is None:
            if self._version == self._queue.version:
                return None
            # It came after the last look at a long queue.
            return QueuePosition(self._queue.about(job_id), None)
        now = self._running(seat.lane)
        if seat.ahead is None or now is None or self._held():
            return QueuePosition(seat.position, None)
        middle = (seat.ahead + now) * self._overhead.factor() + self._overhead.tail()
        at = self._clock.monotonic()
        eta = self._promises.range(middle, seat.lane, now=at)
        self._promises.made(job_id, middle, eta, seat.lane, now=at)
        return QueuePosition(seat.position, eta)

    def moved(self) -> list[int]:
        """Return the jobs that have noticeably moved up since they were last named here."""
        self._refresh()
        moved, told = [], {}
        for job_id, seat in self._seats.items():
            before = self._told.get(job_id, 0)
            if not before or abs(before - seat.position) >= max(1.0, before * MOVED):
                moved.append(job_id)
                before = seat.position
            told[job_id] = before
        self._told = told
        return moved

    def full(self, limit: int) -> float | None:
        """None while fewer than ``limit`` jobs wait; otherwise in how many seconds a tenth of them will be drawn."""
        if len(self._queue) < limit:
            return None
        self._refresh()
        return max(SOONEST, self._last * self._overhead.factor() / 10)

    def _refresh(self) -> None:
        if self._version == self._queue.version:
            return
        now = self._clock.monotonic()
        if len(self._queue) > SMALL and self._version >= 0 and 0 <= now - self._read_at < AGAIN:
            return
        self._version, self._read_at = self._queue.version, now
        self._read()

    def _read(self) -> None:
        """Work out each job's position, and the seconds of drawing up to its end; None once any on the way is unknown."""
        self._seats = {}
        ahead: float | None = 0.0
        for lane, work in self._queue.order():
            each = self._estimate.seconds(work.ticket)
            ahead = None if ahead is None or each is None else ahead + each * len(work.indexes)
            if not work.started:
                self._seats[work.ticket.job_id] = _Seat(len(self._seats) + 1, ahead, lane)
        self._last = ahead or 0.0

    def _running(self, lane: Lane) -> float | None:
        """Seconds until what this lane waits for is drawn, of what is being drawn now; None when unknown."""
        passed = self._set_aside() if lane is Lane.INTERACTIVE else frozenset()
        total = 0.0
        for run in self._runs().values():
            if run.painting and run.job.id not in passed:
                each = self._estimate.seconds(ticket_of(run.job))
                if each is None:
                    return None
                # What is left of it for later waits in the queue, and is counted there.
                undone = len(run.recipes) * (1 - (self._live.progress(run.job.id) or 0.0))
                total += each * min(undone, len(run.painting))
        return total
