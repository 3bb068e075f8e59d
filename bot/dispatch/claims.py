"""Claims batches: takes them out of the queue, and makes their jobs running in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.core.jobs import Job
from bot.core.ports import Clock, Ticket
from bot.core.requests import recipes_of
from bot.dispatch.active_job import ActiveJob, ActiveJobs
from bot.dispatch.batcher import Batcher
from bot.queue.fair_queue import WorkItem
from bot.storage import inputs, jobs
from bot.storage.database import Database
from engine.contract import Engine, Recipe

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A batch whose jobs are running, for one slot.

    Attributes:
        slot: Id of the slot.
        per_step: How many of its pictures share a step.
        items: Its items and their jobs; never empty.
    """

    slot: str
    per_step: int
    items: Sequence[tuple[ActiveJob, WorkItem]]

    def job_ids(self) -> list[int]:
        """Return the ids of its jobs, in order."""
        return sorted({active.job.id for active, _ in self.items})


@dataclass(frozen=True, slots=True)
class _Taken:
    """A batch that is out of the queue."""

    slot: str
    per_step: int
    items: tuple[WorkItem, ...]


class BatchClaims:
    """Takes batches out of the queue. Each job is claimed once, by the transaction that makes it running."""

    def __init__(
        self,
        db: Database,
        folder: Path,
        engine: Engine,
        *,
        batcher: Batcher,
        active: ActiveJobs,
        clock: Clock,
    ) -> None:
        """Args:
        db: Where the rows are.
        folder: Where pictures are written; source images are in a folder next to it.
        engine: Says how many pictures it draws together.
        batcher: Decides what is next.
        active: Gets the claimed jobs.
        clock: Time.
        """
        self._db = db
        self._folder = folder
        self._engine = engine
        self._batcher = batcher
        self._active = active
        self._clock = clock

    async def next_batches(self) -> list[Claimed] | None:
        """Take a batch for each slot that is to be given one out of the queue, and make their jobs running.

        Returns the batches, without those whose jobs were cancelled meanwhile; None while no slot has room.

        Raises:
            Unavailable: The database can't be read or written; everything waits as before.
        """
        taken: list[_Taken] = []
        for slot, lead in self._batcher.choose():
            per_step = self._per_step(lead.ticket, slot)
            taken.append(_Taken(slot, per_step, self._batcher.take(slot, per_step, lead)))
        if not taken:
            return None
        with self._active.claiming(item.ticket.job_id for batch in taken for item in batch.items):
            return await self._claim(taken)

    async def _claim(self, taken: Sequence[_Taken]) -> list[Claimed]:
        """Make the jobs of batches running; returns what was not cancelled meanwhile."""
        fresh = [item.ticket.job_id for batch in taken for item in batch.items if not item.started]
        claimed: Sequence[Job] = ()
        try:
            if fresh:
                now = self._clock.now()
                claimed = await self._db.run_write(lambda tx: jobs.claim(tx, fresh, now=now))
        except Exception:
            for batch in reversed(taken):
                self._batcher.put_back(batch.items)
            raise
        # Nothing is awaited between the commit and here, so a cancel after the commit finds the active jobs.
        for row in claimed:
            if (known := self._active.get(row.id)) is not None:
                known.job = row
            else:
                self._active[row.id] = ActiveJob(row, self._recipes(row))
        running = {row.id for row in claimed}
        found = []
        for batch in taken:
            items = []
            for item in batch.items:
                # A job that was cancelled meanwhile is not active, or marked as cancelled.
                active = self._active.get(item.ticket.job_id)
                if active is not None and not active.cancelled and (item.started or active.job.id in running):
                    items.append((active, item))
                else:
                    self._batcher.refund(item)
            if items:
                found.append(Claimed(batch.slot, batch.per_step, items))
        return found

    def _per_step(self, ticket: Ticket, slot: str) -> int:
        """Return how many pictures of a job share a step on a slot; 1 where the engine can't say."""
        sample = Recipe("", ticket.model, "", "", ticket.width, ticket.height, 1, 0.0, 0)
        try:
            return max(1, self._engine.batch(sample, slot))
        except Exception:
            log.exception("the engine does not say how many pictures of %s it draws together", ticket.model)
            return 1

    def _recipes(self, job: Job) -> tuple[Recipe, ...]:
        return recipes_of(job.id, job.request, inputs.data_folder(self._folder))
