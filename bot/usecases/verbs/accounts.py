"""Joining the accounts of one person, and parting them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from bot.model.cards import Card, Tone
from bot.model.verbs import Call
from bot.present.i18n import text
from bot.usecases import linking
from bot.usecases.house import House


async def _link(house: House, call: Call) -> Card:
    locale, typed = call.actor.locale, call.args.get("code", "")
    if not typed:
        code = await linking.ask(house, call.actor)
        return _card(text(locale, "card.link.code", code=code), text(locale, "card.link.careful"))
    name = await linking.join(house, call.actor, typed)
    if not name:
        return _card(text(locale, "card.link.joined"))
    # A name is data: one that begins with @ is no key.
    return _card(text(locale, "card.link.joined_with", name=f"@{name}" if name.startswith("@") else name))


async def _unlink(house: House, call: Call) -> Card:
    await linking.part(house, call.actor)
    return _card(text(call.actor.locale, "card.unlinked"))


def _card(status: str, *notes: str) -> Card:
    return Card(Tone.INFO, status, notes=notes, private=True, final=True)


HANDLERS: Mapping[str, Callable[[House, Call], Awaitable[Card]]] = MappingProxyType({"link": _link, "unlink": _unlink})
"""By the verb's name."""
