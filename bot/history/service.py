"""History: pages, searches, single jobs and favourites of a person, and background work on the search index."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bot.context import AppContext
from bot.core.cards import ButtonPress, ParentPicture
from bot.core.errors import NotFound, Unavailable
from bot.core.jobs import Job, JobState
from bot.core.people import Actor
from bot.core.pictures import Picture
from bot.core.ports import Clock
from bot.history import store as history_rows
from bot.history.queries import Query
from bot.storage import data_files, jobs, people, pictures
from bot.storage.database import Database, Tx

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A job with its pictures.

    Attributes:
        job: The job.
        pictures: Its pictures, in order.
        favourites: The ids of the pictures that are favourites of the viewer.
        platform: The platform of the account that requested it; empty where it was not looked up.
        parent: The picture that it was made from; None if there is none, or it is another person's.
    """

    job: Job
    pictures: tuple[Picture, ...]
    favourites: frozenset[int] = frozenset()
    platform: str = ""
    parent: ParentPicture | None = None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some jobs, newest first; ``older`` says whether there are older ones."""

    entries: tuple[HistoryEntry, ...]
    older: bool


EMPTY = HistoryPage((), older=False)


async def get_page(ctx: AppContext, actor: Actor, *, before: int | None, limit: int, pictured: bool) -> HistoryPage:
    """Return the actor's jobs, newest first.

    Args:
        ctx: The context.
        actor: The actor.
        before: Only jobs with a smaller id; None for the newest.
        limit: Number of jobs at most.
        pictured: Only jobs with pictures.
    """
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            return EMPTY
        found = await jobs.of_person(tx, person.id, limit=limit + 1, before=before, pictured=pictured)
        return await _page(tx, person.id, found, limit)


async def feed(
    ctx: AppContext,
    actor: Actor,
    *,
    before: int | None,
    limit: int,
    query: Query | None = None,
    kind: str = "",
    starred: bool = False,
) -> HistoryPage:
    """Return the actor's own jobs, newest first, unfinished ones included. Each page takes the same time.

    Args:
        ctx: The context.
        actor: The actor.
        before: Only jobs with a smaller id; None for the newest.
        limit: Number of jobs at most.
        query: Only jobs with pictures that match it.
        kind: Only jobs of this kind (``Job.kind``); empty for all.
        starred: Only jobs with a favourite of the actor.
    """
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            return EMPTY
        if query is not None:
            sought = replace(query, favourite=query.favourite or starred)
            ids = await history_rows.find_jobs(tx, person.id, sought, limit=limit + 1, before=before, kind=kind)
        elif starred:
            ids = await history_rows.own_starred(tx, person.id, limit=limit + 1, before=before, kind=kind)
        else:
            found = await jobs.of_person(tx, person.id, limit=limit + 1, before=before, kind=kind)
            return await _page(tx, person.id, found, limit)
        return await _page(tx, person.id, await jobs.of_ids(tx, ids), limit)


async def search(
    ctx: AppContext, actor: Actor, query: Query, *, before: int | None, limit: int, others: bool = True
) -> HistoryPage:
    """Return the jobs with pictures that match a query, newest first.

    They are the actor's own; a search for nothing but favourites also finds other people's jobs.

    Args:
        ctx: The context.
        actor: The actor.
        query: The query.
        others: Whether favourites among other people's pictures can be shown.
        before: Only jobs with a smaller id; None for the newest.
        limit: Number of jobs at most.
    """
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            return EMPTY
        find = history_rows.favourites_page if others and query.only_favourites else history_rows.find_jobs
        ids = await find(tx, person.id, query, limit=limit + 1, before=before)
        return await _page(tx, person.id, await jobs.of_ids(tx, ids), limit)


async def unfinished(ctx: AppContext, actor: Actor, *, limit: int) -> HistoryPage:
    """Return the actor's unfinished jobs: running ones first, then the oldest first.

    ``older`` is True if there are more than ``limit``.
    """
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            return EMPTY
        return await _page(tx, person.id, await jobs.open_of_person(tx, person.id, limit=limit + 1), limit)


async def get_entry(ctx: AppContext, actor: Actor, job_id: int) -> HistoryEntry:
    """Return a job of the actor. Raises NotFound."""
    async with ctx.db.read() as tx:
        job = await jobs.get_own(tx, actor, job_id)
        return (await _page(tx, job.person_id, [job], 1)).entries[0]


async def entries_of(ctx: AppContext, job_ids: Collection[int]) -> tuple[HistoryEntry, ...]:
    """Return these jobs of anybody, as their authors see them; missing and deleted ones are left out."""
    async with ctx.db.read() as tx:
        found = [job for job in await jobs.of_ids(tx, tuple(job_ids)) if not job.is_hidden]
        by_person: dict[int, list[Job]] = {}
        for job in found:
            by_person.setdefault(job.person_id, []).append(job)
        pages = [await _page(tx, person_id, own, len(own)) for person_id, own in by_person.items()]
    return tuple(entry for page in pages for entry in page.entries)


async def person_of(ctx: AppContext, actor: Actor) -> int:
    """Return the id of the actor's person; somebody new gets one."""
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
    if person is None:
        async with ctx.db.write() as tx:
            person = await people.remember(tx, actor, now=ctx.clock.now())
    return person.id


