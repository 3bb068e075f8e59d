"""Whose job is it, and who may see it: decided by the rows, never by what a button says."""

from __future__ import annotations

from bot.core.errors import NotFound
from bot.core.jobs import Job
from bot.core.people import Actor, Place
from bot.storage import jobs, messages, people
from bot.storage.database import Tx


async def own(tx: Tx, actor: Actor, job_id: int) -> Job:
    """Return one's own job. Raises NotFound, also when it is somebody else's."""
    job = await jobs.get(tx, job_id)
    if job is None or not await is_own(tx, actor, job):
        raise NotFound("refusal.job.not_found")
    return job


async def visible(tx: Tx, actor: Actor, place: Place, job_id: int) -> Job:
    """Return a job that is one's own, or that was shown in this chat and is not private.

    Raises:
        NotFound: There is none, it is not for their eyes, or whoever asked for it had it forgotten.
    """
    job = await jobs.get(tx, job_id)
    if job is None:
        raise NotFound("refusal.job.not_found")
    if not await is_own(tx, actor, job) and (
        job.request.private or not await messages.was_shown_in(tx, job.id, place.platform, place.channel)
    ):
        raise NotFound("refusal.job.not_found")
    if job.forgotten:
        raise NotFound("refusal.job.forgotten")
    return job


async def is_own(tx: Tx, actor: Actor, job: Job) -> bool:
    """Whether the account that acts belongs to the person who asked for the job."""
    person = await people.find(tx, actor.platform, actor.user_id)
    return person is not None and person.id == job.person_id
