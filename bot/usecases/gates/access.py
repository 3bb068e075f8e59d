"""Whether somebody may come in at all, or waits until an owner has answered."""

from __future__ import annotations

from bot.model.access import Access, Guest, Verdict
from bot.model.errors import Uninvited
from bot.model.people import Actor, Place
from bot.store import access
from bot.store.database import Tx
from bot.usecases.asking import Asking
from bot.usecases.house import House

UNLISTED = "refusal.access.list"


def guest_of(actor: Actor, place: Place) -> tuple[Guest, str, str]:
    """Return whom an owner is asked about, with id and name: a server or group stands for all who write in it."""
    if place.guild is not None:
        return Guest.PLACE, place.guild, place.name
    return Guest.PERSON, actor.user_id, actor.name


async def check(tx: Tx, house: House, asking: Asking) -> bool:
    """Return whether the request is held until an owner answers.

    Nobody's first request is refused where owners are asked: it is kept, once for each person, and drawn when they are
    allowed. Nothing else is stored of strangers, however much they write.

    Raises:
        Uninvited: An owner has refused them, or they wait for an answer already, or are not on the list.
    """
    actor, place = asking.actor, asking.place
    rule = house.access.get(actor.platform, Access.OPEN)
    if actor.is_owner or rule is Access.OPEN:
        return False
    kind, subject, name = guest_of(actor, place)
    known = await access.find(tx, actor.platform, kind, subject)
    if known is not None and known.verdict is Verdict.ALLOWED:
        return False
    if known is not None and known.verdict is Verdict.REFUSED:
        raise Uninvited("refusal.access.refused")
    if rule is Access.LIST:
        raise Uninvited("refusal.access.list")
    if known is None:
        await access.add(tx, actor.platform, kind, subject, name=name, now=asking.now)
    elif await access.has_asked(tx, asking.person.id, asking.place_id, since=known.asked_at):
        raise Uninvited("refusal.access.waiting" if house.owners.everybody() else "refusal.access.unowned")
    return True


async def is_stranger(house: House, actor: Actor, place: Place) -> bool:
    """Whether no owner has let somebody in here, though that is needed."""
    if actor.is_owner or house.access.get(actor.platform, Access.OPEN) is Access.OPEN:
        return False
    kind, subject, _ = guest_of(actor, place)
    async with house.db.read() as tx:
        known = await access.find(tx, actor.platform, kind, subject)
    return known is None or known.verdict is not Verdict.ALLOWED


async def write_down(house: House, actor: Actor, place: Place) -> None:
    """Keep that somebody who is not on the list has asked, once: so that owners can find and allow them."""
    kind, subject, name = guest_of(actor, place)
    async with house.db.read() as tx:
        if await access.find(tx, actor.platform, kind, subject) is not None:
            return
    async with house.db.write() as tx:
        await access.add(tx, actor.platform, kind, subject, name=name, now=house.clock.now())
