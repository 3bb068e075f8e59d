"""Where a waiting job stands, and when its pictures will be there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bot.core.ports import Clock, QueuePosition
from bot.core.tickets import ticket_of
from bot.dispatch.active_job import ActiveJob
from bot.dispatch.eta_calibration import EtaCalibration
from bot.dispatch.live import Live
from bot.dispatch.overhead import Overhead
from bot.queue.duration_estimate import DurationEstimate
from bot.queue.job_queue import JobQueue
from engine.contract import Lane

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
