"""How a job's drawing ends: one transaction each for painted, failed, and waiting again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bot.core.jobs import MAX_ATTEMPTS, JobState
from bot.core.pictures import Picture
from bot.core.ports import Clock
from bot.dispatch.active_job import ActiveJob
from bot.drawing import job_actions
from bot.history import store as history_rows
from bot.observability.metrics import Metrics
from bot.quotas.store import ledger
from bot.storage import blobs, jobs, pictures
from bot.storage.database import Database, Tx
from bot.storage.retry import persist

LOST = "error.engine.lost"
"""Catalogue key: the engine was lost too often while it drew this job."""

log = logging.getLogger(__name__)


class Completion:
    """Writes down how drawing ended. Whoever wins the move of state does what belongs to it, in the same transaction."""

    def __init__(self, db: Database, folder: Path, clock: Clock, metrics: Metrics) -> None:
        self._db = db
        self._folder = folder
        self._clock = clock
        self._metrics = metrics

    async def over(self, run: ActiveJob, waits: Callable[[bool], None]) -> None:
        """All its pictures have ended: painted with what came, the rest refunded; failed when nothing came.

        ``waits`` is told when the database can't be written, and when that is over.
        """
        state = JobState.PAINTED if run.done else JobState.FAILED
        why = Counter(run.failed.values()).most_common(1)
        error = why[0][0] if why and not run.done else ""
        seconds = sum(done.info.seconds for done in run.done.values())

        async def write() -> bool:
            now = self._clock.now()
            async with self._db.write() as tx:
                moved = await jobs.move(
                    tx, run.job.id, JobState.RUNNING, state, now=now, error=error, seconds=seconds or None
                )
                if not moved:
                    return False
                then = await _then(tx, run)
                for index, done in sorted(run.done.items()):
                    changes = job_actions.setup_changes(then[index], done.info) if index in then else ()
                    info = replace(done.info, notes=(*done.info.notes, *changes))
                    await pictures.add(tx, replace(done, info=info), now=now)
                if run.done:
                    await history_rows.index_job(tx, run.job)
                await ledger.settle(tx, run.job.id, painted=len(run.done), now=now)
                return True

        if await persist(write, self._clock, waits):
            self._metrics.jobs.labels(state.value).inc()
            if run.failed:
                log.warning(
                    "job %d: %d of %d pictures failed (%s)", run.job.id, len(run.failed), len(run.recipes), why[0][0]
                )
        else:
            await self.discard(run)

    async def lost(self, run: ActiveJob) -> bool:
        """The engine was lost with it: it waits again, unless that has happened too often.

        Returns whether it waits again. When it does not, it was cancelled, or what has not ended of it has failed now
        and the run is over.
        """
        if run.job.attempts >= MAX_ATTEMPTS:
            run.fail_left(LOST)
            return False

        async def write() -> bool:
            async with self._db.write() as tx:
                return await jobs.requeue(tx, run.job.id, now=self._clock.now(), lost=True)

        return await persist(write, self._clock)

    async def stopped(self) -> None:
        """A graceful stop: whatever is running waits again, and the attempt does not count."""

        async def write() -> None:
            async with self._db.write() as tx:
                for job in await jobs.in_state(tx, JobState.RUNNING):
                    await jobs.requeue(tx, job.id, now=self._clock.now(), lost=False)

        await persist(write, self._clock)

    async def discard(self, run: ActiveJob) -> None:
        """Remove the files of pictures that no row will name."""
        for done in run.done.values():
            try:
                await blobs.remove(self._folder, done.path)
            except OSError:
                log.warning("an orphan file of job %d stays until the next start", run.job.id, exc_info=True)
        run.done.clear()


async def _then(tx: Tx, run: ActiveJob) -> dict[int, Picture]:
    """Return the pictures that this job draws again, by index; none where it repeats nothing."""
    job = run.job
    if job.parent_id is None or job_actions.REPEATED not in job.request.notes:
        return {}
    return {picture.index: picture for picture in await pictures.of_job(tx, job.parent_id)}
