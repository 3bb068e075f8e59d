"""Expected waits: positions in the queue, and ranges whose width is learnt from how earlier predictions turned out.

Each end of a range is a quantile that is tracked: after an actual wait outside the range it moves outwards by a large
step, otherwise inwards by a small step, so that in the long run it is wrong as often as allowed, whatever the load.
(Angelopoulos, Candes and Tibshirani, "Conformal PID Control for Time Series Prediction", NeurIPS 2023, section 2.1.)
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass

from bot.core.jobs import ticket_of
from bot.core.ports import Clock, Eta, QueuePosition
from bot.delivery.live import Live
from bot.dispatch.active_job import ActiveJobs
from bot.dispatch.batcher import MIN_BATCH, Batcher
from bot.dispatch.schedule import Assigned, ListSchedule
from bot.observability.metrics import EtaOutcome, EtaResult
from bot.queue.job_queue import JobQueue
from bot.queue.timing import DurationEstimate, Overhead
from engine.contract import Lane

INITIAL_RANGE = (0.7, 1.6)
"""The range before anything was measured, as multiples of the expected wait."""

MISS_RATE = 0.06
"""Share of predictions that may turn out early, and late: seven of eight are to be within the range."""

LEARNING_RATE = 0.15
"""How far an end of a range moves after a miss, as a share of itself."""

HORIZONS = (4.0, 30.0, 300.0)
"""Upper limits of the expected wait, in seconds, whose ranges are learnt separately: shorter waits have wider ranges."""

SMALL_QUEUE = 200
"""A queue of up to this many jobs is read after every change; a longer one at most every REREAD_EVERY seconds."""

REREAD_EVERY = 2.0
"""Seconds for which the positions in a long queue are kept."""

FEW_ACTIVE = 32
"""The work in flight is read for every position while at most this many jobs are drawn."""

REREAD_ACTIVE_EVERY = 0.5
"""Seconds for which the work in flight is kept where more are drawn: many devices show many positions."""

IMPROVEMENT = 0.1
"""A waiting job's card is refreshed when its position has improved by this share of it: 1 at 10, but 10 at 100."""

MAX_REFRESHED = 100
"""Most waiting jobs whose positions are refreshed at once; the next ones first."""

MIN_RETRY = 60.0
"""Least seconds after which to try again when the queue is full."""

_Category = tuple[Lane, int]
"""Predictions that share a range: lane, and index of the horizon."""


@dataclass(slots=True)
class _Prediction:
    expected: float
    eta: Eta
    made_at: float
    category: _Category
    overdue: bool = False
    """It has taken longer than the range of its category, which was learnt from already."""


class EtaCalibration:
    """Open predictions, and the ranges that were learnt from earlier ones. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._open: dict[int, _Prediction] = {}
        # When to check whether a prediction is overdue; entries of predictions that are not open are skipped.
        self._due: list[tuple[float, int]] = []
        # The ends of each category's range, as logarithms of multiples of the expected wait.
        self._ends: dict[_Category, tuple[float, float]] = {}

    def predict(self, expected: float, lane: Lane, *, now: float) -> Eta:
        """Return the range for an expected wait of this many seconds."""
        self._learn_from_overdue(now)
        low, high = self._range(_category(lane, expected))
        return Eta(expected * math.exp(low), expected * math.exp(high))

    def record(self, job_id: int, expected: float, eta: Eta, lane: Lane, *, now: float) -> None:
        """A person was shown this prediction; the first one of a job counts."""
        if job_id not in self._open and expected > 0:
            self._open[job_id] = _Prediction(expected, eta, now, _category(lane, expected))
            heapq.heappush(self._due, (now + eta.high, job_id))

    def complete(self, job_id: int, *, now: float) -> EtaResult | None:
        """The job's pictures are there: learn from its prediction and return how it turned out; None without one."""
        self._learn_from_overdue(now)
        prediction = self._open.pop(job_id, None)
        if prediction is None:
            return None
        took = now - prediction.made_at
        ratio = took / prediction.expected
        if not prediction.overdue:
            self._learn(prediction.category, ratio)
        if took < prediction.eta.low:
            return EtaResult(EtaOutcome.EARLY, ratio)
        return EtaResult(EtaOutcome.LATE if took > prediction.eta.high else EtaOutcome.WITHIN, ratio)

    def forget(self, job_id: int) -> None:
        """The job was cancelled or has failed: its prediction teaches nothing."""
        self._open.pop(job_id, None)

    def _learn_from_overdue(self, now: float) -> None:
        """Learn from predictions that are overdue before they complete: in a burst, many more are made meanwhile."""
        while self._due and self._due[0][0] < now:
            _, job_id = heapq.heappop(self._due)
            prediction = self._open.get(job_id)
            if prediction is None or prediction.overdue:
                continue
            due = prediction.made_at + prediction.expected * math.exp(self._range(prediction.category)[1])
            if due < now:
                prediction.overdue = True
                self._learn(prediction.category, (now - prediction.made_at) / prediction.expected)
            else:
                # The range has become wider since: others of the category were late.
                heapq.heappush(self._due, (due, job_id))

    def _learn(self, category: _Category, ratio: float) -> None:
        """Move the ends of a range after this multiple of the expected wait.

        It is compared with the present range, not with the predicted one: else each prediction of a burst would widen
        the range again.
        """
        low, high = self._range(category)
        early, late = ratio < math.exp(low), ratio > math.exp(high)
        low -= LEARNING_RATE * (early - MISS_RATE)
        high += LEARNING_RATE * (late - MISS_RATE)
        self._ends[category] = min(low, high), max(low, high)

    def _range(self, category: _Category) -> tuple[float, float]:
        """Return what was learnt for this category, else for the nearest: same lane first, then the nearest horizon."""
        if category in self._ends or not self._ends:
            return self._ends.get(category, (math.log(INITIAL_RANGE[0]), math.log(INITIAL_RANGE[1])))
        lane, horizon = category
        return self._ends[min(self._ends, key=lambda other: (other[0] is not lane, abs(other[1] - horizon)))]


