"""Whether somebody may come in at all, or waits until an owner has answered."""

from __future__ import annotations

from bot.access.store import requests as access_rows
from bot.context import AppContext
from bot.core.access import AccessDecision, AccessMode, SubjectKind
from bot.core.errors import Uninvited
from bot.core.people import Actor, Place
from bot.places.admission_context import AdmissionContext
from bot.storage.database import Tx

UNLISTED = "refusal.access.list"


def guest_of(actor: Actor, place: Place) -> tuple[SubjectKind, str, str]:
    """Return whom an owner is asked about, with id and name: a server or group stands for all who write in it."""
    if place.guild is not None:
        return SubjectKind.PLACE, place.guild, place.name
    return SubjectKind.PERSON, actor.user_id, actor.name


async def check(tx: Tx, ctx: AppContext, asking: AdmissionContext) -> bool:
    """Return whether the request is held until an owner answers.

    Nobody's first request is refused where owners are asked: it is kept, once for each person, and drawn when they are
    allowed. Nothing else is stored of strangers, however much they write.

    Raises:
        Uninvited: An owner has refused them, or they wait for an answer already, or are not on the list.
    """
    actor, place = asking.actor, asking.place
    rule = ctx.access.get(actor.platform, AccessMode.OPEN)
    if actor.is_owner or rule is AccessMode.OPEN:
        return False
    kind, subject, name = guest_of(actor, place)
    known = await access_rows.find(tx, actor.platform, kind, subject)
    if known is not None and known.verdict is AccessDecision.ALLOWED:
        return False
    if known is not None and known.verdict is AccessDecision.REFUSED:
        raise Uninvited("refusal.access.refused")
    if rule is AccessMode.LIST:
        raise Uninvited("refusal.access.list")
    if known is None:
        await access_rows.add(tx, actor.platform, kind, subject, name=name, now=asking.now)
    elif await access_rows.has_asked(tx, asking.person.id, asking.place_id, since=known.asked_at):
        raise Uninvited("refusal.access.waiting" if ctx.owners.everybody() else "refusal.access.unowned")
    return True


async def is_stranger(ctx: AppContext, actor: Actor, place: Place) -> bool:
    """Whether no owner has let somebody in here, though that is needed."""
    if actor.is_owner or ctx.access.get(actor.platform, AccessMode.OPEN) is AccessMode.OPEN:
        return False
    kind, subject, _ = guest_of(actor, place)
    async with ctx.db.read() as tx:
        known = await access_rows.find(tx, actor.platform, kind, subject)
    return known is None or known.verdict is not AccessDecision.ALLOWED


async def write_down(ctx: AppContext, actor: Actor, place: Place) -> None:
    """Keep that somebody who is not on the list has asked, once: so that owners can find and allow them."""
    kind, subject, name = guest_of(actor, place)
    async with ctx.db.read() as tx:
        if await access_rows.find(tx, actor.platform, kind, subject) is not None:
            return
    async with ctx.db.write() as tx:
        await access_rows.add(tx, actor.platform, kind, subject, name=name, now=ctx.clock.now())
