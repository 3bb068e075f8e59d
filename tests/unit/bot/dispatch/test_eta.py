"""Positions, expected waits, and learning from earlier predictions."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from bot.core.events import EventBus
from bot.core.jobs import Job, JobState
from bot.core.ports import Eta, QueuePosition, Ticket
from bot.core.requests import DrawRequest, batch_key, recipes_of
from bot.delivery.live import Live
from bot.dispatch.active_job import ActiveJob, ActiveJobs
from bot.dispatch.batcher import Batcher
from bot.dispatch.eta import (
    INITIAL_RANGE,
    MAX_REFRESHED,
    MIN_RETRY,
    MISS_RATE,
    REREAD_EVERY,
    SMALL_QUEUE,
    EtaCalibration,
    EtaEstimator,
)
from bot.observability.metrics import EtaOutcome
from bot.queue.fair_queue import Charge, WorkItem
from bot.queue.job_queue import JobQueue
from bot.queue.timing import DurationEstimate, Overhead
from engine.contract import EngineState, Lane, Phase, Slot
from tests.fakes.clock import FakeClock

REQUEST = DrawRequest("p", "p", "", 192, 192, 8, 1.0, 7, 4, "demo")
KIND = batch_key(REQUEST)
ONE = Ticket(0, 1, 1, KIND)
SLOT = Slot("0", EngineState(Phase.WARM), calls=8)


class World:
    """A queue whose waits are estimated."""

    def __init__(self, *, seconds: float | None = None) -> None:
        self.estimate, self.live, self.clock = DurationEstimate(), Live(EventBus()), FakeClock()
        self.overhead = Overhead()
        self.queue = JobQueue(self.estimate.cost)
        self.batcher = Batcher(self.queue, self.estimate, [SLOT], overhead=Overhead(), clock=self.clock)
        self.calibration = EtaCalibration()
        self.active = ActiveJobs()
        if seconds is not None:
            self.estimate.measured(ONE, seconds)
        self.eta = EtaEstimator(
            self.queue,
            self.batcher,
            self.active,
            self.live,
            estimate=self.estimate,
            overhead=self.overhead,
            calibration=self.calibration,
            clock=self.clock,
        )

    def running(self) -> ActiveJob:
        job = Job(9, JobState.RUNNING, 1, 1, None, REQUEST, "en", "", 0, 0.0)
        self.live.begin(9, REQUEST.count)
        self.active[9] = ActiveJob(job, recipes_of(9, REQUEST), painting={0, 1, 2, 3})
        return self.active[9]

    def in_flight(self, job_id: int, lane: Lane) -> None:
        """Hand one picture of a job to the engine."""
        ticket = Ticket(job_id, 1, 1, KIND)
        item = WorkItem(ticket, (0,), charge=Charge(ticket, lane, 1.0, 1.0))
        self.batcher.begin("0", [(item, recipes_of(job_id, REQUEST)[:1])], 1)

    def expected(self, job_id: int) -> float:
        waiting = self.eta.position(job_id)
        assert waiting is not None
        assert waiting.eta is not None
        assert waiting.eta.high == pytest.approx(waiting.eta.low / INITIAL_RANGE[0] * INITIAL_RANGE[1])
        return waiting.eta.low / INITIAL_RANGE[0]


def test_a_position_without_a_known_wait() -> None:
    world = World()
    world.queue.put(Ticket(1, 1, 2, KIND))
    assert world.eta.position(1) == QueuePosition(1, None)
    assert world.eta.position(2) is None


def test_the_wait_covers_the_work_before_a_job_and_its_own() -> None:
    world = World(seconds=3.0)
    world.queue.put(Ticket(1, 1, 2, KIND))
    world.queue.put(Ticket(2, 1, 1, KIND))
    world.queue.put(Ticket(3, 2, 1, KIND))
    world.running()
    assert [world.eta.position(n).position for n in (1, 3, 2)] == [1, 2, 3]  # type: ignore[union-attr]
    assert world.expected(1) == pytest.approx(12.0 + 6.0)
    assert world.expected(3) == pytest.approx(12.0 + 6.0 + 3.0)
    assert world.expected(2) == pytest.approx(12.0 + 6.0 + 3.0 + 3.0)
    for index in range(4):
        world.live.step(9, index, 0.5)
    assert world.expected(1) == pytest.approx(6.0 + 6.0)


def test_the_rest_of_a_running_job_is_counted_once() -> None:
    world = World(seconds=3.0)
    run = world.running()
    run.painting = {0, 1}
    world.queue.put(Ticket(9, 1, 4, KIND), (2, 3))
    world.queue.put(Ticket(1, 2, 1, KIND))
    assert world.expected(1) == pytest.approx(6.0 + 6.0 + 3.0)
    for index in (0, 1):
        world.live.step(9, index, 0.5)
    assert world.expected(1) == pytest.approx(3.0 + 6.0 + 3.0), "what is drawn now is half done"


def test_waits_after_an_unmeasured_kind_are_unknown() -> None:
    world = World(seconds=3.0)
    world.queue.put(Ticket(1, 1, 1, KIND))
    world.queue.put(Ticket(2, 2, 1, ("another",)))
    world.queue.put(Ticket(3, 3, 1, KIND))
    assert world.expected(1) == pytest.approx(3.0)
    assert world.eta.position(3) == QueuePosition(3, None)


def test_waits_are_unknown_while_the_service_is_paused() -> None:
    world = World(seconds=3.0)
    world.queue.put(Ticket(1, 1, 1, KIND))
    world.batcher.set_paused(True)
    assert world.eta.position(1) == QueuePosition(1, None, paused=True)


def test_urgent_work_does_not_wait_for_work_that_it_overtakes() -> None:
    world = World(seconds=3.0)
    world.running()
    world.in_flight(9, Lane.BULK)
    world.queue.put(Ticket(1, 1, 1, KIND))
    world.queue.put(Ticket(2, 2, 1, KIND, bulk=True))
    assert world.expected(1) == pytest.approx(3.0)
    assert world.expected(2) == pytest.approx(12.0 + 3.0 + 3.0)


def test_positions_follow_changes_of_the_queue() -> None:
    world = World()
    world.queue.put(Ticket(1, 1, 1, KIND))
    world.queue.put(Ticket(2, 2, 4, KIND))
    assert world.eta.position(2) == QueuePosition(2, None)
    world.queue.remove(1)
    assert world.eta.position(2) == QueuePosition(1, None)
    lead = world.queue.lead(lambda *_: True)
    assert lead is not None
    (piece,) = world.queue.take(2, lead)
    rest = piece.rest()
    assert rest is not None
    world.queue.put_front(rest)
    assert world.eta.position(2) is None, "partly drawn: it does not wait any more"


def test_a_long_queue_is_not_read_after_each_change() -> None:
    world = World(seconds=3.0)
    for n in range(1, SMALL_QUEUE + 4):
        world.queue.put(Ticket(n, n, 1, (n,)))
    assert world.eta.position(5) == QueuePosition(5, None)
    world.queue.remove(1)
    assert world.eta.position(5) == QueuePosition(5, None), "as of a moment ago"
    world.queue.put(Ticket(999, 999, 1, KIND))
    assert world.eta.position(999) == QueuePosition(SMALL_QUEUE + 3, None), "about behind each other's first"
    world.queue.put(Ticket(1000, 1000, 1, KIND, bulk=True))
    assert world.eta.position(1000) == QueuePosition(SMALL_QUEUE + 4, None), "about at the end"
    world.clock.advance(REREAD_EVERY)
    assert world.eta.position(5) == QueuePosition(4, None)


def test_noticeably_improved_positions_are_returned() -> None:
    world = World()
    for n in range(1, 41):
        world.queue.put(Ticket(n, n, 1, KIND))
    assert world.eta.improved() == list(range(1, 41))
    assert world.eta.improved() == []
    world.queue.remove(1)
    assert world.eta.improved() == list(range(2, 11)), "one place matters to the first ten"
    world.queue.remove(2)
    world.queue.remove(3)
    assert 30 in world.eta.improved(), "three places matter to the thirtieth"


def test_positions_in_a_long_queue_are_refreshed_a_part_at_a_time() -> None:
    world = World()
    for n in range(1, MAX_REFRESHED + 31):
        world.queue.put(Ticket(n, n, 1, KIND))
    assert world.eta.improved() == list(range(1, MAX_REFRESHED + 1))
    assert world.eta.improved() == list(range(MAX_REFRESHED + 1, MAX_REFRESHED + 31)), "the others follow"
    assert world.eta.improved() == []


def test_a_full_queue_says_when_to_come_back() -> None:
    world = World(seconds=60.0)
    assert world.eta.retry_after(1) is None
    world.queue.put(Ticket(1, 1, 1, KIND))
    assert world.eta.retry_after(1) == MIN_RETRY
    for n in range(2, 41):
        world.queue.put(Ticket(n, n, 1, KIND))
    assert world.eta.retry_after(41) is None
    assert world.eta.retry_after(40) == pytest.approx(40 * 60 / 10)


def test_overhead_is_part_of_the_wait() -> None:
    world = World(seconds=3.0)
    world.queue.put(Ticket(1, 1, 2, KIND))
    world.overhead.busy(0.0)
    world.overhead.drawn(3.0, 4.5)
    world.overhead.stored(2.0)
    assert world.expected(1) == pytest.approx(6.0 * 1.5 + 2.0)
    for n in range(2, 401):
        world.queue.put(Ticket(n, n, 1, KIND))
    world.clock.advance(REREAD_EVERY)
    assert world.eta.retry_after(400) == pytest.approx(401 * 3.0 * 1.5 / 10)


def test_a_prediction_is_compared_with_the_actual_wait() -> None:
    world = World(seconds=10.0)
    world.queue.put(Ticket(1, 1, 1, KIND))
    world.eta.position(1)
    world.clock.advance(4.0)
    world.eta.position(1)
    world.clock.advance(4.0)
    result = world.calibration.complete(1, now=world.clock.monotonic())
    assert result is not None
    assert result.outcome is EtaOutcome.WITHIN
    assert result.ratio == pytest.approx(0.8), "the first prediction counts"
    assert world.calibration.complete(1, now=world.clock.monotonic()) is None


@pytest.mark.parametrize(
    ("took", "kept"),
    [(6.9, EtaOutcome.EARLY), (7.1, EtaOutcome.WITHIN), (15.9, EtaOutcome.WITHIN), (16.1, EtaOutcome.LATE)],
)
def test_a_prediction_can_be_early_or_late(took: float, kept: EtaOutcome) -> None:
    calibration = EtaCalibration()
    calibration.record(1, 10.0, calibration.predict(10.0, Lane.BULK, now=0.0), Lane.BULK, now=0.0)
    assert outcome(calibration, 1, took) is kept


@pytest.mark.parametrize("share", [0.2, 1.0, 4.0])
def test_the_range_is_learnt_for_each_lane_and_length(share: float) -> None:
    calibration = EtaCalibration()
    found: list[EtaOutcome] = []
    rng = random.Random(1)
    now = learn(calibration, 10.0, Lane.BULK, *(share * rng.uniform(0.8, 1.25) for _ in range(400)), found=found)
    late = found[200:]
    assert late.count(EtaOutcome.WITHIN) / len(late) == pytest.approx(1 - 2 * MISS_RATE, abs=0.05)
    low, high = ends(calibration.predict(10.0, Lane.BULK, now=now))
    assert 10 * share * 0.6 < low < 10 * share < high < 10 * share * 1.7
    now = learn(calibration, 1000.0, Lane.BULK, *[1.0] * 400, now=now)
    assert ends(calibration.predict(10.0, Lane.BULK, now=now)) == (low, high), "others of its lane learn for themselves"


def test_a_new_category_uses_the_range_of_the_nearest() -> None:
    calibration = EtaCalibration()
    now = learn(calibration, 10.0, Lane.BULK, *[4.0] * 30)
    learnt = shares(calibration, 10.0, Lane.BULK, now)
    assert learnt[1] > INITIAL_RANGE[1]
    for expected, lane in ((1.0, Lane.BULK), (1000.0, Lane.BULK), (1000.0, Lane.INTERACTIVE)):
        assert shares(calibration, expected, lane, now) == pytest.approx(learnt)
    now = learn(calibration, 1.0, Lane.INTERACTIVE, *[1.0] * 5, now=now)
    assert shares(calibration, 1000.0, Lane.BULK, now) == pytest.approx(learnt), "its own lane comes first"
    own = shares(calibration, 1.0, Lane.INTERACTIVE, now)
    assert shares(calibration, 100.0, Lane.INTERACTIVE, now) == pytest.approx(own)
    assert own != pytest.approx(learnt)


def test_an_overdue_prediction_widens_the_range() -> None:
    calibration = EtaCalibration()
    calibration.record(1, 10.0, calibration.predict(10.0, Lane.BULK, now=0.0), Lane.BULK, now=0.0)
    assert ends(calibration.predict(10.0, Lane.BULK, now=15.9)) == pytest.approx((7.0, 16.0))
    low, high = ends(calibration.predict(10.0, Lane.BULK, now=16.1))
    assert high > 18.0
    assert outcome(calibration, 1, 30.0) is EtaOutcome.LATE
    assert ends(calibration.predict(10.0, Lane.BULK, now=30.0)) == (low, high), "it is learnt from once"


def test_a_late_burst_widens_the_range_no_further_than_it_was_late() -> None:
    calibration = EtaCalibration()
    first = calibration.predict(10.0, Lane.BULK, now=0.0)
    for n in range(100):
        calibration.record(n, 10.0, first, Lane.BULK, now=0.0)
    for n in range(100):
        calibration.complete(n, now=30.0 + n / 100)
    assert 25.0 < calibration.predict(10.0, Lane.BULK, now=31.0).high < 36.0


def outcome(calibration: EtaCalibration, job_id: int, now: float) -> EtaOutcome:
    result = calibration.complete(job_id, now=now)
    assert result is not None
    return result.outcome


def learn(
    calibration: EtaCalibration,
    expected: float,
    lane: Lane,
    *shares: float,
    now: float = 0.0,
    found: list[EtaOutcome] | None = None,
) -> float:
    """Complete one prediction after another at these multiples of the expected wait; returns the time then."""
    for n, share in enumerate(shares):
        calibration.record(n, expected, calibration.predict(expected, lane, now=now), lane, now=now)
        now += expected * share
        result = outcome(calibration, n, now)
        if found is not None:
            found.append(result)
    return now


def shares(calibration: EtaCalibration, expected: float, lane: Lane, now: float) -> tuple[float, float]:
    """Return the ends of a range as multiples of the expected wait."""
    low, high = ends(calibration.predict(expected, lane, now=now))
    return low / expected, high / expected


def ends(eta: Eta) -> tuple[float, float]:
    return eta.low, eta.high


def test_nothing_is_learnt_from_a_cancelled_job() -> None:
    world = World(seconds=10.0)
    world.queue.put(Ticket(1, 1, 1, KIND))
    world.eta.position(1)
    world.calibration.forget(1)
    assert world.calibration.complete(1, now=world.clock.monotonic()) is None


def test_the_seconds_left_of_a_running_job_are_those_of_its_undone_steps() -> None:
    world = World(seconds=3.0)
    assert world.eta.seconds_left(9) is None
    world.running()
    assert world.eta.seconds_left(9) is None, "its first step is not done: others may be drawn before it"
    for index in range(4):
        world.live.step(9, index, 0.5)
    assert world.eta.seconds_left(9) == pytest.approx(6.0)
    world.live.set_preempted(9, True)
    assert world.eta.seconds_left(9) is None


def test_the_seconds_left_are_unknown_where_nothing_was_measured() -> None:
    world = World()
    world.running()
    world.live.step(9, 0, 0.5)
    assert world.eta.seconds_left(9) is None


def two_slots(world: World) -> None:
    """Let it have a slot of speed 1 and one of speed 2."""
    world.batcher.set_slots([replace(SLOT, id="slow"), replace(SLOT, id="fast")])
    for slot, seconds in (("slow", 3.0), ("fast", 1.5)):
        world.batcher.speeds.measured(slot, ONE, seconds)


def test_slots_draw_what_waits_at_the_same_time() -> None:
    world = World()
    two_slots(world)
    world.queue.put(Ticket(1, 1, 1, KIND))
    world.queue.put(Ticket(2, 2, 1, KIND))
    world.queue.put(Ticket(3, 3, 1, KIND))
    assert [world.expected(n) for n in (1, 2, 3)] == pytest.approx([1.5, 3.0, 3.0])
    run = world.running()
    run.slots = dict.fromkeys(range(4), "fast")
    assert [world.expected(n) for n in (1, 2, 3)] == pytest.approx([7.5, 3.0, 9.0]), "as the queue was read"
    world.queue.put(Ticket(4, 4, 1, KIND))
    assert [world.expected(n) for n in (1, 2, 3, 4)] == pytest.approx([3.0, 6.0, 7.5, 9.0])
    assert world.eta.retry_after(4) == MIN_RETRY


def test_the_end_of_a_begun_job_is_that_of_its_slowest_part() -> None:
    world = World()
    two_slots(world)
    run = world.running()
    run.slots = {0: "slow", 1: "fast", 2: "fast", 3: "fast"}
    world.live.step(9, 0, 0.5)
    assert world.eta.seconds_left(9) == pytest.approx(4.5)
    run.painting = {0}
    for index in (1, 2, 3):
        world.live.step(9, index, 1.0)
    assert world.eta.seconds_left(9) == pytest.approx(1.5)


def test_a_slot_that_is_lost_is_not_counted_on() -> None:
    world = World()
    two_slots(world)
    for n in range(1, 5):
        world.queue.put(Ticket(n, n, 1, KIND))
    assert world.expected(4) == pytest.approx(4.5)
    world.batcher.set_slots([replace(SLOT, id="slow", state=EngineState(Phase.LOST)), replace(SLOT, id="fast")])
    assert world.expected(4) == pytest.approx(6.0)
