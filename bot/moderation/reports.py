"""Reports of pictures, and notices to the log channel or the owners."""

from __future__ import annotations

from collections.abc import Callable

from bot.audit import changes
from bot.audit import store as audit_rows
from bot.audit.store import AuditEntry
from bot.context import AppContext
from bot.core.cards import ButtonPress, Card
from bot.core.errors import NotFound, Unavailable
from bot.core.jobs import Job
from bot.core.messages import Address
from bot.core.people import Actor, Place
from bot.core.pictures import Picture
from bot.core.strictness import SPOILER
from bot.moderation import cards as moderation_cards
from bot.moderation import store as moderation_rows
from bot.moderation.store import ReportAnswer
from bot.storage import jobs, messages, people, pictures
from bot.storage.database import Tx
from bot.storage.sql import dump_card


async def post_to_log(
    tx: Tx, event: str, place_id: int | None, card: Callable[[str], Card], *, locale: str, job_id: int | None = None
) -> bool:
    """Post a notice to a place's log channel, or to the one for all places. Returns False if there is none.

    Args:
        tx: A writing transaction.
        event: Unique name of the notice; the same name is posted once.
        place_id: The server or group; None in direct messages.
        card: Returns the notice in a language.
        locale: The log channel's language.
        job_id: The job that the notice is about, so that its buttons work there.
    """
    address = await moderation_rows.log_channel_of(tx, place_id)
    if address is None:
        return False
    await messages.add_notice(tx, event, address, dump_card(card(locale)), job_id)
    return True


async def notify_admins(
    tx: Tx,
    ctx: AppContext,
    event: str,
    place_id: int,
    card: Callable[[str], Card],
    *,
    locale: str,
    job_id: int | None = None,
) -> bool:
    """Post a notice to the log channel, else to each owner in direct messages. Returns whether anybody gets it."""
    if await moderation_rows.log_is_off(tx, place_id):
        return False
    if await post_to_log(tx, event, place_id, card, locale=locale, job_id=job_id):
        return True
    owners = ctx.owners.everybody()
    for platform, user_id in owners:
        owner_locale = await people.owner_locale(tx, platform, user_id)
        address = Address(platform, user_id, user=user_id, private=True)
        await messages.add_notice(tx, f"{event}:{platform}:{user_id}", address, dump_card(card(owner_locale)), job_id)
    return bool(owners)


async def report(ctx: AppContext, actor: Actor, place: Place, press: ButtonPress) -> None:
    """Report a picture to the admins of its place, once for each person and picture. The picture is shown as a spoiler.

    Raises:
        NotFound: There is no such picture, or it is private.
        Unavailable: There is neither a log channel nor an owner.
    """
    async with ctx.db.write() as tx:
        job = await _job(tx, press)
        found = await _pictures(tx, press)
        if job.place_id is None or job.request.private:
            raise NotFound("refusal.picture.not_found")
        now = ctx.clock.now()
        person = await people.remember(tx, actor, now=now)
        await moderation_rows.add_report(tx, job.id, press.index, person.account_id, now=now)
        posted = await notify_admins(
            tx,
            ctx,
            f"report:{job.id}:{'all' if press.index is None else press.index}:{person.id}",
            job.place_id,
            lambda locale: moderation_cards.report_card(job, found, actor, place, folder=ctx.pictures, locale=locale),
            locale=place.locale or actor.locale,
            job_id=job.id,
        )
        if not posted:
            raise Unavailable("refusal.report.nobody")
    ctx.backlog.messages_added()


async def hide(ctx: AppContext, actor: Actor, press: ButtonPress) -> None:
    """Hide a picture, or all pictures of the job, behind a spoiler wherever they are shown; it answers their reports.

    Raises NotFound.
    """
    by = changes.actor_label(actor)
    async with ctx.db.write() as tx:
        for picture in await _pictures(tx, press):
            await pictures.put_flag(tx, picture.id, SPOILER)
        await moderation_rows.answer_reports(tx, press.job_id, press.index, ReportAnswer.HIDDEN, by=by)
        await _log_answer(tx, await _job(tx, press), ReportAnswer.HIDDEN, by=by, now=ctx.clock.now())
    ctx.backlog.job_changed(press.job_id)


async def dismiss(ctx: AppContext, actor: Actor, number: int) -> None:
    """Answer a report, and others of the same pictures, without hiding anything. Raises NotFound."""
    by = changes.actor_label(actor)
    async with ctx.db.write() as tx:
        found = await moderation_rows.get_report(tx, number)
        job = None if found is None else await jobs.get(tx, found.job_id)
        if found is None or job is None:
            raise NotFound("refusal.report.not_found", number=number)
        await moderation_rows.answer_reports(tx, job.id, found.index, ReportAnswer.DISMISSED, by=by)
        await _log_answer(tx, job, ReportAnswer.DISMISSED, by=by, now=ctx.clock.now())


async def _log_answer(tx: Tx, job: Job, answer: ReportAnswer, *, by: str, now: float) -> None:
    place = None if job.place_id is None else await people.get_place(tx, job.place_id)
    await audit_rows.add(
        tx,
        AuditEntry(
            now,
            by,
            "report",
            platform=None if place is None else place.platform,
            place=None if place is None else place.guild,
            before=f"#{job.id}",
            after=answer.value,
        ),
    )


async def _job(tx: Tx, press: ButtonPress) -> Job:
    job = await jobs.get(tx, press.job_id)
    if job is None:
        raise NotFound("refusal.job.not_found")
    return job


async def _pictures(tx: Tx, press: ButtonPress) -> tuple[Picture, ...]:
    stored = await pictures.of_job(tx, press.job_id)
    found = stored if press.index is None else tuple(p for p in stored if p.index == press.index)
    if not found:
        raise NotFound("refusal.picture.not_found")
    return found
