"""A request's circumstances, as the gates between it and the queue look at them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bot.model.people import Actor, Person, Place
from bot.model.quotas import Policy
from bot.policy.strikes import Strikes
from bot.store import bans, options, policies, strikes
from bot.store.bans import Ban
from bot.store.database import Tx
from bot.store.options import Options


@dataclass(frozen=True, slots=True)
class Asking:
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
    policies: tuple[Policy, ...]


async def look(tx: Tx, actor: Actor, place: Place, person: Person, *, place_id: int | None, now: float) -> Asking:
    """Return the circumstances of a request."""
    # Side by side: the wait for the database's thread costs more than what these do there.
    said, ban, struck, found = await asyncio.gather(
        options.read(tx, place_id),
        bans.binding(tx, person.id, place_id, now=now),
        strikes.of_person(tx, person.id),
        policies.for_one(tx, actor, place.guild, person.id),
    )
    return Asking(actor, place, person, place_id, now, said, ban, struck, found)
