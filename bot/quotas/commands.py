"""Commands of quotas: the status and its reasons, the rules and the credits of a place."""

from __future__ import annotations

from bot.commands.arguments import ANY_PERSON, CHANNEL, NUMBER, PERSON, ROLE, SPAN
from bot.commands.model import Arg, ArgType, Command, Invocation, Permission, PickedOn
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.people import Actor
from bot.core.quotas import CreditKind
from bot.quotas import cards as quota_cards
from bot.quotas import service as quota_service
from bot.quotas.service import RuleTarget


async def _show(ctx: AppContext, invocation: Invocation) -> Card:
    who, name = await _about(ctx, invocation)
    status = await quota_service.show_quota(ctx, who, invocation.place)
    return quota_cards.quota_card(status, invocation.actor.locale, name=name)


async def _why(ctx: AppContext, invocation: Invocation) -> Card:
    who, name = await _about(ctx, invocation)
    reasons = await quota_service.explain(ctx, who, invocation.place)
    known = not name or bool(who.roles) or invocation.place.guild is None
    return quota_cards.why_card(reasons, invocation.actor.locale, name=name, roles_known=known)


async def _set(ctx: AppContext, invocation: Invocation) -> Card:
    terms = await quota_service.set_rule(
        ctx, invocation.actor, invocation.place, invocation.args["rule"], _target(invocation)
    )
    if invocation.place.guild is None:
        return quota_cards.ceiling_card(terms, invocation.actor.locale, person=_named(invocation, "person"))
    return quota_cards.quota_set_card(terms, invocation.actor.locale, **_names(invocation))


async def _reset(ctx: AppContext, invocation: Invocation) -> Card:
    terms = await quota_service.reset_rule(ctx, invocation.actor, invocation.place, _target(invocation))
    if invocation.place.guild is None:
        return quota_cards.ceiling_card(None, invocation.actor.locale, person=_named(invocation, "person"))
    return quota_cards.quota_reset_card(terms, invocation.actor.locale, **_names(invocation))


async def _grant(ctx: AppContext, invocation: Invocation) -> Card:
    return await _give(ctx, invocation, CreditKind.BONUS)


async def _lend(ctx: AppContext, invocation: Invocation) -> Card:
    return await _give(ctx, invocation, CreditKind.BORROWED)


async def _give(ctx: AppContext, invocation: Invocation, kind: CreditKind) -> Card:
    granted = await quota_service.give_credits(
        ctx,
        invocation.actor,
        invocation.place,
        event=invocation.ref.event,
        person=invocation.args["person"],
        number=invocation.args["number"],
        span=invocation.args.get("span"),
        kind=kind,
        name=invocation.names.get("person", ""),
    )
    return quota_cards.credits_card(
        granted.grant.pictures,
        kind,
        invocation.actor.locale,
        wait=granted.grant.expires_at - granted.now,
        name=_named(invocation, "person") or "",
        everywhere=granted.grant.by_owner,
    )


async def _about(ctx: AppContext, invocation: Invocation) -> tuple[Actor, str]:
    """Return the person that the command is about, and their name; empty for the actor."""
    person = invocation.args.get("person")
    if person is None:
        return invocation.actor, ""
    who = await quota_service.find_other(
        ctx,
        invocation.actor,
        invocation.place,
        person,
        name=invocation.names.get("person", ""),
        roles=invocation.roles.get("person", ()),
    )
    return who, "" if who is invocation.actor else who.name


def _target(invocation: Invocation) -> RuleTarget:
    return RuleTarget(
        role=invocation.args.get("role"), channel=invocation.args.get("channel"), person=invocation.args.get("person")
    )


def _names(invocation: Invocation) -> dict[str, str | None]:
    return {name: _named(invocation, name) for name in ("role", "channel", "person")}


def _named(invocation: Invocation, name: str) -> str | None:
    return invocation.names.get(name) or invocation.args.get(name)


COMMANDS = (
    Command(
        name="quota show",
        permission=Permission.ANYBODY,
        handler=_show,
        args=(ANY_PERSON,),
        default=True,
        picked_on=PickedOn.PERSON,
    ),
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
