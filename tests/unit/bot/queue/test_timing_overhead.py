"""The overhead of the service over the device."""

from __future__ import annotations

import pytest

from bot.core.ports import Ticket
from bot.core.requests import DrawRequest, batch_key, recipes_of
from bot.dispatch.batcher import Batcher
from bot.dispatch.in_flight import InFlightBatch
from bot.queue.job_queue import JobQueue
from bot.queue.timing import KEPT_SPANS, SPAN, DurationEstimate, Overhead
from engine.contract import EngineState, Image, Phase, Slot
from tests.fakes.clock import FakeClock

SLOT = Slot("0", EngineState(Phase.WARM), calls=2)
REQUEST = DrawRequest("p", "p", "", 192, 192, 8, 1.0, 7, 1, "demo")


def test_nothing_measured_adds_nothing() -> None:
    assert (Overhead().factor(), Overhead().tail()) == (1.0, 0.0)


def test_the_first_picture_counts_at_once_and_a_batch_that_comes_together_as_one() -> None:
    overhead = Overhead()
    overhead.busy(10.0)
    overhead.drawn(2.0, 13.0)
    assert overhead.factor() == pytest.approx(1.5)
    overhead = Overhead()
    overhead.busy(0.0)
    for _ in range(SPAN):
        overhead.drawn(1.0, 6.0)
    assert overhead.factor() == pytest.approx(6.0 / SPAN)


def test_the_device_is_never_expected_faster_than_it_is() -> None:
    overhead = Overhead()
    overhead.busy(0.0)
    overhead.drawn(5.0, 1.0)
    assert overhead.factor() == 1.0


def test_slots_that_work_at_the_same_time_are_measured_each_by_itself() -> None:
    overhead = Overhead()
    for slot in ("a", "b"):
        overhead.busy(0.0, slot)
    overhead.drawn(2.0, 3.0, "a")
    overhead.drawn(6.0, 9.0, "b")
    assert overhead.factor() == pytest.approx(1.5)
    overhead.idle("a")
    overhead.busy(100.0, "a")
    for n in range(1, SPAN):
        overhead.drawn(2.0, 100.0 + 3.0 * n, "a")
    assert overhead.factor() == pytest.approx(1.5)


def test_an_outlier_does_not_change_the_factor() -> None:
    overhead = Overhead()
    overhead.busy(0.0)
    now = 0.0
    for n in range(KEPT_SPANS * SPAN):
        now += 5000.0 if n == SPAN else 1.3
        overhead.drawn(1.0, now)
    overhead.stored(1.0)
    overhead.stored(500.0)
    overhead.stored(1.2)
    assert overhead.factor() == pytest.approx(1.3)
    assert overhead.tail() == 1.2


class Line:
    """A queue and its batcher."""

    def __init__(self) -> None:
        self.clock, self.overhead = FakeClock(), Overhead()
        self.queue = JobQueue()
        self.batcher = Batcher(self.queue, DurationEstimate(), [SLOT], overhead=self.overhead, clock=self.clock)
        self.jobs = 0

    def put(self) -> None:
        self.jobs += 1
        self.queue.put(Ticket(self.jobs, self.jobs, 1, (*batch_key(REQUEST), self.jobs)))

    def begin(self) -> InFlightBatch:
        _, lead = next(self.batcher.choose())
        works = self.batcher.take(SLOT.id, 1, lead)
        return self.batcher.begin(SLOT.id, [(work, recipes_of(work.ticket.job_id, REQUEST)) for work in works], 1)

    def draw(self, seconds: float, elapsed: float) -> None:
        batch = self.begin()
        self.clock.advance(elapsed)
        (recipe,) = batch.recipes
        self.batcher.on_event(batch, Image(recipe.id, b"", width=192, height=192, seconds=seconds))
        self.batcher.end(batch)


def test_time_between_batches_counts_while_jobs_wait() -> None:
    line = Line()
    line.put()
    line.put()
    line.draw(2.0, 2.0)
    line.clock.advance(2.0)
    line.draw(2.0, 2.0)
    assert line.overhead.factor() == pytest.approx(6.0 / 4.0)


@pytest.mark.parametrize("paused", [False, True])
def test_idle_and_paused_time_does_not_count(paused: bool) -> None:
    line = Line()
    line.put()
    if paused:
        line.put()
    line.draw(2.0, 2.0)
    line.batcher.set_paused(paused)
    line.clock.advance(1000.0)
    line.batcher.set_paused(False)
    if not paused:
        line.put()
    line.draw(2.0, 3.0)
    assert line.overhead.factor() == pytest.approx(5.0 / 4.0)


def test_lost_and_cancelled_pictures_are_not_measured() -> None:
    line = Line()
    line.put()
    line.put()
    batch = line.begin()
    line.clock.advance(1000.0)
    line.batcher.end(batch)
    line.draw(2.0, 3.0)
    assert line.overhead.factor() == pytest.approx(1.5)


def test_a_slot_that_leaves_work_to_another_one_is_not_kept_waiting_by_the_service() -> None:
    clock, overhead, queue = FakeClock(), Overhead(), JobQueue()
    one = Slot("one", EngineState(Phase.WARM), models=frozenset({"one"}))
    other = Slot("other", EngineState(Phase.LOST))
    batcher = Batcher(queue, DurationEstimate(), [one, other], overhead=overhead, clock=clock)

    def draw(job_id: int) -> None:
        queue.put(Ticket(job_id, job_id, 1, (*batch_key(REQUEST), job_id), "one"))
        for slot, lead in batcher.choose():
            (work,) = batcher.take(slot, 1, lead)
            batch = batcher.begin(slot, [(work, recipes_of(job_id, REQUEST))], 1)
        clock.advance(2.0)
        batcher.on_event(batch, Image(f"{job_id}:0", b"", width=192, height=192, seconds=2.0))
        batcher.end(batch)

    queue.put(Ticket(1, 1, 1, ("waits",), "another"))
    draw(2)
    assert list(batcher.choose()) == []
    clock.advance(1000.0)
    draw(3)
    assert overhead.factor() == pytest.approx(1.0)


def test_what_another_slot_drew_for_one_says_nothing_of_its_speed() -> None:
    clock, queue = FakeClock(), JobQueue()
    slots = [Slot(name, EngineState(Phase.WARM)) for name in ("large", "small")]
    batcher = Batcher(queue, DurationEstimate(), slots, overhead=Overhead(), clock=clock)
    for job_id, slot, drew in ((1, "large", ""), (2, "small", "large"), (3, "small", "")):
        queue.put(Ticket(job_id, job_id, 1, batch_key(REQUEST), "demo"))
        lead = queue.lead(lambda *_: True)
        assert lead is not None
        (work,) = batcher.take(slot, 1, lead)
        batch = batcher.begin(slot, [(work, recipes_of(job_id, REQUEST))], 1)
        seconds = 8.0 if (slot, drew) == ("small", "") else 2.0
        batcher.on_event(batch, Image(f"{job_id}:0", b"", width=192, height=192, seconds=seconds, slot=drew))
        batcher.end(batch)
    assert (batcher.speeds.of("large"), batcher.speeds.of("small")) == (1.0, 0.25)
