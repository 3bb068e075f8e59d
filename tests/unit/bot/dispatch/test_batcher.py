"""What people are charged for the pictures of slots of unequal speeds."""

from __future__ import annotations

import pytest

from bot.core.ports import Ticket
from bot.core.requests import DrawRequest, batch_key, recipes_of
from bot.dispatch.batcher import Batcher
from bot.dispatch.in_flight import InFlightBatch
from bot.queue.fair_queue import Charge
from bot.queue.job_queue import JobQueue
from bot.queue.timing import DurationEstimate, Overhead
from engine.contract import EngineState, Image, Phase, Slot, Step
from tests.fakes.clock import FakeClock

REQUEST = DrawRequest("p", "p", "", 192, 192, 8, 1.0, 7, 1, "demo")
SLOTS = [Slot(name, EngineState(Phase.WARM)) for name in ("fast", "slow")]


def test_a_picture_costs_the_same_on_every_slot_and_is_charged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = DurationEstimate()
    queue = JobQueue(estimate.cost)
    batcher = Batcher(queue, estimate, SLOTS, overhead=Overhead(), clock=FakeClock())
    charged: list[float] = []
    settle = queue.settle

    def noted(charge: Charge, seconds: float) -> None:
        charged.append(seconds)
        settle(charge, seconds)

    monkeypatch.setattr(queue, "settle", noted)

    def begin(job_id: int, slot: str) -> InFlightBatch:
        queue.put(Ticket(job_id, job_id, 1, batch_key(REQUEST), "demo", 192 * 192 * 8))
        lead = queue.lead(lambda *_: True)
        assert lead is not None
        (work,) = batcher.take(slot, 1, lead)
        return batcher.begin(slot, [(work, recipes_of(job_id, REQUEST))], 1)

    for job_id, slot, seconds in ((1, "fast", 2.0), (2, "slow", 8.0), (3, "slow", 8.0), (4, "fast", 2.0)):
        batch = begin(job_id, slot)
        image = Image(f"{job_id}:0", b"", width=192, height=192, seconds=seconds)
        batcher.on_event(batch, image)
        batcher.on_event(batch, image)
        batcher.end(batch)
    assert charged == [2.0] * 4
    lost = begin(5, "slow")
    batcher.on_event(lost, Step("5:0", 2, 8))
    batcher.lost(lost)
    batcher.end(lost)
    assert charged[4:] == [pytest.approx(0.5)], "for the steps that it took"
    assert not queue._scheduler._pictures
