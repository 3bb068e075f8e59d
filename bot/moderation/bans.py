"""Bans: set, lifted and listed."""

from __future__ import annotations

from dataclasses import dataclass

from bot.audit import changes
from bot.audit.changes import Change, Subject, Undoable, Value
from bot.context import AppContext
from bot.core.errors import NotAllowed, NotFound
from bot.core.jobs import JobState
from bot.core.people import Actor, Place
from bot.moderation import store as moderation_rows
from bot.moderation.store import Ban
from bot.quotas.store import ledger
from bot.storage import jobs, people
from bot.storage.database import Tx

MAX_REASON = 200
"""Longest stored reason, in characters: the person reads it in one sentence."""


@dataclass(frozen=True, slots=True)
class BanTarget:
    """An account on a platform."""

    platform: str
    user_id: str


async def ban(
    ctx: AppContext, actor: Actor, place: Place, target: BanTarget, *, seconds: float | None, reason: str
) -> int:
    """Ban a person from the place, or, if an owner does it in a direct message, from all places.

    Their held and queued jobs there are cancelled and refunded.

    Args:
        ctx: The use cases' context.
        actor: The admin, whose permission is checked already.
        place: Where.
        target: Whom; the ban applies to all accounts of the same person.
        seconds: For how long; None is for good.
        reason: In the admin's words; empty for none.

    Returns:
        How many jobs were cancelled.

    Raises:
        NotAllowed: It is an owner's account.
    """
    now = ctx.clock.now()
    cancelled: list[int] = []
    async with ctx.db.write() as tx:
        await _check_not_owner(tx, ctx, target)
        place_id = await _place_id(tx, place, now)
        value = {"until": None if seconds is None else now + seconds, "reason": reason[:MAX_REASON]}
        await changes.apply_change(
            tx, _change("easel ban", target, place, place_id, value), by=changes.actor_label(actor), now=now
        )
        for job_id, state in await moderation_rows.waiting_jobs(tx, target.platform, target.user_id, place_id):
            if await jobs.move(tx, job_id, state, JobState.CANCELLED, now=now):
                await ledger.refund(tx, job_id, now=now)
                cancelled.append(job_id)
    for job_id in cancelled:
        ctx.backlog.job_cancelled(job_id)
        ctx.backlog.job_changed(job_id)
    return len(cancelled)


async def unban(ctx: AppContext, actor: Actor, place: Place, target: BanTarget) -> None:
    """Lift a ban. Raises NotFound if the person is not banned here."""
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        place_id = await _place_id(tx, place, now)
        if await moderation_rows.get_ban(tx, target.platform, target.user_id, place_id) is None:
            raise NotFound("refusal.ban.none")
        await changes.apply_change(
            tx, _change("easel unban", target, place, place_id, None), by=changes.actor_label(actor), now=now
        )


async def list_bans(ctx: AppContext, place: Place) -> tuple[Ban, ...]:
    """Return the active bans of a place; in a direct message, those that apply everywhere."""
    async with ctx.db.read() as tx:
        place_id = moderation_rows.EVERYWHERE if place.guild is None else await people.find_place(tx, place)
        return () if place_id is None else await moderation_rows.bans_of_place(tx, place_id, now=ctx.clock.now())


async def _check_not_owner(tx: Tx, ctx: AppContext, target: BanTarget) -> None:
    """Raise NotAllowed if the account, or another one of its person, is an owner's."""
    person = await people.find(tx, target.platform, target.user_id)
    for platform, user_id in ctx.owners.everybody():
        same = person is not None and (other := await people.find(tx, platform, user_id)) and other.id == person.id
        if same or (platform, user_id) == (target.platform, target.user_id):
            raise NotAllowed("refusal.ban.owner")


async def _place_id(tx: Tx, place: Place, now: float) -> int:
    return await people.remember_place(tx, place, now=now) or moderation_rows.EVERYWHERE


def _change(action: str, target: BanTarget, place: Place, place_id: int, value: Value) -> Change:
    subject: Subject = {"platform": target.platform, "user_id": target.user_id, "place_id": place_id}
    return Change(BAN, action, subject, value, None if place.guild is None else place)


async def _get(tx: Tx, subject: Subject) -> Value:
    found = await moderation_rows.get_ban(
        tx, str(subject["platform"]), str(subject["user_id"]), int(subject["place_id"] or 0)
    )
    return None if found is None else {"until": found.until, "reason": found.reason}


async def _put(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:
    platform, user_id, place_id = str(subject["platform"]), str(subject["user_id"]), int(subject["place_id"] or 0)
    if value is None:
        await moderation_rows.remove_ban(tx, platform, user_id, place_id)
        return
    until = value["until"]
    assert until is None or isinstance(until, int | float)
    await moderation_rows.put_ban(tx, Ban(platform, user_id, place_id, until, str(value["reason"]), set_by, now))


BAN = Undoable("ban", _get, _put)
"""Subject: ``platform``, ``user_id`` and ``place_id`` (0 is everywhere). Value: ``{"until": ..., "reason": ...}``."""
