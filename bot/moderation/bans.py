"""Shutting people out of a place, or of all places, and letting them in again."""

from __future__ import annotations

from dataclasses import dataclass

from bot.audit import changes
from bot.audit.changes import Change, Subject, Undoable, Value
from bot.context import AppContext
from bot.core.errors import NotAllowed, NotFound
from bot.core.jobs import JobState
from bot.core.people import Actor, Place
from bot.moderation.store import bans as ban_rows
from bot.moderation.store.bans import Ban
from bot.quotas.store import ledger
from bot.storage import jobs, people
from bot.storage.database import Tx

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
        await changes.make(tx, _change("easel ban", who, place, place_id, value), by=changes.by_of(actor), now=now)
        for job_id, state in await ban_rows.waiting(tx, who.platform, who.user_id, place_id):
            if await jobs.move(tx, job_id, state, JobState.CANCELLED, now=now):
                await ledger.refund(tx, job_id, now=now)
                stopped.append(job_id)
    for job_id in stopped:
        ctx.backlog.forget(job_id)
        ctx.backlog.changed(job_id)
    return len(stopped)


async def unban(ctx: AppContext, actor: Actor, place: Place, who: BanTarget) -> None:
    """Let somebody in again. Raises NotFound when they were not shut out here."""
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        place_id = await _place_id(tx, place, now)
        if await ban_rows.get(tx, who.platform, who.user_id, place_id) is None:
            raise NotFound("refusal.ban.none")
        await changes.make(tx, _change("easel unban", who, place, place_id, None), by=changes.by_of(actor), now=now)


async def listed(ctx: AppContext, place: Place) -> tuple[Ban, ...]:
    """Return the bans that hold in a place; those that hold everywhere, in a direct message."""
    async with ctx.db.read() as tx:
        place_id = ban_rows.EVERYWHERE if place.guild is None else await people.find_place(tx, place)
        return () if place_id is None else await ban_rows.of_place(tx, place_id, now=ctx.clock.now())


async def _check(tx: Tx, ctx: AppContext, who: BanTarget) -> None:
    """Nobody shuts an owner out, by whichever of their accounts."""
    person = await people.find(tx, who.platform, who.user_id)
    for platform, user_id in ctx.owners.everybody():
        same = person is not None and (other := await people.find(tx, platform, user_id)) and other.id == person.id
        if same or (platform, user_id) == (who.platform, who.user_id):
            raise NotAllowed("refusal.ban.owner")


async def _place_id(tx: Tx, place: Place, now: float) -> int:
    return await people.remember_place(tx, place, now=now) or ban_rows.EVERYWHERE


def _change(action: str, who: BanTarget, place: Place, place_id: int, value: Value) -> Change:
    subject: Subject = {"platform": who.platform, "user_id": who.user_id, "place_id": place_id}
    return Change(BAN, action, subject, value, None if place.guild is None else place)


async def _get(tx: Tx, subject: Subject) -> Value:
    found = await ban_rows.get(tx, str(subject["platform"]), str(subject["user_id"]), int(subject["place_id"] or 0))
    return None if found is None else {"until": found.until, "reason": found.reason}


async def _put(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:
    platform, user_id, place_id = str(subject["platform"]), str(subject["user_id"]), int(subject["place_id"] or 0)
    if value is None:
        await ban_rows.remove(tx, platform, user_id, place_id)
        return
    until = value["until"]
    assert until is None or isinstance(until, int | float)
    await ban_rows.put(tx, Ban(platform, user_id, place_id, until, str(value["reason"]), set_by, now))


BAN = Undoable("ban", _get, _put)
"""Subject: ``platform``, ``user_id`` and ``place_id`` (0 is everywhere). Value: ``{"until": ..., "reason": ...}``."""
