"""Batches that are taken out of the queue and can't be begun: nothing is charged for, lost, or begun twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bot.core.errors import Unavailable
from bot.core.jobs import Job, JobState, ticket_of
from bot.dispatch.active_job import ActiveJobs
from bot.dispatch.batcher import Batcher
from bot.dispatch.claims import BatchClaims
from bot.queue.job_queue import JobQueue
from bot.queue.timing import DurationEstimate, Overhead
from bot.storage import jobs
from bot.storage.database import Database, Tx
from engine.contract import EngineState, Phase, Slot
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine
from tests.fakes.job_rows import REQUEST, add_job

SLOTS = [Slot(name, EngineState(Phase.WARM, REQUEST.model)) for name in ("one", "two")]


class Rig:
    """Two idle slots before a queue of real rows."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.db, self.active, self.queue = db, ActiveJobs(), JobQueue()
        clock = FakeClock()
        self.batcher = Batcher(self.queue, DurationEstimate(), SLOTS, overhead=Overhead(), clock=clock)
        self.claims = BatchClaims(db, folder, FakeEngine(), batcher=self.batcher, active=self.active, clock=clock)

    async def ask(self) -> Job:
        async with self.db.write() as tx:
            job = await jobs.get(tx, await add_job(tx))
        assert job is not None
        self.queue.put(ticket_of(job))
        return job

    def counted(self) -> int:
        """Return how many pictures count for people: they wait, or were handed out and have not ended."""
        return sum(self.queue._scheduler._pictures.values())


@pytest.fixture
def rig(db: Database, tmp_path: Path) -> Rig:
    return Rig(db, tmp_path)


async def test_a_job_that_two_slots_were_to_share_waits_as_one_when_its_row_can_not_be_written(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await rig.ask()
    count = job.request.count
    assert count > 1
    claim = jobs.claim

    async def fails(tx: Tx, job_ids: Sequence[int], *, now: float) -> Sequence[Job]:
        raise Unavailable("unavailable.database")

    monkeypatch.setattr(jobs, "claim", fails)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await rig.claims.next_batches()
        ((_, item),) = rig.queue.order()
        assert (item.indexes, item.started, item.charge) == (tuple(range(count)), False, None)
        assert rig.counted() == count
    monkeypatch.setattr(jobs, "claim", claim)
    batches = await rig.claims.next_batches()
    assert batches is not None
    assert {batch.slot for batch in batches} == {"one", "two"}
    assert sorted(i for batch in batches for _, item in batch.items for i in item.indexes) == list(range(count))
    assert rig.active[job.id].job.state is JobState.RUNNING


async def test_a_job_that_is_cancelled_while_it_is_claimed_is_with_no_slot_and_not_charged(rig: Rig) -> None:
    job = await rig.ask()
    async with rig.db.write() as tx:
        assert await jobs.move(tx, job.id, JobState.QUEUED, JobState.CANCELLED, now=1.0)
    assert await rig.claims.next_batches() == []
    assert not rig.active
    assert not rig.active.owns(job.id)
    assert (len(rig.queue), rig.counted()) == (0, 0)
    assert await rig.claims.next_batches() is None
