"""Stop a job that is not painted yet; whoever wins the move refunds it, once."""

from __future__ import annotations

from bot.context import AppContext
from bot.core.errors import NotAllowed
from bot.core.jobs import Job, JobState
from bot.core.people import Actor, Place
from bot.moderation import ban_check
from bot.quotas.store import ledger
from bot.storage import job_visibility, jobs, people
from bot.storage.database import Tx

_STOPPABLE = (JobState.HELD, JobState.QUEUED, JobState.RUNNING)


async def cancel(ctx: AppContext, actor: Actor, place: Place, job_id: int) -> tuple[Job, bool]:
    """Cancel a job: for who asked for it, for the owner, and for admins of the place where it was asked for.

    Returns:
        The job as it is now, and whether this call cancelled it (False: it had ended, or was painted already).

    Raises:
        NotFound: There is no such job in this chat.
        NotAllowed: It is somebody else's, and they are no admin of its place or are banned.
    """
    async with ctx.db.write() as tx:
        job = await job_visibility.visible(tx, actor, place, job_id)
        if not await _may(tx, actor, place, job):
            raise NotAllowed("refusal.cancel.not_yours")
        if not await job_visibility.is_own(tx, actor, job):
            await ban_check.check_actor(tx, actor, place, now=ctx.clock.now(), everywhere=True)
        now = ctx.clock.now()
        won = False
        if job.state in _STOPPABLE:
            won = await jobs.move(tx, job.id, job.state, JobState.CANCELLED, now=now)
        if won:
            await ledger.refund(tx, job.id, now=now)
        after = await jobs.get(tx, job_id)
        assert after is not None
    if won:
        ctx.backlog.forget(job_id)
        ctx.backlog.changed(job_id)
    return after, won


async def _may(tx: Tx, actor: Actor, place: Place, job: Job) -> bool:
    if actor.is_owner or await job_visibility.is_own(tx, actor, job):
        return True
    return actor.is_admin and job.place_id is not None and job.place_id == await people.find_place(tx, place)
