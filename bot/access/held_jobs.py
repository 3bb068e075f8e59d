"""What becomes of held requests once an owner has answered: queued as if they were asked for now, or ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bot.context import AppContext
from bot.core.errors import NotAllowed, OverQuota, Refusal
from bot.core.jobs import Job, JobState
from bot.core.people import Actor, Person, Place
from bot.core.tickets import ticket_of
from bot.moderation import ban_check
from bot.moderation.store import bans as ban_rows
from bot.places.admission_context import AdmissionContext, load
from bot.quotas.reservation import reserve
from bot.quotas.store import rules as rule_rows
from bot.storage import jobs, people
from bot.storage.database import Tx

REFUSED = "error.access.refused"
"""Catalogue key: an owner has not let them in."""


@dataclass(frozen=True, slots=True)
class ReleasedJobs:
    """Jobs that wait no more for an answer.

    Attributes:
        queued: These are drawn now.
        ended: These are not; their cards say why.
    """

    queued: Sequence[Job] = ()
    ended: Sequence[Job] = ()


async def release(tx: Tx, ctx: AppContext, job_ids: Sequence[int], *, now: float) -> ReleasedJobs:
    """Queue held jobs, each with its reservation. What no rule lets through any more ends, and says why."""
    queued, ended = [], []
    for job_id in job_ids:
        job = await jobs.get(tx, job_id)
        if job is None or job.state is not JobState.HELD:
            continue
        try:
            asking = await _asking(tx, job, now)
            ban_check.check(asking, await ban_rows.binding(tx, job.person_id, job.place_id, now=now))
            quota_rules = await rule_rows.for_one(tx, asking.actor, asking.place.guild, job.person_id)
            await reserve(tx, ctx, asking, job, quota_rules)
        except Refusal as refusal:
            await jobs.move(tx, job.id, JobState.HELD, JobState.CANCELLED, now=now, error=_reason(refusal))
            ended.append(job)
        else:
            await jobs.move(tx, job.id, JobState.HELD, JobState.QUEUED, now=now)
            queued.append(job)
    return ReleasedJobs(queued, ended)


async def dismiss(tx: Tx, job_ids: Sequence[int], *, now: float) -> ReleasedJobs:
    """End held jobs of somebody who was not let in. Nothing was reserved, so nothing is given back."""
    ended = []
    for job_id in job_ids:
        job = await jobs.get(tx, job_id)
        if job is not None and await jobs.move(tx, job_id, JobState.HELD, JobState.CANCELLED, now=now, error=REFUSED):
            ended.append(job)
    return ReleasedJobs(ended=ended)


def tell(ctx: AppContext, moved: ReleasedJobs) -> None:
    """Say to the queue and to delivery what was committed."""
    for job in moved.queued:
        ctx.backlog.put(ticket_of(job))
    for job in moved.ended:
        ctx.backlog.forget(job.id)


async def _asking(tx: Tx, job: Job, now: float) -> AdmissionContext:
    """Who asked where, as the rows know it."""
    account = await people.account(tx, job.account_id)
    place = Place(account.platform, None, "")
    if job.place_id is not None:
        place = replace(await people.place(tx, job.place_id), channel=job.channel)
    roles = await jobs.roles_of(tx, job.id)
    actor = Actor(account.platform, account.user_id, job.asker, locale=job.locale, roles=roles)
    person = Person(job.person_id, job.account_id, account.name)
    return await load(tx, actor, place, person, place_id=job.place_id, now=now)


def _reason(refusal: Refusal) -> str:
    if isinstance(refusal, OverQuota):
        return "error.access.over_quota"
    if isinstance(refusal, NotAllowed):
        return "error.access.not_allowed"
    return "error.access.not_now"
