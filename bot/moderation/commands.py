"""Bans, the strictness of the word list, and where reports go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from bot.audit import changes
from bot.commands.model import Invocation
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.durations import is_for_good, parse_span
from bot.core.errors import BadInput
from bot.core.messages import Address
from bot.core.strictness import Strictness
from bot.moderation import bans
from bot.moderation import cards as present
from bot.moderation import store as moderation_rows
from bot.moderation.bans import BanTarget
from bot.moderation.word_check import WORDS
from bot.places.options import option_change
from bot.storage import people


async def _words(ctx: AppContext, call: Invocation) -> Card:
    level = Strictness(call.args["level"])
    await _set(ctx, call, WORDS, level.value)
    return present.words_card(level, call.actor.locale)


async def _log(ctx: AppContext, call: Invocation) -> Card:
    channel = call.args.get("channel", call.place.channel)
    if call.args.get("level") == moderation_rows.NOWHERE:
        await _set(ctx, call, moderation_rows.LOG, moderation_rows.NOWHERE)
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
    await _set(ctx, call, moderation_rows.LOG, moderation_rows.log_channel_value(address))
    return present.log_card("" if here else call.names["channel"], call.actor.locale)


async def _ban(ctx: AppContext, call: Invocation) -> Card:
    span = call.args.get("span", "")
    seconds = None if not span or is_for_good(span) else parse_span(span)
    stopped = await bans.ban(
        ctx, call.actor, call.place, _who(call), seconds=seconds, reason=call.args.get("reason", "").strip()
    )
    return present.banned_card(_name(call), seconds, stopped, call.actor.locale)


async def _unban(ctx: AppContext, call: Invocation) -> Card:
    await bans.unban(ctx, call.actor, call.place, _who(call))
    return present.unbanned_card(_name(call), call.actor.locale)


async def _bans(ctx: AppContext, call: Invocation) -> Card:
    now = ctx.clock.now()
    lines = []
    found = await bans.list_bans(ctx, call.place)
    async with ctx.db.read() as tx:
        for ban in found:
            person = await people.find(tx, ban.platform, ban.user_id)
            account = f"{ban.platform}:{ban.user_id}"
            name = f"{person.name} ({account})" if person is not None and person.name else account
            lines.append((name, None if ban.until is None else ban.until - now, ban.reason))
    return present.bans_card(lines, call.actor.locale)


async def _set(ctx: AppContext, call: Invocation, name: str, value: object) -> None:
    """Change an option of the place, or in an owner's direct message of the whole service."""
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        place_id = await people.remember_place(tx, call.place, now=now)
        by = changes.actor_label(call.actor)
        await option_change(tx, place_id, name, value, action=call.verb.name, place=call.place, by=by, now=now)


def _who(call: Invocation) -> BanTarget:
    typed = call.args["person"]
    platform, colon, user_id = typed.partition(":")
    if colon and user_id:
        return BanTarget(platform.lower(), user_id)
    if typed.startswith("@"):
        # Only a platform could tell whose name that is.
        raise BadInput("refusal.ban.person", person=typed)
    return BanTarget(call.actor.platform, typed)


def _name(call: Invocation) -> str:
    return call.names.get("person") or call.args["person"]


HANDLERS: Mapping[str, Callable[[AppContext, Invocation], Awaitable[Card]]] = MappingProxyType(
    {
        "easel words": _words,
        "easel log": _log,
        "easel ban": _ban,
        "easel unban": _unban,
        "easel bans": _bans,
    }
)
