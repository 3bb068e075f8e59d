"""``quota ...``: what is left and why, and the rules and credits of a place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from bot.model.cards import Card
from bot.model.people import Actor
from bot.model.quotas import CreditKind
from bot.model.verbs import Call
from bot.present import quotas as quota_cards
from bot.usecases import quota
from bot.usecases.house import House
from bot.usecases.quota import Whom


async def _show(house: House, call: Call) -> Card:
    who, name = await _about(house, call)
    standing = await quota.show(house, who, call.place)
    return quota_cards.quota_card(standing, call.actor.locale, name=name)


async def _why(house: House, call: Call) -> Card:
    who, name = await _about(house, call)
    reasons = await quota.why(house, who, call.place)
    known = not name or bool(who.roles) or call.place.guild is None
    return quota_cards.why_card(reasons, call.actor.locale, name=name, roles_known=known)


async def _set(house: House, call: Call) -> Card:
    terms = await quota.set_rule(house, call.actor, call.place, call.args["rule"], _whom(call))
    if call.place.guild is None:
        return quota_cards.ceiling_card(terms, call.actor.locale, person=_named(call, "person"))
    return quota_cards.quota_set_card(terms, call.actor.locale, **_names(call))


async def _reset(house: House, call: Call) -> Card:
    terms = await quota.reset(house, call.actor, call.place, _whom(call))
    if call.place.guild is None:
        return quota_cards.ceiling_card(None, call.actor.locale, person=_named(call, "person"))
    return quota_cards.quota_reset_card(terms, call.actor.locale, **_names(call))


async def _grant(house: House, call: Call) -> Card:
    return await _give(house, call, CreditKind.BONUS)


async def _lend(house: House, call: Call) -> Card:
    return await _give(house, call, CreditKind.BORROWED)


async def _give(house: House, call: Call, kind: CreditKind) -> Card:
    given = await quota.give(
        house,
        call.actor,
        call.place,
        event=call.ref.event,
        person=call.args["person"],
        number=call.args["number"],
        span=call.args.get("span"),
        kind=kind,
        name=call.names.get("person", ""),
    )
    return quota_cards.given_card(
        given.grant.pictures,
        kind,
        call.actor.locale,
        wait=given.grant.expires_at - given.now,
        name=_named(call, "person") or "",
        everywhere=given.grant.by_owner,
    )


async def _about(house: House, call: Call) -> tuple[Actor, str]:
    """Return who is asked about, and their name; empty for oneself."""
    person = call.args.get("person")
    if person is None:
        return call.actor, ""
    who = await quota.other(
        house, call.actor, call.place, person, name=call.names.get("person", ""), roles=call.roles.get("person", ())
    )
    return who, "" if who is call.actor else who.name


def _whom(call: Call) -> Whom:
    return Whom(role=call.args.get("role"), channel=call.args.get("channel"), person=call.args.get("person"))


def _names(call: Call) -> dict[str, str | None]:
    return {name: _named(call, name) for name in ("role", "channel", "person")}


def _named(call: Call, name: str) -> str | None:
    return call.names.get(name) or call.args.get(name)


HANDLERS: Mapping[str, Callable[[House, Call], Awaitable[Card]]] = MappingProxyType(
    {
        "quota show": _show,
        "quota why": _why,
        "quota set": _set,
        "quota reset": _reset,
        "quota grant": _grant,
        "quota lend": _lend,
    }
)
