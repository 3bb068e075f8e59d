"""One's own last jobs and their pictures, page by page."""

from __future__ import annotations

from dataclasses import dataclass

from bot.model.errors import NotFound
from bot.model.jobs import Job, JobState
from bot.model.people import Actor
from bot.model.pictures import Picture
from bot.store import jobs, people, pictures
from bot.usecases import access
from bot.usecases.house import House


@dataclass(frozen=True, slots=True)
class Entry:
    """A job with its pictures."""

    job: Job
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some of one's jobs, newest first; ``older`` when there are more behind them."""

    entries: tuple[Entry, ...]
    older: bool


async def page(house: House, actor: Actor, *, before: int | None, limit: int, pictured: bool) -> Page:
    """Return one's own jobs, newest first.

    Args:
        house: What use cases work with.
        actor: Whose.
        before: Only jobs with a smaller id; the newest when not given.
        limit: At most so many.
        pictured: Only jobs that have pictures.
    """
    async with house.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            return Page((), older=False)
        found = await jobs.of_person(tx, person.id, limit=limit + 1, before=before, pictured=pictured)
        shown = found[:limit]
        stored = await pictures.of_jobs(tx, [job.id for job in shown])
    return Page(tuple(Entry(job, stored[job.id]) for job in shown), older=len(found) > limit)


async def one(house: House, actor: Actor, job_id: int) -> Entry:
    """Return one's own job. Raises NotFound."""
    async with house.db.read() as tx:
        job = await access.own(tx, actor, job_id)
        return Entry(job, await pictures.of_job(tx, job.id))


async def of_job(house: House, job: Job) -> Entry:
    """Return a job that was just looked at, with its pictures; one that is not painted has none yet."""
    if job.state not in {JobState.PAINTED, JobState.DELIVERED}:
        return Entry(job, ())
    async with house.db.read() as tx:
        return Entry(job, await pictures.of_job(tx, job.id))


async def picture(house: House, actor: Actor, job_id: int, index: int) -> tuple[Job, Picture]:
    """Return one's own picture. Raises NotFound."""
    entry = await one(house, actor, job_id)
    for found in entry.pictures:
        if found.index == index:
            return entry.job, found
    raise NotFound("refusal.picture.not_found")
