"""Keeping pictures as favourites: one's own, or others' that were shown in this chat."""

from __future__ import annotations

from bot.model.actions import Press
from bot.model.errors import NotFound
from bot.model.people import Actor, Place
from bot.store import favourites, people, pictures, search
from bot.usecases import access
from bot.usecases.gates import bans
from bot.usecases.house import House


async def toggle(house: House, actor: Actor, place: Place, press: Press) -> bool:
    """Keep a picture, or all of a job where the press names none; what is kept already is let go.

    Returns whether they are kept now. Raises NotFound, also for what the person may not see, and NotAllowed for the banned.
    """
    now = house.clock.now()
    async with house.db.write() as tx:
        job = await access.visible(tx, actor, place, press.job_id)
        await bans.check_actor(tx, actor, place, now=now)
        person = await people.remember(tx, actor, now=now)
        found = await pictures.of_job(tx, job.id)
        if press.index is not None:
            found = tuple(picture for picture in found if picture.index == press.index)
        if not found:
            raise NotFound("refusal.picture.not_found")
        kept = await favourites.kept(tx, person.id, [job.id])
        keep = not all(picture.id in kept for picture in found)
        if keep:
            await favourites.keep(tx, person.id, found, now=now)
        else:
            await favourites.drop(tx, person.id, found)
        if job.person_id == person.id:
            await search.put(tx, job)
    if job.person_id == person.id:
        # The page shows its stars.
        house.backlog.changed(job.id)
    return keep
