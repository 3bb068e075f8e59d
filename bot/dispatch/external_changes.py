"""What other processes have written (the command line beside the running service) is taken up within a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from bot.core.errors import Unavailable
from bot.core.jobs import JobState, ServiceState, ticket_of
from bot.core.ports import Clock, Ticket
from bot.queue.job_queue import JobQueue
from bot.storage import jobs, options
from bot.storage.database import Database

EVERY = 1.0
"""Seconds between two looks at whether another process has written."""

AT_ONCE = 200
"""So many new jobs are read in one transaction, so that others get their turn at the database."""

log = logging.getLogger(__name__)


class ExternalChanges:
    """Looks, and brings the memory of this process up to the rows."""

    def __init__(
        self,
        db: Database,
        queue: JobQueue,
        *,
        begun: Callable[[], Sequence[int]],
        has: Callable[[int], bool],
        put: Callable[[Ticket], None],
        forget: Callable[[int], None],
        hold: Callable[[bool], None],
        refresh: Sequence[Callable[[], Awaitable[None]]],
        clock: Clock,
    ) -> None:
        """Args:
        db: An open database.
        queue: What waits, as this process knows it.
        begun: Jobs that are being drawn.
        has: Whether a job was taken out of the queue and has not ended.
        put: Takes up a job that waits.
        forget: Lets go of a job that was cancelled.
        hold: Told whether the service is paused.
        refresh: What others do after a change; the list may grow.
        clock: Time.
        """
        self._db = db
        self._queue = queue
        self._begun = begun
        self._has = has
        self._put = put
        self._forget = forget
        self._hold = hold
        self._refresh = refresh
        self._clock = clock
        self._seen: int | None = None

    async def start(self) -> None:
        """Whatever was written up to now is known. Raises Unavailable."""
        self._seen = await self._db.foreign_version()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._clock.sleep(EVERY)
            try:
                await self.look()
            except Unavailable as e:
                # The database says once itself what is wrong with it; this may go on for hours.
                log.debug("what another process has written can't be read (%s); again in %g s", e.key, EVERY)
            except Exception:
                log.exception("what another process has written can't be taken up; again in %g s", EVERY)

    async def look(self) -> None:
        """Take up what another process has written since the last look, if it has. Raises Unavailable."""
        version = await self._db.foreign_version()
        if version == self._seen:
            return
        # Before the rows: a job that comes while they are read is not missing in them.
        known, begun = set(self._queue), self._begun()
        async with self._db.read() as tx:
            waiting = await jobs.waiting_ids(tx)
            held = await options.service_state(tx) is ServiceState.PAUSE
        self._hold(held)
        for job_id in sorted(known - waiting) + [i for i in begun if i not in waiting]:
            await self._check(job_id)
        missing = sorted(waiting - known)
        for i in range(0, len(missing), AT_ONCE):
            await self._take_up(missing[i : i + AT_ONCE])
        for refresh in self._refresh:
            await refresh()
        # Not before all of it has succeeded, so that the next look makes up for one that failed.
        self._seen = version

    async def _check(self, job_id: int) -> None:
        """Let go of a job that waits or is drawn here, if its row is cancelled: it may just have been begun or ended."""
        async with self._db.read() as tx:
            job = await jobs.get(tx, job_id)
        if (job is None or job.state is JobState.CANCELLED) and (job_id in self._queue or self._has(job_id)):
            self._forget(job_id)

    async def _take_up(self, job_ids: Sequence[int]) -> None:
        async with self._db.read() as tx:
            found = [await jobs.get(tx, job_id) for job_id in job_ids]
        for job in found:
            # What was taken out of the queue meanwhile is being begun; its row may have been read before that.
            if job is not None and job.state is JobState.QUEUED and not self._has(job.id):
                self._put(ticket_of(job))
        await asyncio.sleep(0)
