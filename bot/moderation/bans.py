"""Bans: the check at every request, press and command, and setting and lifting them."""

from __future__ import annotations

from dataclasses import dataclass

from bot.audit import changes
from bot.audit.changes import Change, Subject, Undoable, Value
from bot.context import AdmissionContext, AppContext
from bot.core.errors import NotAllowed, NotFound
from bot.core.jobs import JobState
from bot.core.people import Actor, Place
from bot.moderation import store as moderation_rows
from bot.moderation.store import Ban
from bot.quotas.store import ledger
from bot.storage import jobs, people
from bot.storage.database import Tx


def check_ban(context: AdmissionContext, ban: Ban | None) -> None:
    """Raise NotAllowed, which says when the ban ends; ``ban`` is the longest ban that binds the person. Owners are exempt."""
    if ban is not None and not context.actor.is_owner:
        raise _refusal(ban, context.now)


async def check_actor(tx: Tx, actor: Actor, place: Place, *, now: float, everywhere: bool = False) -> None:
    """Raise NotAllowed, with when it ends, for who is banned and presses or types something other than a request.

    Args:
        tx: A transaction.
        actor: Who.
        place: Where.
        now: Unix seconds.
        everywhere: Only a ban by an owner counts, which holds in all places: no admin shuts another one out of the
            administration of their place.
    """
    if actor.is_owner:
        return
    place_id = None if everywhere else await people.find_place(tx, place)
    ban = await moderation_rows.active_ban_of_account(
        tx, actor.platform, actor.user_id, moderation_rows.EVERYWHERE if place_id is None else place_id, now=now
    )
    if ban is not None:
        raise _refusal(ban, now)


def _refusal(ban: Ban, now: float) -> NotAllowed:
    if ban.until is None:
        if ban.reason:
            return NotAllowed("refusal.banned.for_good_because", reason=ban.reason)
        return NotAllowed("refusal.banned.for_good")
    if ban.reason:
        return NotAllowed("refusal.banned.because", wait=ban.until - now, reason=ban.reason)
    return NotAllowed("refusal.banned", wait=ban.until - now)


MAX_REASON = 200
"""Characters of a reason that are kept: the person reads it in one sentence."""


@dataclass(frozen=True, slots=True)
class BanTarget:
    """An account on a platform."""

    platform: str
    user_id: str


async def ban(
    ctx: AppContext, actor: Actor, place: Place, who: BanTarget, *, seconds: float | None, reason: str
) -> int:
    """Shut somebody out: of the place where it is typed, or, by an owner in a direct message, of all.

    What they have waiting there is cancelled and refunded.

    Args:
        ctx: What use cases work with.
        actor: Who does it; their right is checked already.
        place: Where.
        who: Whom; it holds for all accounts of the same person.
        seconds: For how long; None is for good.
        reason: In the admin's words; empty for none.

    Returns:
        How many jobs were cancelled.

    Raises:
        NotAllowed: It is an owner's account.
    """
    now = ctx.clock.now()
    stopped: list[int] = []
    async with ctx.db.write() as tx:
        await _check(tx, ctx, who)
        place_id = await _place_id(tx, place, now)
        value = {"until": None if seconds is None else now + seconds, "reason": reason[:MAX_REASON]}
        await changes.apply_change(
            tx, _change("easel ban", who, place, place_id, value), by=changes.actor_label(actor), now=now
        )
        for job_id, state in await moderation_rows.waiting_jobs(tx, who.platform, who.user_id, place_id):
            if await jobs.move(tx, job_id, state, JobState.CANCELLED, now=now):
                await ledger.refund(tx, job_id, now=now)
                stopped.append(job_id)
    for job_id in stopped:
        ctx.backlog.job_cancelled(job_id)
        ctx.backlog.job_changed(job_id)
    return len(stopped)


async def unban(ctx: AppContext, actor: Actor, place: Place, who: BanTarget) -> None:
    """Let somebody in again. Raises NotFound when they were not shut out here."""
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        place_id = await _place_id(tx, place, now)
        if await moderation_rows.get_ban(tx, who.platform, who.user_id, place_id) is None:
            raise NotFound("refusal.ban.none")
        await changes.apply_change(
            tx, _change("easel unban", who, place, place_id, None), by=changes.actor_label(actor), now=now
        )


async def list_bans(ctx: AppContext, place: Place) -> tuple[Ban, ...]:
    """Return the bans that hold in a place; those that hold everywhere, in a direct message."""
    async with ctx.db.read() as tx:
        place_id = moderation_rows.EVERYWHERE if place.guild is None else await people.find_place(tx, place)
        return () if place_id is None else await moderation_rows.bans_of_place(tx, place_id, now=ctx.clock.now())


async def _check(tx: Tx, ctx: AppContext, who: BanTarget) -> None:
    """Nobody shuts an owner out, by whichever of their accounts."""
    person = await people.find(tx, who.platform, who.user_id)
    for platform, user_id in ctx.owners.everybody():
        same = person is not None and (other := await people.find(tx, platform, user_id)) and other.id == person.id
        if same or (platform, user_id) == (who.platform, who.user_id):
            raise NotAllowed("refusal.ban.owner")


async def _place_id(tx: Tx, place: Place, now: float) -> int:
    return await people.remember_place(tx, place, now=now) or moderation_rows.EVERYWHERE


def _change(action: str, who: BanTarget, place: Place, place_id: int, value: Value) -> Change:
    subject: Subject = {"platform": who.platform, "user_id": who.user_id, "place_id": place_id}
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
