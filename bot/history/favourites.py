"""Keeping pictures as favourites: one's own, or others' that were shown in this chat."""

from __future__ import annotations

from bot.context import AppContext
from bot.core.actions import ButtonPress
from bot.core.errors import NotFound
from bot.core.people import Actor, Place
from bot.history.store import favourites as favourite_rows
from bot.history.store import search
from bot.moderation import ban_check
from bot.storage import job_visibility, people, pictures


async def toggle(ctx: AppContext, actor: Actor, place: Place, press: ButtonPress) -> bool:
    """Keep a picture, or all of a job where the press names none; what is kept already is let go.

    Returns whether they are kept now. Raises NotFound, also for what the person may not see, and NotAllowed for the banned.
    """
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        job = await job_visibility.visible(tx, actor, place, press.job_id)
        await ban_check.check_actor(tx, actor, place, now=now)
        person = await people.remember(tx, actor, now=now)
        found = await pictures.of_job(tx, job.id)
        if press.index is not None:
            found = tuple(picture for picture in found if picture.index == press.index)
        if not found:
            raise NotFound("refusal.picture.not_found")
        kept = await favourite_rows.kept(tx, person.id, [job.id])
        keep = not all(picture.id in kept for picture in found)
        if keep:
            await favourite_rows.keep(tx, person.id, found, now=now)
        else:
            await favourite_rows.drop(tx, person.id, found)
        if job.person_id == person.id:
            await search.put(tx, job)
    if job.person_id == person.id:
        # The page shows its stars.
        ctx.backlog.changed(job.id)
    return keep
