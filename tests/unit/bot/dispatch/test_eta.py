"""Where a job stands, and when its pictures will be there."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from bot.core.jobs import Job, JobState
from bot.core.ports import Eta, QueuePosition, Ticket
from bot.core.recipes import batch_key, recipes_of
from bot.core.requests import DrawRequest
from bot.dispatch.active_job import ActiveJob
from bot.dispatch.eta import AGAIN, FIRST, OUTSIDE, SMALL, SOONEST, EtaCalibration, EtaEstimator
from bot.dispatch.live import Live
from bot.dispatch.overhead import Overhead
from bot.observability.metrics import Kept
from bot.queue.duration_estimate import DurationEstimate
from bot.queue.job_queue import JobQueue
from engine.contract import Lane
from tests.fakes.clock import FakeClock

REQUEST = DrawRequest("p", "p", "", 192, 192, 8, 1.0, 7, 4, "demo")
KIND = batch_key(REQUEST)
ONE = Ticket(0, 1, 1, KIND)


class World:
    """A queue that somebody looks at."""

    def __init__(self, *, seconds: float | None = None, runs: Mapping[int, ActiveJob] | None = None) -> None:
        self.estimate, self.live, self.clock = DurationEstimate(), Live(), FakeClock()
        self.overhead = Overhead()
        self.queue = JobQueue(self.estimate.cost)
        self.kept: list[tuple[Kept, float]] = []
        self.promises = EtaCalibration(lambda kept, share: self.kept.append((kept, share)))
        self.held = False
        self.aside: frozenset[int] = frozenset()
        self.runs = dict(runs or {})
        if seconds is not None:
            self.estimate.measured(ONE, seconds)
        self.outlook = EtaEstimator(
            self.queue,
            lambda: self.runs,
            self.live,
            self.estimate,
            overhead=self.overhead,
            promises=self.promises,
            clock=self.clock,
            held=lambda: self.held,
            set_aside=lambda: self.aside,
        )

    def running(self) -> ActiveJob:
        job = Job(9, JobState.RUNNING, 1, 1, None, REQUEST, "en", "", 0, 0.0)
        self.live.begin(9, REQUEST.count)
        self.runs[9] = ActiveJob(job, recipes_of(9, REQUEST), painting={0, 1, 2, 3})
        return self.runs[9]

    def middle(self, job_id: int) -> float:
        waiting = self.outlook.waiting(job_id)
        assert waiting is not None
        assert waiting.eta is not None
        assert waiting.eta.high == pytest.approx(waiting.eta.low / FIRST[0] * FIRST[1])
        return waiting.eta.low / FIRST[0]


def test_unknown_time_but_known_place() -> None:
    world = World()
    world.queue.put(Ticket(1, 1, 2, KIND))
    assert world.outlook.waiting(1) == QueuePosition(1, None)
    assert world.outlook.waiting(2) is None


def test_everything_before_it_counts_and_itself() -> None:
    world = World(seconds=3.0)
    world.queue.put(Ticket(1, 1, 2, KIND))
    world.queue.put(Ticket(2, 1, 1, KIND))
    world.queue.put(Ticket(3, 2, 1, KIND))
    world.running()
    assert [world.outlook.waiting(n).position for n in (1, 3, 2)] == [1, 2, 3]  # type: ignore[union-attr]
    assert world.middle(1) == pytest.approx(12.0 + 6.0)
    assert world.middle(3) == pytest.approx(12.0 + 6.0 + 3.0)
    assert world.middle(2) == pytest.approx(12.0 + 6.0 + 3.0 + 3.0)
    for index in range(4):
        world.live.step(9, index, 0.5)
    assert world.middle(1) == pytest.approx(6.0 + 6.0)


def test_what_is_left_of_a_running_job_is_counted_once() -> None:
    world = World(seconds=3.0)
    run = world.running()
    run.painting = {0, 1}
    world.queue.put(Ticket(9, 1, 4, KIND), (2, 3))
    world.queue.put(Ticket(1, 2, 1, KIND))
    assert world.middle(1) == pytest.approx(6.0 + 6.0 + 3.0)


def test_a_kind_that_nothing_is_known_of_hides_the_time_behind_it() -> None:
    world = World(seconds=3.0)
    world.queue.put(Ticket(1, 1, 1, KIND))
    world.queue.put(Ticket(2, 2, 1, ("another",)))
    world.queue.put(Ticket(3, 3, 1, KIND))
    assert world.middle(1) == pytest.approx(3.0)
    assert world.outlook.waiting(3) == QueuePosition(3, None)


def test_nobody_knows_when_while_the_service_is_paused() -> None:
    world = World(seconds=3.0)
    world.queue.put(Ticket(1, 1, 1, KIND))
    world.held = True
    assert world.outlook.waiting(1) == QueuePosition(1, None)


def test_urgent_work_does_not_wait_for_what_is_set_aside_for_it() -> None:
    world = World(seconds=3.0)
    world.running()
    world.aside = frozenset({9})
    world.queue.put(Ticket(1, 1, 1, KIND))
    world.queue.put(Ticket(2, 2, 1, KIND, bulk=True))
    assert world.middle(1) == pytest.approx(3.0)
    assert world.middle(2) == pytest.approx(12.0 + 3.0 + 3.0)


def test_what_changes_in_the_queue_is_seen() -> None:
    world = World()
    world.queue.put(Ticket(1, 1, 1, KIND))
    world.queue.put(Ticket(2, 2, 4, KIND))
    assert world.outlook.waiting(2) == QueuePosition(2, None)
    world.queue.remove(1)
    assert world.outlook.waiting(2) == QueuePosition(1, None)
    lead = world.queue.lead(lambda *_: True)
    assert lead is not None
    (piece,) = world.queue.take(2, lead)
    rest = piece.rest()
    assert rest is not None
    world.queue.give_back(rest)
    assert world.outlook.waiting(2) is None, "partly drawn: it does not wait any more"


def test_a_long_queue_is_not_read_at_each_change() -> None:
    world = World(seconds=3.0)
    for n in range(1, SMALL + 4):
        world.queue.put(Ticket(n, n, 1, (n,)))
    assert world.outlook.waiting(5) == QueuePosition(5, None)
    world.queue.remove(1)
    assert world.outlook.waiting(5) == QueuePosition(5, None), "as of a moment ago"
    world.queue.put(Ticket(999, 999, 1, KIND))
    assert world.outlook.waiting(999) == QueuePosition(SMALL + 3, None), "about behind each other's first"
    world.queue.put(Ticket(1000, 1000, 1, KIND, bulk=True))
    assert world.outlook.waiting(1000) == QueuePosition(SMALL + 4, None), "about at the end"
    world.clock.advance(AGAIN)
    assert world.outlook.waiting(5) == QueuePosition(4, None)


def test_who_has_moved_up_noticeably_is_named() -> None:
    world = World()
    for n in range(1, 41):
        world.queue.put(Ticket(n, n, 1, KIND))
    assert world.outlook.moved() == list(range(1, 41))
    assert world.outlook.moved() == []
    world.queue.remove(1)
    assert world.outlook.moved() == list(range(2, 11)), "one place matters to the first ten"
    world.queue.remove(2)
    world.queue.remove(3)
    assert 30 in world.outlook.moved(), "three places matter to the thirtieth"


def test_a_full_queue_says_when_to_come_back() -> None:
    world = World(seconds=60.0)
    assert world.outlook.full(1) is None
    world.queue.put(Ticket(1, 1, 1, KIND))
    assert world.outlook.full(1) == SOONEST
    for n in range(2, 41):
        world.queue.put(Ticket(n, n, 1, KIND))
    assert world.outlook.full(41) is None
    assert world.outlook.full(40) == pytest.approx(40 * 60 / 10)


def test_time_beside_the_device_is_promised_too() -> None:
    world = World(seconds=3.0)
    world.queue.put(Ticket(1, 1, 2, KIND))
    world.overhead.busy(0.0)
    world.overhead.drawn(3.0, 4.5)
    world.overhead.stored(2.0)
    assert world.middle(1) == pytest.approx(6.0 * 1.5 + 2.0)
    for n in range(2, 401):
        world.queue.put(Ticket(n, n, 1, KIND))
    world.clock.advance(AGAIN)
    assert world.outlook.full(400) == pytest.approx(401 * 3.0 * 1.5 / 10)


def test_a_promise_is_measured_by_when_the_pictures_come() -> None:
    world = World(seconds=10.0)
    world.queue.put(Ticket(1, 1, 1, KIND))
    world.outlook.waiting(1)
    world.clock.advance(4.0)
    world.outlook.waiting(1)
    world.clock.advance(4.0)
    world.promises.came(1, now=world.clock.monotonic())
    world.promises.came(1, now=world.clock.monotonic())
    ((kept, share),) = world.kept
    assert kept is Kept.TRUE
    assert share == pytest.approx(0.8), "the first promise counts, once"


@pytest.mark.parametrize(("took", "kept"), [(6.9, Kept.EARLY), (7.1, Kept.TRUE), (15.9, Kept.TRUE), (16.1, Kept.LATE)])
def test_a_promise_can_be_broken_on_either_side(took: float, kept: Kept) -> None:
    found: list[Kept] = []
    promises = EtaCalibration(lambda how, _: found.append(how))
    promises.made(1, 10.0, promises.range(10.0, Lane.BULK, now=0.0), Lane.BULK, now=0.0)
    promises.came(1, now=took)
    assert found == [kept]


@pytest.mark.parametrize("share", [0.2, 1.0, 4.0])
def test_the_range_is_learnt_for_each_lane_and_length(share: float) -> None:
    found: list[Kept] = []
    promises = EtaCalibration(lambda kept, _: found.append(kept))
    rng = random.Random(1)
    now = learn(promises, 10.0, Lane.BULK, *(share * rng.uniform(0.8, 1.25) for _ in range(400)))
    late = found[200:]
    assert late.count(Kept.TRUE) / len(late) == pytest.approx(1 - 2 * OUTSIDE, abs=0.05)
    low, high = ends(promises.range(10.0, Lane.BULK, now=now))
    assert 10 * share * 0.6 < low < 10 * share < high < 10 * share * 1.7
    now = learn(promises, 1000.0, Lane.BULK, *[1.0] * 400, now=now)
    assert ends(promises.range(10.0, Lane.BULK, now=now)) == (low, high), "others of its lane learn for themselves"


def test_a_range_that_has_learnt_nothing_is_that_of_the_nearest_that_has() -> None:
    promises = EtaCalibration(lambda *_: None)
    now = learn(promises, 10.0, Lane.BULK, *[4.0] * 30)
    learnt = shares(promises, 10.0, Lane.BULK, now)
    assert learnt[1] > FIRST[1]
    for middle, lane in ((1.0, Lane.BULK), (1000.0, Lane.BULK), (1000.0, Lane.INTERACTIVE)):
        assert shares(promises, middle, lane, now) == pytest.approx(learnt)
    now = learn(promises, 1.0, Lane.INTERACTIVE, *[1.0] * 5, now=now)
    assert shares(promises, 1000.0, Lane.BULK, now) == pytest.approx(learnt), "its own lane comes first"
    own = shares(promises, 1.0, Lane.INTERACTIVE, now)
    assert shares(promises, 100.0, Lane.INTERACTIVE, now) == pytest.approx(own)
    assert own != pytest.approx(learnt)


def test_what_is_overdue_widens_the_range_before_it_comes() -> None:
    found: list[Kept] = []
    promises = EtaCalibration(lambda kept, _: found.append(kept))
    promises.made(1, 10.0, promises.range(10.0, Lane.BULK, now=0.0), Lane.BULK, now=0.0)
    assert ends(promises.range(10.0, Lane.BULK, now=15.9)) == pytest.approx((7.0, 16.0))
    low, high = ends(promises.range(10.0, Lane.BULK, now=16.1))
    assert high > 18.0
    promises.came(1, now=30.0)
    assert found == [Kept.LATE]
    assert ends(promises.range(10.0, Lane.BULK, now=30.0)) == (low, high), "it is learnt from once"


def test_a_late_burst_widens_the_range_no_further_than_it_was_late() -> None:
    promises = EtaCalibration(lambda *_: None)
    first = promises.range(10.0, Lane.BULK, now=0.0)
    for n in range(100):
        promises.made(n, 10.0, first, Lane.BULK, now=0.0)
    for n in range(100):
        promises.came(n, now=30.0 + n / 100)
    assert 25.0 < promises.range(10.0, Lane.BULK, now=31.0).high < 36.0


def learn(promises: EtaCalibration, middle: float, lane: Lane, *shares: float, now: float = 0.0) -> float:
    """Promise and keep one after another, each at such a share of what is expected; returns the time then."""
    for n, share in enumerate(shares):
        promises.made(n, middle, promises.range(middle, lane, now=now), lane, now=now)
        now += middle * share
        promises.came(n, now=now)
    return now


def shares(promises: EtaCalibration, middle: float, lane: Lane, now: float) -> tuple[float, float]:
    """The ends of a range as shares of what is expected."""
    low, high = ends(promises.range(middle, lane, now=now))
    return low / middle, high / middle


def ends(eta: Eta) -> tuple[float, float]:
    return eta.low, eta.high


def test_nothing_is_learnt_from_what_was_cancelled() -> None:
    world = World(seconds=10.0)
    world.queue.put(Ticket(1, 1, 1, KIND))
    world.outlook.waiting(1)
    world.promises.forget(1)
    world.promises.came(1, now=world.clock.monotonic())
    assert world.kept == []
