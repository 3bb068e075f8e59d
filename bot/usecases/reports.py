"""Reporting a picture to the admins of its place, and hiding it where it is shown."""

from __future__ import annotations

from bot.model.actions import Press
from bot.model.errors import NotAllowed, NotFound, Unavailable
from bot.model.moderation import SPOILER
from bot.model.people import Actor, Place
from bot.model.pictures import Picture
from bot.present import moderation as present
from bot.store import people, pictures
from bot.store.database import Tx
from bot.usecases import access, rights, telling
from bot.usecases.gates import bans
from bot.usecases.house import House


async def report(house: House, actor: Actor, place: Place, press: Press) -> None:
    """Tell the admins of the place, once for each person and picture, with the picture covered.

    Raises:
        NotFound: There is no such picture in this chat, or it was drawn for its asker alone.
        NotAllowed: They are banned.
        Unavailable: There is nobody who could be told.
    """
    async with house.db.write() as tx:
        job = await access.visible(tx, actor, place, press.job_id)
        await bans.check_actor(tx, actor, place, now=house.clock.now())
        found = await _pictures(tx, press)
        if job.place_id is None or job.request.private:
            raise NotFound("refusal.picture.not_found")
        person = await people.remember(tx, actor, now=house.clock.now())
        told = await telling.admins(
            tx,
            house,
            f"report:{job.id}:{'all' if press.index is None else press.index}:{person.id}",
            job.place_id,
            lambda locale: present.report_card(job, found, actor, place, folder=house.pictures, locale=locale),
            locale=place.locale or actor.locale,
            job_id=job.id,
        )
        if not told:
            raise Unavailable("refusal.report.nobody")
    house.backlog.posted()


async def hide(house: House, actor: Actor, place: Place, press: Press) -> None:
    """Cover a picture wherever its card is shown: for admins of the place where it was asked for, and for owners.

    Raises:
        NotFound: There is no such picture in this chat.
        NotAllowed: They are no admin of its place, or an owner has banned them.
    """
    async with house.db.write() as tx:
        job = await access.visible(tx, actor, place, press.job_id)
        here = job.place_id is not None and job.place_id == await people.find_place(tx, place)
        if not (actor.is_owner or (here and await rights.is_admin(tx, actor, place))):
            raise NotAllowed("refusal.rights.admin")
        await bans.check_actor(tx, actor, place, now=house.clock.now(), everywhere=True)
        for picture in await _pictures(tx, press):
            await pictures.put_flag(tx, picture.id, SPOILER)
    house.backlog.changed(press.job_id)


async def _pictures(tx: Tx, press: Press) -> tuple[Picture, ...]:
    stored = await pictures.of_job(tx, press.job_id)
    found = stored if press.index is None else tuple(p for p in stored if p.index == press.index)
    if not found:
        raise NotFound("refusal.picture.not_found")
    return found
