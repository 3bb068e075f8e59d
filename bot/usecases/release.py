"""What becomes of held requests once an owner has answered: queued as if they were asked for now, or ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bot.model.errors import NotAllowed, OverQuota, Refusal
from bot.model.jobs import Job, JobState
from bot.model.people import Actor, Person, Place
from bot.policy.tickets import ticket_of
from bot.store import jobs, people
from bot.store.database import Tx
from bot.usecases.asking import Asking, look
from bot.usecases.gates import bans
from bot.usecases.house import House
from bot.usecases.reserve import reserve

REFUSED = "error.access.refused"
"""Catalogue key: an owner has not let them in."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Jobs that wait no more for an answer.

    Attributes:
        queued: These are drawn now.
        ended: These are not; their cards say why.
    """

    queued: Sequence[Job] = ()
    ended: Sequence[Job] = ()


async def release(tx: Tx, house: House, job_ids: Sequence[int], *, now: float) -> Moved:
    """Queue held jobs, each with its reservation. What no rule lets through any more ends, and says why."""
    queued, ended = [], []
    for job_id in job_ids:
        job = await jobs.get(tx, job_id)
        if job is None or job.state is not JobState.HELD:
            continue
        try:
            asking = await _asking(tx, job, now)
            bans.check(asking)
            await reserve(tx, house, asking, job)
        except Refusal as refusal:
            await jobs.move(tx, job.id, JobState.HELD, JobState.CANCELLED, now=now, error=_reason(refusal))
            ended.append(job)
        else:
            await jobs.move(tx, job.id, JobState.HELD, JobState.QUEUED, now=now)
            queued.append(job)
    return Moved(queued, ended)


async def dismiss(tx: Tx, job_ids: Sequence[int], *, now: float) -> Moved:
    """End held jobs of somebody who was not let in. Nothing was reserved, so nothing is given back."""
    ended = []
    for job_id in job_ids:
        job = await jobs.get(tx, job_id)
        if job is not None and await jobs.move(tx, job_id, JobState.HELD, JobState.CANCELLED, now=now, error=REFUSED):
            ended.append(job)
    return Moved(ended=ended)


def tell(house: House, moved: Moved) -> None:
    """Say to the queue and to delivery what was committed."""
    for job in moved.queued:
        house.backlog.put(ticket_of(job))
    for job in moved.ended:
        house.backlog.forget(job.id)


async def _asking(tx: Tx, job: Job, now: float) -> Asking:
    """Who asked where, as the rows know it."""
    account = await people.account(tx, job.account_id)
    place = Place(account.platform, None, "")
    if job.place_id is not None:
        place = replace(await people.place(tx, job.place_id), channel=job.channel)
    roles = await jobs.roles_of(tx, job.id)
    actor = Actor(account.platform, account.user_id, job.asker, locale=job.locale, roles=roles)
    person = Person(job.person_id, job.account_id, account.name)
    return await look(tx, actor, place, person, place_id=job.place_id, now=now)


def _reason(refusal: Refusal) -> str:
    if isinstance(refusal, OverQuota):
        return "error.access.over_quota"
    if isinstance(refusal, NotAllowed):
        return "error.access.not_allowed"
    return "error.access.not_now"
