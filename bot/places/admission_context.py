"""A request's circumstances, as the gates between it and the queue look at them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bot.core.people import Actor, Person, Place
from bot.core.quotas import QuotaRule
from bot.moderation.store import bans as ban_rows
from bot.moderation.store import strikes as strike_rows
from bot.moderation.store.bans import Ban
from bot.moderation.strikes import Strikes
from bot.quotas.store import rules as rule_rows
from bot.storage import options
from bot.storage.database import Tx
from bot.storage.options import Options


@dataclass(frozen=True, slots=True)
class AdmissionContext:
    """Who asks where. Get one by ``look``.

    Attributes:
        actor: The account that acts.
        place: Where.
        person: Whose account it is.
        place_id: Of the server or group; None in direct messages and on the page.
        now: Unix seconds.
        options: What is set here and everywhere.
        ban: What shuts them out here, for the longest.
        strikes: How often they were refused by moderation of late.
        policies: The rules that may bind them here.
    """

    actor: Actor
    place: Place
    person: Person
    place_id: int | None
    now: float
    options: Options
    ban: Ban | None
    strikes: Strikes | None
    policies: tuple[QuotaRule, ...]


async def look(
    tx: Tx, actor: Actor, place: Place, person: Person, *, place_id: int | None, now: float
) -> AdmissionContext:
    """Return the circumstances of a request."""
    # Side by side: the wait for the database's thread costs more than what these do there.
    said, ban, struck, found = await asyncio.gather(
        options.read(tx, place_id),
        ban_rows.binding(tx, person.id, place_id, now=now),
        strike_rows.of_person(tx, person.id),
        rule_rows.for_one(tx, actor, place.guild, person.id),
    )
    return AdmissionContext(actor, place, person, place_id, now, said, ban, struck, found)
