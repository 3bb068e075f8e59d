"""Commands of quotas: the status and its reasons, the rules and the credits of a place."""

from __future__ import annotations

from bot.commands.arguments import ANY_PERSON, CHANNEL, NUMBER, PERSON, ROLE, SPAN
from bot.commands.model import Arg, ArgType, Command, Invocation, Permission
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.people import Actor
from bot.core.quotas import CreditKind
from bot.quotas import cards as quota_cards
from bot.quotas import service as quota_service
from bot.quotas.service import RuleTarget


async def _show(ctx: AppContext, call: Invocation) -> Card:
    who, name = await _about(ctx, call)
    status = await quota_service.show_quota(ctx, who, call.place)
    return quota_cards.quota_card(status, call.actor.locale, name=name)


async def _why(ctx: AppContext, call: Invocation) -> Card:
    who, name = await _about(ctx, call)
    reasons = await quota_service.explain(ctx, who, call.place)
    known = not name or bool(who.roles) or call.place.guild is None
    return quota_cards.why_card(reasons, call.actor.locale, name=name, roles_known=known)


async def _set(ctx: AppContext, call: Invocation) -> Card:
    terms = await quota_service.set_rule(ctx, call.actor, call.place, call.args["rule"], _target(call))
    if call.place.guild is None:
        return quota_cards.ceiling_card(terms, call.actor.locale, person=_named(call, "person"))
    return quota_cards.quota_set_card(terms, call.actor.locale, **_names(call))


async def _reset(ctx: AppContext, call: Invocation) -> Card:
    terms = await quota_service.reset_rule(ctx, call.actor, call.place, _target(call))
    if call.place.guild is None:
        return quota_cards.ceiling_card(None, call.actor.locale, person=_named(call, "person"))
    return quota_cards.quota_reset_card(terms, call.actor.locale, **_names(call))


async def _grant(ctx: AppContext, call: Invocation) -> Card:
    return await _give(ctx, call, CreditKind.BONUS)


async def _lend(ctx: AppContext, call: Invocation) -> Card:
    return await _give(ctx, call, CreditKind.BORROWED)


async def _give(ctx: AppContext, call: Invocation, kind: CreditKind) -> Card:
    granted = await quota_service.give_credits(
        ctx,
        call.actor,
        call.place,
        event=call.ref.event,
        person=call.args["person"],
        number=call.args["number"],
        span=call.args.get("span"),
        kind=kind,
        name=call.names.get("person", ""),
    )
    return quota_cards.credits_card(
        granted.grant.pictures,
        kind,
        call.actor.locale,
        wait=granted.grant.expires_at - granted.now,
        name=_named(call, "person") or "",
        everywhere=granted.grant.by_owner,
    )


async def _about(ctx: AppContext, call: Invocation) -> tuple[Actor, str]:
    """Return the person that the command is about, and their name; empty for the actor."""
    person = call.args.get("person")
    if person is None:
        return call.actor, ""
    who = await quota_service.find_other(
        ctx, call.actor, call.place, person, name=call.names.get("person", ""), roles=call.roles.get("person", ())
    )
    return who, "" if who is call.actor else who.name


def _target(call: Invocation) -> RuleTarget:
    return RuleTarget(role=call.args.get("role"), channel=call.args.get("channel"), person=call.args.get("person"))


def _names(call: Invocation) -> dict[str, str | None]:
    return {name: _named(call, name) for name in ("role", "channel", "person")}


def _named(call: Invocation, name: str) -> str | None:
    return call.names.get(name) or call.args.get(name)


COMMANDS = (
    Command(name="quota show", permission=Permission.ANYBODY, handler=_show, args=(ANY_PERSON,)),
    Command(name="quota why", permission=Permission.ANYBODY, handler=_why, args=(ANY_PERSON,)),
    Command(
        name="quota set",
        permission=Permission.ADMIN,
        handler=_set,
        args=(ROLE, ANY_PERSON, CHANNEL, Arg("rule", ArgType.TEXT)),
        private=False,
    ),
    Command(
        name="quota reset",
        permission=Permission.ADMIN,
        handler=_reset,
        args=(ROLE, ANY_PERSON, CHANNEL),
        private=False,
    ),
    Command(
        name="quota grant", permission=Permission.ADMIN, handler=_grant, args=(PERSON, NUMBER, SPAN), private=False
    ),
    Command(name="quota lend", permission=Permission.ADMIN, handler=_lend, args=(PERSON, NUMBER, SPAN), private=False),
)
