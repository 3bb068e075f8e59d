"""How long the scheduler takes with ten thousand jobs waiting; `make bench` prints a table."""

from __future__ import annotations

import random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bot.core.ports import Ticket
from bot.queue.fair_queue import WorkItem
from bot.queue.scheduler import Scheduler
from engine.contract import Lane
from tests.bench.test_speed import measured

pytestmark = pytest.mark.bench

WAITING = 10_000
ROOM = 8


def crowd(people: int, places: int) -> Scheduler:
    """Ten thousand jobs of many people in many places, of some sizes, of two models."""
    rng, scheduler = random.Random(1), Scheduler(lambda ticket: ticket.work / 1e6)
    for job_id in range(1, WAITING + 1):
        person = rng.randrange(people)
        model, side = rng.choice(("one", "two")), rng.choice((192, 256, 512))
        ticket = Ticket(
            job_id,
            person,
            rng.choice((1, 1, 1, 2, 4)),
            (model, side),
            model,
            side * side * 8,
            (model, side),
            place=person % places,
        )
        scheduler.put(WorkItem(ticket, tuple(range(ticket.count))))
    return scheduler


@pytest.mark.parametrize(("people", "places"), [(1, 1), (10, 3), (2_000, 50), (10_000, 1), (10_000, 10_000)])
def test_picking_among_ten_thousand(benchmark: BenchmarkFixture, people: int, places: int) -> None:
    """Who is next, the batch taken out and charged, and as many put in again (limit: 1 ms)."""
    scheduler = crowd(people, places)

    def fits(_work: WorkItem, _lane: Lane) -> bool:
        return True

    def pick() -> None:
        lead = scheduler.lead(fits, "one")
        assert lead is not None
        for work in scheduler.take(ROOM, lead):
            assert work.charge is not None
            for _ in work.indexes:
                scheduler.settle(work.charge, work.charge.seconds_per_picture)
            scheduler.put(WorkItem(work.ticket, tuple(range(work.ticket.count))))

    measured(benchmark)(pick, rounds=2000, warmup_rounds=50)
    assert len(scheduler) == WAITING
    assert benchmark.stats is not None
    assert benchmark.stats.stats.median < 0.001


def test_reading_the_order_of_ten_thousand(benchmark: BenchmarkFixture) -> None:
    """Everybody's place, which is worked out every few seconds at most (limit: 100 ms)."""
    scheduler = crowd(2_000, 50)
    measured(benchmark)(lambda: list(scheduler.order()), rounds=20, warmup_rounds=1)
    assert benchmark.stats is not None
    assert benchmark.stats.stats.median < 0.100
