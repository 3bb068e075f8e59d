"""Takes the next batch out of the queue and makes its jobs running, or puts back what another was quicker with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from bot.core.jobs import Job
from bot.core.ports import Clock
from bot.core.recipes import recipes_of
from bot.dispatch.active_job import ActiveJob
from bot.dispatch.batcher import Batcher
from bot.queue.job_queue import JobQueue
from bot.queue.work_item import WorkItem
from bot.storage import inputs, jobs
from bot.storage.database import Database
from engine.contract import Engine, Recipe

log = logging.getLogger(__name__)


class BatchClaims:
    """Between the queue and the engine: each job is claimed once, by the transaction that makes it running."""

    def __init__(
        self,
        db: Database,
        folder: Path,
        engine: Engine,
        *,
        queue: JobQueue,
        feed: Batcher,
        clock: Clock,
    ) -> None:
        """Args:
        db: Where the rows are.
        folder: Where pictures are written; what jobs start from lies beside it.
        engine: Says how many pictures it draws together.
        queue: What waits.
        feed: Says who is next, and keeps what is with the engine.
        clock: Time.
        """
        self._db = db
        self._folder = folder
        self._engine = engine
        self._queue = queue
        self._feeding = feed
        self._clock = clock
        self._claiming: frozenset[int] = frozenset()
        self.runs: dict[int, ActiveJob] = {}
        """Jobs that are being drawn, by id: claimed here, taken out by whoever draws them."""

    def has(self, job_id: int) -> bool:
        """Whether the job is out of the queue already and not among the runs yet."""
        return job_id in self._claiming

    async def next(self) -> list[tuple[ActiveJob, WorkItem]] | None:
        """Take the next batch out of the queue and make its jobs running.

        Returns it; empty when whose turn it was does not wait any more; None while the engine has no room for anybody.

        Raises:
            Unavailable: The database can't be read or written; everything waits as before.
        """
        lead = self._lead()
        if lead is None:
            return None
        async with self._db.read() as tx:
            job = await jobs.get(tx, lead.ticket.job_id)
        if self._lead() is not lead:
            return []
        if job is None:
            self._queue.remove(lead.ticket.job_id)
            return []
        room = self.room(self._recipes(job)[0])
        works = self._feeding.take(room, lead)
        self._claiming = frozenset(work.ticket.job_id for work in works)
        try:
            return await self._begin(works)
        finally:
            self._claiming = frozenset()

    async def _begin(self, works: Sequence[WorkItem]) -> list[tuple[ActiveJob, WorkItem]]:
        """Make the jobs of a batch running; returns those that still wait."""
        fresh = [work.ticket.job_id for work in works if not work.started]
        try:
            async with self._db.write() as tx:
                claimed = set(await jobs.claim(tx, fresh, now=self._clock.now()))
                rows = {job_id: await jobs.get(tx, job_id) for job_id in claimed}
        except Exception:
            self._feeding.return_to_queue(works)
            raise
        # Nothing is awaited between the commit and here, so a cancel that comes after the commit finds the runs.
        for job_id, row in rows.items():
            if row is not None:
                self.runs.setdefault(job_id, ActiveJob(row, self._recipes(row))).job = row
        batch = []
        for work in works:
            # Whatever was cancelled meanwhile has no run, or one that is cancelled.
            run = self.runs.get(work.ticket.job_id)
            if run is not None and not run.cancelled and (work.started or run.job.id in claimed):
                batch.append((run, work))
            else:
                self._feeding.refund(work)
        return batch

    def _recipes(self, job: Job) -> tuple[Recipe, ...]:
        return recipes_of(job.id, job.request, inputs.data_folder(self._folder))

    def _lead(self) -> WorkItem | None:
        return self._feeding.lead(self._engine.state().model)

    def room(self, recipe: Recipe) -> int:
        """How many pictures of this kind go into one batch. What the engine can't say, its paint will."""
        try:
            return max(1, self._engine.batch(recipe))
        except Exception:
            log.exception("the engine does not say how many pictures of %s it paints together", recipe.model)
            return 1
