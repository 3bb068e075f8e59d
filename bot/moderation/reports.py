"""Reporting a picture to the admins of its place, and hiding it where it is shown."""

from __future__ import annotations

from bot.commands import permissions
from bot.context import AppContext
from bot.core.actions import ButtonPress
from bot.core.errors import NotAllowed, NotFound, Unavailable
from bot.core.people import Actor, Place
from bot.core.pictures import Picture
from bot.core.strictness import SPOILER
from bot.moderation import ban_check, notifications
from bot.moderation import cards as present
from bot.storage import job_visibility, people, pictures
from bot.storage.database import Tx


async def report(ctx: AppContext, actor: Actor, place: Place, press: ButtonPress) -> None:
    """Tell the admins of the place, once for each person and picture, with the picture covered.

    Raises:
        NotFound: There is no such picture in this chat, or it was drawn for its asker alone.
        NotAllowed: They are banned.
        Unavailable: There is nobody who could be told.
    """
    async with ctx.db.write() as tx:
        job = await job_visibility.visible(tx, actor, place, press.job_id)
        await ban_check.check_actor(tx, actor, place, now=ctx.clock.now())
        found = await _pictures(tx, press)
        if job.place_id is None or job.request.private:
            raise NotFound("refusal.picture.not_found")
        person = await people.remember(tx, actor, now=ctx.clock.now())
        told = await notifications.admins(
            tx,
            ctx,
            f"report:{job.id}:{'all' if press.index is None else press.index}:{person.id}",
            job.place_id,
            lambda locale: present.report_card(job, found, actor, place, folder=ctx.pictures, locale=locale),
            locale=place.locale or actor.locale,
            job_id=job.id,
        )
        if not told:
            raise Unavailable("refusal.report.nobody")
    ctx.backlog.posted()


async def hide(ctx: AppContext, actor: Actor, place: Place, press: ButtonPress) -> None:
    """Cover a picture wherever its card is shown: for admins of the place where it was asked for, and for owners.

    Raises:
        NotFound: There is no such picture in this chat.
        NotAllowed: They are no admin of its place, or an owner has banned them.
    """
    async with ctx.db.write() as tx:
        job = await job_visibility.visible(tx, actor, place, press.job_id)
        here = job.place_id is not None and job.place_id == await people.find_place(tx, place)
        if not (actor.is_owner or (here and await permissions.is_admin(tx, actor, place))):
            raise NotAllowed("refusal.rights.admin")
        await ban_check.check_actor(tx, actor, place, now=ctx.clock.now(), everywhere=True)
        for picture in await _pictures(tx, press):
            await pictures.put_flag(tx, picture.id, SPOILER)
    ctx.backlog.changed(press.job_id)


async def _pictures(tx: Tx, press: ButtonPress) -> tuple[Picture, ...]:
    stored = await pictures.of_job(tx, press.job_id)
    found = stored if press.index is None else tuple(p for p in stored if p.index == press.index)
    if not found:
        raise NotFound("refusal.picture.not_found")
    return found
