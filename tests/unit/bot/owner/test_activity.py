"""What was drawn lately is recorded in few rows, and a chart has every quarter of an hour."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from bot.core.errors import Unavailable
from bot.observability.metrics import EtaOutcome, EtaResult, Metrics
from bot.owner.activity import KEPT, SLOT, SLOTS, ActivityRecorder, charts
from bot.owner.store import Activity
from tests.fakes.clock import FakeClock
from tests.unit.bot.conftest import World


class Lane:
    """The waiting jobs."""

    def __init__(self) -> None:
        self.waiting = 0

    def __len__(self) -> int:
        return self.waiting


def recorder(world: World) -> tuple[ActivityRecorder, Metrics, Lane, FakeClock]:
    metrics, lane = Metrics(CollectorRegistry()), Lane()
    return ActivityRecorder(world.db, metrics, lane, world.clock), metrics, lane, world.clock


async def rows(world: World) -> list[Activity]:
    return [row for row in (await charts(world.db, now=world.clock.now())).rows if row != Activity(row.at)]


async def test_nothing_is_written_while_nothing_happens(world: World) -> None:
    one, *_ = recorder(world)
    await one.flush()
    assert await world.count("activity") == 0


async def test_what_ends_is_added_to_the_present_row(world: World) -> None:
    one, metrics, lane, clock = recorder(world)
    for seconds in (1.5, 2.5):
        metrics.painted("demo", seconds)
    metrics.jobs.labels("failed").inc()
    metrics.predicted(EtaResult(EtaOutcome.WITHIN, 1.0))
    metrics.predicted(EtaResult(EtaOutcome.LATE, 3.0))
    lane.waiting = 7
    await one.flush()
    lane.waiting = 3
    metrics.painted("other", 1.0)
    metrics.jobs.labels("cancelled").inc()
    await one.flush()
    (row,) = await rows(world)
    assert row == Activity(
        int(clock.now() // SLOT) * SLOT, pictures=3, failed=1, cancelled=1, within=1, late=1, waiting=7, busy=5.0
    )


async def test_a_later_quarter_is_another_row_and_old_rows_go(world: World) -> None:
    one, metrics, _, clock = recorder(world)
    for _ in range(3):
        metrics.painted("demo", 1.0)
        await one.flush()
        clock.advance(SLOT)
    assert [row.pictures for row in await rows(world)] == [1, 1, 1]
    clock.advance(SLOT * (SLOTS + KEPT))
    metrics.painted("demo", 1.0)
    await one.flush()
    assert await world.count("activity") == 1


async def test_what_can_not_be_written_is_added_at_the_next_look(world: World) -> None:
    one, metrics, _, _ = recorder(world)
    metrics.painted("demo", 1.0)
    written = world.db.write

    def full(*, alone: bool = False) -> object:
        raise Unavailable("unavailable.disk_full")

    world.db.write = full  # type: ignore[method-assign, assignment]
    await one.flush()
    world.db.write = written  # type: ignore[method-assign]
    await one.flush()
    assert [row.pictures for row in await rows(world)] == [1]


async def test_a_chart_has_a_day_of_rows_up_to_now(world: World) -> None:
    found = await charts(world.db, now=10 * 86400 + 100.0)
    assert (found.slot, len(found.rows)) == (SLOT, SLOTS)
    assert found.rows[-1].at == 10 * 86400
    assert found.rows[0].at == 9 * 86400 + SLOT


async def test_an_unknown_fault_is_logged_and_the_next_look_is_taken(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, *_ = recorder(world)
    looked = 0

    async def flush() -> None:
        nonlocal looked
        looked += 1
        if looked == 1:
            raise RuntimeError("a fault")
        raise asyncio.CancelledError

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(one, "flush", flush)
    monkeypatch.setattr(world.clock, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await one.run()
    assert looked == 2
    assert "a fault" in caplog.text
