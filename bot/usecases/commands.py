"""Runs typed verbs: rights first, then the one function behind each verb."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from bot.model.cards import Card
from bot.model.verbs import Call, Who
from bot.usecases import rights
from bot.usecases.gates import bans
from bot.usecases.house import House
from bot.usecases.verbs import access, accounts, library, moderation, places, privacy, quotas

Handler: TypeAlias = Callable[[House, Call], Awaitable[Card]]

HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        **quotas.HANDLERS,
        **places.HANDLERS,
        **access.HANDLERS,
        **moderation.HANDLERS,
        **privacy.HANDLERS,
        **library.HANDLERS,
        **accounts.HANDLERS,
    }
)
"""By the verb's name; every verb has one."""


ALWAYS = frozenset({"export", "forget", "unlink", "claim"})
"""Verbs that a ban does not take away: what is stored of somebody is theirs, and a claim makes them an owner."""


async def run(house: House, call: Call) -> Card:
    """Do what a verb asks for. Raises Refusal."""
    async with house.db.read() as tx:
        await rights.check(tx, call.actor, call.place, call.verb.who)
        if call.verb.name not in ALWAYS:
            everywhere = call.verb.who is not Who.ANYBODY
            await bans.check_actor(tx, call.actor, call.place, now=house.clock.now(), everywhere=everywhere)
    return await HANDLERS[call.verb.name](house, call)