def _category(lane: Lane, expected: float) -> _Category:
    return lane, sum(expected > horizon for horizon in HORIZONS)


@dataclass(frozen=True, slots=True)
class _Position:
    """A waiting job.

    Attributes:
        position: 1 is next.
        ends: The slot that draws its last picture, and when; None: unknown.
        lane: Its lane.
    """

    position: int
    ends: Assigned | None
    lane: Lane


class EtaEstimator:
    """Positions and expected waits of queued jobs; computed positions are kept until the queue changes."""

    def __init__(
        self,
        queue: JobQueue,
        batcher: Batcher,
        active: ActiveJobs,
        live: Live,
        *,
        estimate: DurationEstimate,
        overhead: Overhead,
        calibration: EtaCalibration,
        clock: Clock,
    ) -> None:
        """Args:
        queue: What waits.
        batcher: Knows the slots and their speeds, whether the service is paused, and which jobs urgent work overtakes.
        active: What is being drawn.
        live: Has the progress of that.
        estimate: Reference seconds for one picture; pictures that are drawn together share them.
        overhead: How much longer the service takes than the device.
        calibration: Makes ranges of expected waits, and remembers predictions.
        clock: Time.
        """
        self._queue = queue
        self._batcher = batcher
        self._active = active
        self._live = live
        self._estimate = estimate
        self._overhead = overhead
        self._calibration = calibration
        self._clock = clock
        self._version: tuple[int, int] | None = None
        self._read_at = 0.0
        self._positions: dict[int, _Position] = {}
        self._total = 0.0
        self._shown: dict[int, int] = {}
        # The work in flight of each lane, and when it was read.
        self._in_flight: dict[Lane, tuple[float, Mapping[str, float] | None]] = {}

    def position(self, job_id: int) -> QueuePosition | None:
        """Return position (1 is next) and expected wait; None for a job that does not wait or was begun."""
        if job_id not in self._queue:
            return None
        self._refresh()
        found = self._positions.get(job_id)
        if found is None:
            if self._version == self._versions():
                return None
            # The job came after a long queue was read.
            return QueuePosition(self._queue.approximate_position(job_id), None, paused=self._batcher.paused)
        drawing = self._seconds_in_flight(found.lane)
        if self._batcher.paused:
            return QueuePosition(found.position, None, paused=True)
        if found.ends is None or drawing is None:
            return QueuePosition(found.position, None)
        # What the slot has now goes on while the queue stays as it is.
        seconds = found.ends.given + drawing.get(found.ends.slot, 0.0)
        expected = seconds * self._overhead.factor() + self._overhead.tail()
        now = self._clock.monotonic()
        eta = self._calibration.predict(expected, found.lane, now=now)
        self._calibration.record(job_id, expected, eta, found.lane, now=now)
        return QueuePosition(found.position, eta)

    def seconds_left(self, job_id: int) -> float | None:
        """Return the expected seconds until a begun job is drawn; None when unknown, or while it takes no steps."""
        active, done = self._active.get(job_id), self._live.progress(job_id)
        if active is None or not done or self._live.is_preempted(job_id) or self._live.is_stalled(job_id):
            return None
        each = self._estimate.seconds(ticket_of(active.job))
        if each is None:
            return None
        undone = len(active.recipes) * (1 - done)
        fractions = self._live.fractions(job_id)
        by_slot: dict[str, float] = {}
        for index in active.painting:
            slot = active.slots.get(index, "")
            by_slot[slot] = by_slot.get(slot, 0.0) + 1 - fractions.get(index, 0.0)
        if len(by_slot) > 1:
            # Its slots draw at the same time, and then share what is left of it.
            longest = max(pictures / self._speed(slot) for slot, pictures in by_slot.items())
            seconds = each * (longest + max(0.0, undone - sum(by_slot.values())) / self._speed_of_all())
        else:
            seconds = each * undone / self._speed(next(iter(by_slot), ""))
        return seconds * self._overhead.factor() + self._overhead.tail()

    def order(self) -> list[int]:
        """Return the waiting jobs that were not begun, the next one first; of a long queue, as it was read last."""
        self._refresh()
        return [job_id for job_id in self._positions if job_id in self._queue]

    def improved(self) -> list[int]:
        """Return jobs whose position has improved by IMPROVEMENT since they were last returned here.

        They are at most MAX_REFRESHED, the next ones first; the others follow in later calls.
        """
        self._refresh()
        improved: list[int] = []
        shown = {}
        for job_id, found in self._positions.items():
            before = self._shown.get(job_id, 0)
            changed = not before or abs(before - found.position) >= max(1.0, before * IMPROVEMENT)
            if changed and len(improved) < MAX_REFRESHED:
                improved.append(job_id)
                before = found.position
            if before:
                shown[job_id] = before
        self._shown = shown
        return improved

    def retry_after(self, limit: int) -> float | None:
        """Return None while fewer than ``limit`` jobs wait; otherwise the seconds until a tenth of them is drawn."""
        if len(self._queue) < limit:
            return None
        self._refresh()
        return max(MIN_RETRY, self._total / self._speed_of_all() * self._overhead.factor() / 10)

    def _refresh(self) -> None:
        if self._version == self._versions():
            return
        now = self._clock.monotonic()
        if len(self._queue) > SMALL_QUEUE and self._version is not None and 0 <= now - self._read_at < REREAD_EVERY:
            return
        self._version, self._read_at = self._versions(), now
        self._read_queue()

    def _versions(self) -> tuple[int, int]:
        return self._queue.version, self._batcher.placement.version

    def _read_queue(self) -> None:
        """Compute each job's position and the device seconds up to its end; None after the first unknown duration."""
        self._positions = {}
        slots = self._batcher.placement.drawing()
        schedule = ListSchedule(slots, {load.id: self._speed(load.id) for load in slots})
        total: float | None = 0.0
        lane_now: Lane | None = None
        for lane, item in self._queue.order():
            if lane is not lane_now:
                schedule.begin(self._seconds_in_flight(lane) or {})
                lane_now = lane
            each, count = self._estimate.seconds(item.ticket), len(item.indexes)
            total = None if total is None or each is None else total + each * count
            ends: Assigned | None = None
            if total is not None and each is not None:
                # Slots share the pictures of a job; in a long queue a few of them together are as good.
                piece = count if len(slots) == 1 else MIN_BATCH if len(self._queue) > SMALL_QUEUE else 1
                model, plain = item.ticket.model, item.ticket.plain
                for begin in range(0, count, piece):
                    found = schedule.assign(model, each * min(piece, count - begin), plain=plain)
                    if ends is None or (found is not None and found.ends >= ends.ends):
                        ends = found
            if not item.started:
                self._positions[item.ticket.job_id] = _Position(len(self._positions) + 1, ends, lane)
        self._total = total or 0.0

    def _seconds_in_flight(self, lane: Lane) -> Mapping[str, float] | None:
        """Return what ``_read_in_flight`` does; where many jobs are drawn, as it was a moment ago."""
        now, kept = self._clock.monotonic(), self._in_flight.get(lane)
        if kept is not None and len(self._active) > FEW_ACTIVE and 0 <= now - kept[0] < REREAD_ACTIVE_EVERY:
            return kept[1]
        found = self._read_in_flight(lane)
        self._in_flight[lane] = now, found
        return found

    def _read_in_flight(self, lane: Lane) -> Mapping[str, float] | None:
        """Return the device seconds left of the work in flight that this lane waits for, by slot; None when unknown."""
        overtaken = self._batcher.preemptible_jobs() if lane is Lane.INTERACTIVE else frozenset()
        first = next(iter(self._batcher.placement.loads))
        found: dict[str, float] = {}
        for active in self._active.values():
            if active.painting and active.job.id not in overtaken:
                each = self._estimate.seconds(ticket_of(active.job))
                if each is None:
                    return None
                # Its other pictures wait in the queue and are counted there.
                fractions = self._live.fractions(active.job.id)
                for index in active.painting:
                    slot, undone = active.slots.get(index, first), 1 - fractions.get(index, 0.0)
                    found[slot] = found.get(slot, 0.0) + each * undone / self._speed(slot)
        return found

    def _speed(self, slot: str) -> float:
        return self._batcher.speeds.of(slot)

    def _speed_of_all(self) -> float:
        return sum(self._speed(load.id) for load in self._batcher.placement.drawing())
