"""Deletion of several of one's jobs that can be undone: they are hidden at once and deleted when the time to undo is over."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from pathlib import Path

from bot.context import AppContext
from bot.core.errors import BadInput, NotFound, Unavailable
from bot.core.events import EventBus, JobChanged, MessagesAdded
from bot.core.people import Actor
from bot.core.ports import Clock
from bot.privacy.deletion import OPEN, remove_files
from bot.privacy.store import deletion as deletion_rows
from bot.privacy.store import deletions
from bot.privacy.store.deletions import Deletion
from bot.storage import jobs, people
from bot.storage.database import Database

UNDO_SECONDS = 30.0
"""How long a deletion can be undone."""

MOST_JOBS = 200
"""Most jobs of one deletion."""

_BATCH = 25
"""Jobs that are deleted in one transaction, which admission may have to wait for."""

_IDLE_SECONDS = 3600.0
_PAUSE_SECONDS = 30.0
"""Pause in seconds after the database could not be written."""

log = logging.getLogger(__name__)


async def delete_jobs(ctx: AppContext, actor: Actor, job_ids: Sequence[int], key: str) -> Deletion:
    """Hide the actor's jobs, and delete them once the time to undo is over. Nothing is refunded.

    The same key again returns the same deletion. A kill changes nothing: the rows say what is to be done.

    Args:
        ctx: The context.
        actor: The actor.
        job_ids: 1 to ``MOST_JOBS`` of their ended jobs.
        key: Chosen by the actor's client for this request.

    Raises:
        NotFound: One of the jobs is not the actor's, or is deleted already.
        BadInput: One of them is not ended; it can be cancelled.
    """
    event = f"{actor.platform}:{actor.user_id}:{key}"
    async with ctx.db.write() as tx:
        if (known := await deletions.by_event(tx, event)) is not None:
            return known
        person = await people.find(tx, actor.platform, actor.user_id)
        found = await jobs.of_ids(tx, tuple(dict.fromkeys(job_ids)))
        own = [job for job in found if person is not None and job.person_id == person.id and not job.is_hidden]
        if len(own) < len(set(job_ids)):
            raise NotFound("refusal.job.not_found")
        if any(job.state in OPEN for job in own):
            raise BadInput("refusal.delete.open")
        due_at = ctx.clock.now() + UNDO_SECONDS
        deletion = await deletions.add(tx, event, secrets.token_urlsafe(18), due_at, [job.id for job in own])
    for job in own:
        ctx.backlog.job_changed(job.id)
    ctx.backlog.deletion_added()
    return deletion


async def undo_deletion(ctx: AppContext, actor: Actor, token: str) -> tuple[int, ...]:
    """Show the jobs of a deletion again; return them. Raises NotFound if it is carried out, or not the actor's."""
    async with ctx.db.write() as tx:
        deletion, person = await deletions.by_token(tx, token), await people.find(tx, actor.platform, actor.user_id)
        # Once it is due, some of its jobs may be deleted already.
        if deletion is None or person is None or deletion.due_at <= ctx.clock.now():
            raise NotFound("refusal.delete.undone")
        hidden = await deletions.jobs_of(tx, deletion, limit=MOST_JOBS)
        if not hidden or any(job.person_id != person.id for job in hidden):
            raise NotFound("refusal.delete.undone")
        await deletions.release(tx, [job.id for job in hidden])
        await deletions.remove(tx, deletion)
    for job in hidden:
        ctx.backlog.job_changed(job.id)
    return tuple(job.id for job in hidden)


class DeletionWorker:
    """Carries deletions out when the time to undo is over, also those that an earlier start of the service has left."""

    def __init__(self, db: Database, folder: Path, clock: Clock, bus: EventBus) -> None:
        """Args:
        db: The database.
        folder: The pictures folder.
        clock: Time.
        bus: Told which jobs are deleted, and that their messages are to be removed.
        """
        self._db = db
        self._folder = folder
        self._clock = clock
        self._bus = bus
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """A deletion was added."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._wake.clear()
            try:
                pause = await self._carry_out()
            except Unavailable as e:
                log.debug("what is to be deleted can't be deleted now (%s)", e.key)
                pause = _PAUSE_SECONDS
            except Exception:  # the service goes on
                log.exception("what is to be deleted could not be deleted")
                pause = _PAUSE_SECONDS
            await self._clock.wait(self._wake, pause)

    async def _carry_out(self) -> float:
        """Carry out what is due; return the seconds until the next one is."""
        while True:
            async with self._db.read() as tx:
                deletion = await deletions.next_due(tx)
            if deletion is None:
                return _IDLE_SECONDS
            if (left := deletion.due_at - self._clock.now()) > 0:
                return min(left, UNDO_SECONDS)
            await self._delete_some(deletion)

    async def _delete_some(self, deletion: Deletion) -> None:
        async with self._db.write() as tx:
            some = await deletions.jobs_of(tx, deletion, limit=_BATCH)
            removed = [await deletion_rows.delete_job(tx, job.id) for job in some]
            await deletions.release(tx, [job.id for job in some])
            if len(some) < _BATCH:
                await deletions.remove(tx, deletion)
        for job in some:
            self._bus.publish(JobChanged(job.id))
        self._bus.publish(MessagesAdded())
        for files in removed:
            await remove_files(self._db, self._folder, files)