async def open_jobs(ctx: AppContext, person_id: int, limit: int) -> tuple[int, ...]:
    """Return the ids of a person's unfinished jobs: running ones first, then the oldest first."""
    async with ctx.db.read() as tx:
        return tuple(job.id for job in await jobs.open_of_person(tx, person_id, limit=limit))


async def find_picture(ctx: AppContext, actor: Actor, digest: str) -> str | None:
    """Return the path of one of the actor's own pictures with this digest, or None."""
    async with ctx.db.read() as tx:
        return await pictures.find_own(tx, actor.platform, actor.user_id, digest)


async def find_source(ctx: AppContext, actor: Actor, job_id: int, name: str) -> Path:
    """Return the file of a picture that the actor's job starts from or refers to. Raises NotFound.

    Args:
        ctx: The context.
        actor: The actor.
        job_id: The job.
        name: ``start``, ``mask``, or the number of a reference picture, from 0.
    """
    async with ctx.db.read() as tx:
        request = (await jobs.get_own(tx, actor, job_id)).request
    sources = {"start": request.image, "mask": request.mask}
    sources |= {str(number): file for number, file in enumerate(request.references)}
    file = sources.get(name)
    found = await asyncio.to_thread(data_files.locate, ctx.pictures, file) if file else None
    if found is None:
        raise NotFound("refusal.picture.not_found")
    return found


def _parent_of(job: Job) -> tuple[int, int] | None:
    """Return the job and the index of the picture that a job was made from, or None."""
    match = data_files.PICTURE_PATH.search(job.request.image)
    if match is not None:
        return int(match[1]), int(match[2])
    return None if job.parent_id is None else (job.parent_id, job.parent_index)


async def own_entries(ctx: AppContext, actor: Actor, job_ids: Collection[int]) -> tuple[HistoryEntry, ...]:
    """Return those of these jobs that are the actor's."""
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            return ()
        found = await jobs.of_ids(tx, tuple(job_ids))
        own = [job for job in found if job.person_id == person.id and not job.is_hidden]
        return (await _page(tx, person.id, own, len(own))).entries


async def owners_of(ctx: AppContext, job_ids: Collection[int]) -> dict[int, int]:
    """Return the person of each of these jobs, by job; missing jobs are left out."""
    async with ctx.db.read() as tx:
        return await jobs.owners_of(tx, job_ids)


async def own_among(ctx: AppContext, actor: Actor, job_ids: Collection[int]) -> frozenset[int]:
    """Return which of these jobs are the actor's."""
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            return frozenset()
        return frozenset(job.id for job in await jobs.of_ids(tx, tuple(job_ids)) if job.person_id == person.id)


async def entry_of(ctx: AppContext, job: Job) -> HistoryEntry:
    """Return a job with its pictures; an unfinished job has none. The caller has checked access."""
    if job.state not in {JobState.PAINTED, JobState.DELIVERED}:
        return HistoryEntry(job, ())
    async with ctx.db.read() as tx:
        return HistoryEntry(job, await pictures.of_job(tx, job.id))


async def get_picture(ctx: AppContext, actor: Actor, job_id: int, index: int) -> tuple[Job, Picture]:
    """Return a picture of the actor, with its job. Raises NotFound."""
    entry = await get_entry(ctx, actor, job_id)
    for found in entry.pictures:
        if found.index == index:
            return entry.job, found
    raise NotFound("refusal.picture.not_found")


async def get_linked_picture(ctx: AppContext, job_id: int, index: int) -> tuple[Job, Picture]:
    """Return anybody's picture, with its job, for a link that was checked before. Raises NotFound."""
    async with ctx.db.read() as tx:
        job = await jobs.get(tx, job_id)
        if job is not None and not job.is_hidden:
            for found in await pictures.of_job(tx, job.id):
                if found.index == index:
                    return job, found
    raise NotFound("refusal.picture.not_found")


