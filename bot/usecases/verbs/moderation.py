"""Bans, the strictness of the word list, and where reports go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from bot.model.cards import Card
from bot.model.errors import BadInput
from bot.model.messages import Address
from bot.model.moderation import Strictness
from bot.model.verbs import Call
from bot.policy.spans import is_for_good, parse_span
from bot.present import moderation as present
from bot.store import people, placelog
from bot.usecases import bans, changes
from bot.usecases.bans import Who
from bot.usecases.gates.words import WORDS
from bot.usecases.house import House
from bot.usecases.options import put


async def _words(house: House, call: Call) -> Card:
    level = Strictness(call.args["level"])
    await _set(house, call, WORDS, level.value)
    return present.words_card(level, call.actor.locale)


async def _log(house: House, call: Call) -> Card:
    channel = call.args.get("channel", call.place.channel)
    if call.args.get("level") == placelog.NOWHERE:
        await _set(house, call, placelog.LOG, placelog.NOWHERE)
        return present.log_card(None, call.actor.locale)
    here = channel == call.place.channel
    # A channel counts only when its surface has found it in this place: an id alone may be of anybody's.
    if not here and (call.place.guild is None or "channel" not in call.names):
        raise BadInput("refusal.log.channel")
    thread = call.place.thread if here else None
    alone = call.place.guild is None
    address = Address(
        call.actor.platform,
        call.actor.user_id if alone else channel,
        thread=thread,
        user=call.actor.user_id if alone else None,
        private=alone,
    )
    await _set(house, call, placelog.LOG, placelog.value_of(address))
    return present.log_card("" if here else call.names["channel"], call.actor.locale)


async def _ban(house: House, call: Call) -> Card:
    span = call.args.get("span", "")
    seconds = None if not span or is_for_good(span) else parse_span(span)
    stopped = await bans.ban(
        house, call.actor, call.place, _who(call), seconds=seconds, reason=call.args.get("reason", "").strip()
    )
    return present.banned_card(_name(call), seconds, stopped, call.actor.locale)


async def _unban(house: House, call: Call) -> Card:
    await bans.unban(house, call.actor, call.place, _who(call))
    return present.unbanned_card(_name(call), call.actor.locale)


async def _bans(house: House, call: Call) -> Card:
    now = house.clock.now()
    lines = []
    found = await bans.listed(house, call.place)
    async with house.db.read() as tx:
        for ban in found:
            person = await people.find(tx, ban.platform, ban.user_id)
            account = f"{ban.platform}:{ban.user_id}"
            name = f"{person.name} ({account})" if person is not None and person.name else account
            lines.append((name, None if ban.until is None else ban.until - now, ban.reason))
    return present.bans_card(lines, call.actor.locale)


async def _set(house: House, call: Call, name: str, value: object) -> None:
    """Change an option of the place, or in an owner's direct message of the whole service."""
    now = house.clock.now()
    async with house.db.write() as tx:
        place_id = await people.remember_place(tx, call.place, now=now)
        by = changes.by_of(call.actor)
        await put(tx, place_id, name, value, action=call.verb.name, place=call.place, by=by, now=now)


def _who(call: Call) -> Who:
    typed = call.args["person"]
    platform, colon, user_id = typed.partition(":")
    if colon and user_id:
        return Who(platform.lower(), user_id)
    if typed.startswith("@"):
        # Only a platform could tell whose name that is.
        raise BadInput("refusal.ban.person", person=f"@{typed}")
    return Who(call.actor.platform, typed)


def _name(call: Call) -> str:
    name = call.names.get("person") or call.args["person"]
    return f"@{name}" if name.startswith("@") else name


HANDLERS: Mapping[str, Callable[[House, Call], Awaitable[Card]]] = MappingProxyType(
    {
        "easel words": _words,
        "easel log": _log,
        "easel ban": _ban,
        "easel unban": _unban,
        "easel bans": _bans,
    }
)
