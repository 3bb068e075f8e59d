"""Telling people at their next command what could be shown to them nowhere."""

from __future__ import annotations

from dataclasses import dataclass

from bot.model.people import Actor
from bot.present.i18n import text
from bot.store import missed
from bot.usecases.house import House


@dataclass(frozen=True, slots=True)
class Told:
    """A sentence for one person, and the newest job that it is about."""

    notice: str
    latest: int


async def find(house: House, actor: Actor) -> Told | None:
    """Return what to say to this person; None when they have missed nothing."""
    async with house.db.read() as tx:
        found = await missed.of_account(tx, actor.platform, actor.user_id)
    if found is None:
        return None
    parts = (("missed.drawn", found.drawn), ("missed.failed", found.failed))
    return Told("\n".join(text(actor.locale, key, n=n) for key, n in parts if n), found.latest)


async def heard(house: House, actor: Actor, told: Told) -> None:
    """The sentence has reached them."""
    async with house.db.write() as tx:
        await missed.clear(tx, actor.platform, actor.user_id, told.latest)