@dataclass(frozen=True, slots=True)
class SentPicture:
    """A picture that a platform can show again without an upload.

    Attributes:
        job_id: Its job.
        index: 0-based within the job.
        prompt: The prompt as typed.
        remote: What the platform calls it.
    """

    job_id: int
    index: int
    prompt: str
    remote: str


async def remember_sent(ctx: AppContext, platform: str, path: Path, remote: str) -> None:
    """Record what a platform calls a stored picture. A file that is no stored picture is left alone."""
    if path.is_relative_to(ctx.pictures):
        async with ctx.db.write() as tx:
            await pictures.put_sent(tx, path.relative_to(ctx.pictures).as_posix(), platform, remote)


async def sent_pictures(ctx: AppContext, actor: Actor, query: Query | None, *, limit: int) -> tuple[SentPicture, ...]:
    """Return the actor's own pictures that their platform was sent, newest first; covered ones are left out."""
    if query is None:
        page = await get_page(ctx, actor, before=None, limit=limit, pictured=True)
    else:
        page = await search(ctx, actor, query, before=None, limit=limit, others=False)
    shown = [(e.job, p) for e in page.entries for p in e.pictures if not p.flag]
    async with ctx.db.read() as tx:
        sent = await pictures.sent_among(tx, actor.platform, [picture.id for _, picture in shown])
    found = [
        SentPicture(job.id, picture.index, job.request.typed, sent[picture.id])
        for job, picture in shown
        if picture.id in sent
    ]
    return tuple(found[:limit])


async def _page(tx: Tx, person_id: int, found: Sequence[Job], limit: int) -> HistoryPage:
    """Return a page; ``found`` has one job more than ``limit`` if there are older ones."""
    shown = found[:limit]
    ids = [job.id for job in shown]
    stored, favourites = await pictures.of_jobs(tx, ids), await history_rows.favourites_among(tx, person_id, ids)
    platforms = await people.platforms_of(tx, person_id)
    parents = {job.id: parent for job in shown if (parent := _parent_of(job)) is not None}
    known = await pictures.own_among(tx, person_id, frozenset(parents.values())) if parents else {}
    entries = (
        HistoryEntry(
            job,
            stored[job.id],
            favourites & {p.id for p in stored[job.id]},
            platforms.get(job.account_id, ""),
            ParentPicture(*parent, known[parent]) if (parent := parents.get(job.id)) in known else None,
        )
        for job in shown
    )
    return HistoryPage(tuple(entries), older=len(found) > limit)


async def toggle_favourite(ctx: AppContext, actor: Actor, press: ButtonPress) -> bool:
    """Make a picture a favourite, or all pictures of a job if the press names none. If they are favourites, unmark them.

    The command runner has checked the actor's access to the job. Returns whether they are favourites now. Raises
    NotFound.
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
        favourites = await history_rows.favourites_among(tx, person.id, [job.id])
        mark = not all(picture.id in favourites for picture in found)
        if mark:
            await history_rows.add_favourite(tx, person.id, found, now=now)
        else:
            await history_rows.remove_favourite(tx, person.id, found)
        if job.person_id == person.id:
            await history_rows.index_job(tx, job)
    if job.person_id == person.id:
        # The page shows favourites.
        ctx.backlog.job_changed(job.id)
    return mark


MERGE_INTERVAL = 3600.0
"""Seconds between two merges."""

_REST_SECONDS = 0.02
"""Pause in seconds after each transaction, for other writers: indexing a million old jobs takes minutes."""

_PAUSE_SECONDS = 30.0
"""Pause in seconds after the database could not be written."""


async def run_indexer(db: Database, clock: Clock) -> None:
    """Work until cancelled. Progress is in the rows: the next start goes on with the rest."""
    while True:
        try:
            indexed = await _all(db, clock, history_rows.index_batch)
            if indexed:
                log.info("all old jobs are indexed")
            await _all(db, clock, history_rows.merge_batch)
        except Unavailable as e:
            # The database logs the problem itself, once; it may last for hours.
            log.debug("the history can't be indexed now (%s)", e.key)
            await clock.sleep(_PAUSE_SECONDS)
        else:
            await clock.sleep(MERGE_INTERVAL)


async def _all(db: Database, clock: Clock, some: Callable[[Tx], Awaitable[bool]]) -> bool:
    """Run batches until nothing is left; return whether there was more than one."""
    more = False
    while True:
        # Check first without the write lock: almost always nothing is left.
        async with db.read() as tx:
            if not await history_rows.has_unindexed(tx):
                return more
        async with db.write() as tx:
            if not await some(tx):
                return more
        more = True
        await clock.sleep(_REST_SECONDS)
