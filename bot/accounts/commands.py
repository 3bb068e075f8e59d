"""Joining the accounts of one person, and parting them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from bot.accounts import linking
from bot.cards.i18n import text
from bot.commands.model import Invocation
from bot.context import AppContext
from bot.core.cards import Card, Tone


async def _link(ctx: AppContext, call: Invocation) -> Card:
    locale, typed = call.actor.locale, call.args.get("code", "")
    if not typed:
        code = await linking.ask(ctx, call.actor)
        return _card(text(locale, "card.link.code", code=code), text(locale, "card.link.careful"))
    name = await linking.join(ctx, call.actor, typed)
    if not name:
        return _card(text(locale, "card.link.joined"))
    return _card(text(locale, "card.link.joined_with", name=name))


async def _unlink(ctx: AppContext, call: Invocation) -> Card:
    await linking.part(ctx, call.actor)
    return _card(text(call.actor.locale, "card.unlinked"))


def _card(status: str, *notes: str) -> Card:
    return Card(Tone.INFO, status, notes=notes, private=True, final=True)


HANDLERS: Mapping[str, Callable[[AppContext, Invocation], Awaitable[Card]]] = MappingProxyType(
    {"link": _link, "unlink": _unlink}
)
"""By the verb's name."""
