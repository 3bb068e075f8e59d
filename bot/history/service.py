"""The history of a person: pages, searches, single jobs and favourites."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bot.context import AppContext
from bot.core.cards import ButtonPress
from bot.core.errors import NotFound
from bot.core.jobs import Job, JobState
from bot.core.people import Actor
from bot.core.pictures import Picture
from bot.history import store as history_rows
from bot.history.queries import Query
from bot.storage import jobs, people, pictures
from bot.storage.database import Tx


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A job with its pictures; ``kept`` are the ids of those that whoever looks keeps as favourites."""

    job: Job
    pictures: tuple[Picture, ...]
    kept: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some jobs, newest first; ``older`` when there are more behind them."""

    entries: tuple[HistoryEntry, ...]
    older: bool


EMPTY = HistoryPage((), older=False)


async def get_page(ctx: AppContext, actor: Actor, *, before: int | None, limit: int, pictured: bool) -> HistoryPage:
    """Return one's own jobs, newest first.

    Args:
        ctx: What use cases work with.
        actor: Whose.
        before: Only jobs with a smaller id; the newest when not given.
        limit: At most so many.
        pictured: Only jobs that have pictures.
    """
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            return EMPTY
        found = await jobs.of_person(tx, person.id, limit=limit + 1, before=before, pictured=pictured)
        return await _page(tx, person.id, found, limit)


async def search(
    ctx: AppContext, actor: Actor, query: Query, *, before: int | None, limit: int, others: bool = True
) -> HistoryPage:
    """Return the jobs with pictures that a search finds, newest first: one's own, and of favourites alone others' too.

    Args:
        ctx: What use cases work with.
        actor: Who searches.
        query: What for.
        others: Whether others' pictures that one keeps can be shown at all.
        before: Only jobs with a smaller id; the newest when not given.
        limit: At most so many.
    """
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            return EMPTY
        find = history_rows.favourites_page if others and query.only_favourites else history_rows.find_jobs
        ids = await find(tx, person.id, query, limit=limit + 1, before=before)
        return await _page(tx, person.id, await jobs.of_ids(tx, ids), limit)


async def unfinished(ctx: AppContext, actor: Actor, *, limit: int) -> HistoryPage:
    """Return one's own jobs that have not ended: those that are drawn first, then the oldest first.

    ``older`` is True when there are more than ``limit``.
    """
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            return EMPTY
        return await _page(tx, person.id, await jobs.open_of_person(tx, person.id, limit=limit + 1), limit)


async def get_entry(ctx: AppContext, actor: Actor, job_id: int) -> HistoryEntry:
    """Return one's own job. Raises NotFound."""
    async with ctx.db.read() as tx:
        job = await jobs.get_own(tx, actor, job_id)
        return HistoryEntry(
            job, await pictures.of_job(tx, job.id), await history_rows.favourites_among(tx, job.person_id, [job.id])
        )


async def own_among(ctx: AppContext, actor: Actor, job_ids: Collection[int]) -> frozenset[int]:
    """Return those of these jobs that are one's own."""
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            return frozenset()
        return frozenset(job.id for job in await jobs.of_ids(tx, tuple(job_ids)) if job.person_id == person.id)


async def entry_of(ctx: AppContext, job: Job) -> HistoryEntry:
    """Return a job that was just looked at, with its pictures; one that is not painted has none yet."""
    if job.state not in {JobState.PAINTED, JobState.DELIVERED}:
        return HistoryEntry(job, ())
    async with ctx.db.read() as tx:
        return HistoryEntry(job, await pictures.of_job(tx, job.id))


async def get_picture(ctx: AppContext, actor: Actor, job_id: int, index: int) -> tuple[Job, Picture]:
    """Return one's own picture. Raises NotFound."""
    entry = await get_entry(ctx, actor, job_id)
    for found in entry.pictures:
        if found.index == index:
            return entry.job, found
    raise NotFound("refusal.picture.not_found")


async def _page(tx: Tx, person_id: int, found: Sequence[Job], limit: int) -> HistoryPage:
    """``found`` has one more than ``limit`` where there are more."""
    shown = found[:limit]
    ids = [job.id for job in shown]
    stored, kept = await pictures.of_jobs(tx, ids), await history_rows.favourites_among(tx, person_id, ids)
    entries = (HistoryEntry(job, stored[job.id], kept & {p.id for p in stored[job.id]}) for job in shown)
    return HistoryPage(tuple(entries), older=len(found) > limit)


async def toggle_favourite(ctx: AppContext, actor: Actor, press: ButtonPress) -> bool:
    """Keep a picture, or all of a job where the press names none; what is kept already is let go.

    The command runner has checked the actor's access to the job. Returns whether they are kept now. Raises NotFound.
    """
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        job = await jobs.get(tx, press.job_id)
        if job is None:
            raise NotFound("refusal.job.not_found")
        person = await people.remember(tx, actor, now=now)
        found = await pictures.of_job(tx, job.id)
        if press.index is not None:
            found = tuple(picture for picture in found if picture.index == press.index)
        if not found:
            raise NotFound("refusal.picture.not_found")
        kept = await history_rows.favourites_among(tx, person.id, [job.id])
        keep = not all(picture.id in kept for picture in found)
        if keep:
            await history_rows.add_favourite(tx, person.id, found, now=now)
        else:
            await history_rows.remove_favourite(tx, person.id, found)
        if job.person_id == person.id:
            await history_rows.index_job(tx, job)
    if job.person_id == person.id:
        # The page shows its stars.
        ctx.backlog.job_changed(job.id)
    return keep
