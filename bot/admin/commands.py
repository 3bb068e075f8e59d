"""Commands ``easel ...``: settings of a place, its audit log and undo, and the state of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from bot.admin import cards, service
from bot.audit import changes
from bot.commands import permissions
from bot.commands.arguments import NUMBER, ROLE
from bot.commands.model import Arg, ArgType, Command, Invocation, Permission
from bot.commands.parser import number_of
from bot.commands.permissions import ADMIN_ROLES
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.errors import NotAllowed, OverQuota
from bot.core.jobs import ServiceState
from bot.core.quotas import RuleTerms, Scope
from bot.places import options as place_options
from bot.places.options import parse_zone, set_place_option
from bot.quotas import changes as rule_changes
from bot.quotas.rules.terms import parse_terms
from bot.quotas.usage import TIMEZONE
from bot.storage.database import Tx

PRESETS: Mapping[str, str] = MappingProxyType({"club": "20/day at-once 2", "strict": "5/day at-once 1 count 1"})
"""The place's own rule for everybody, by preset. ``open`` removes all rules of the place; ``paused`` pauses it."""


async def limits(ctx: AppContext, invocation: Invocation) -> tuple[Card, bool]:
    """Return the card of what holds in a place, and whether who asks may change it."""
    found = await service.effective_settings(ctx, invocation.actor, invocation.place)
    return cards.limits_card(found, invocation.actor.locale), found.admin


async def _preset(ctx: AppContext, invocation: Invocation) -> Card:
    preset = invocation.args["preset"]
    if invocation.place.guild is None:
        raise NotAllowed("refusal.rights.no_place")
    now, narrower = ctx.clock.now(), False
    async with ctx.db.write() as tx:
        await set_place_option(tx, invocation, place_options.PAUSED, True if preset == "paused" else None, now=now)
        if preset == "open":
            for policy in await rule_changes.place_rules(tx, invocation.place):
                await _rule(tx, invocation, policy.scope, None, now)
        elif preset in PRESETS:
            scope, terms = Scope(invocation.place.platform, invocation.place.guild), parse_terms(PRESETS[preset])
            await _rule(tx, invocation, scope, terms, now)
            try:
                await rule_changes.check_owner_ceiling(tx, ctx, scope, terms)
            except OverQuota:
                # The preset is set all the same; where the owner allows less, the owner's rule binds.
                narrower = True
    return cards.preset_card(preset, invocation.actor.locale, narrower=narrower)


async def _rule(tx: Tx, invocation: Invocation, scope: Scope, terms: RuleTerms | None, now: float) -> None:
    by = changes.actor_label(invocation.actor)
    await rule_changes.change_rule(tx, scope, terms, by_owner=False, by=by, now=now, action=invocation.command.name)


async def _pause(ctx: AppContext, invocation: Invocation) -> Card:
    async with ctx.db.write() as tx:
        await set_place_option(tx, invocation, place_options.PAUSED, True, now=ctx.clock.now())
    return cards.paused_card(invocation.actor.locale, paused=True)


async def _resume(ctx: AppContext, invocation: Invocation) -> Card:
    async with ctx.db.write() as tx:
        await set_place_option(tx, invocation, place_options.PAUSED, None, now=ctx.clock.now())
    return cards.paused_card(invocation.actor.locale, paused=False)


async def _admins(ctx: AppContext, invocation: Invocation) -> Card:
    role = invocation.args.get("role")
    if role is None:
        async with ctx.db.read() as tx:
            known = await permissions.named(tx, invocation.place)
        return cards.admins_card(known, invocation.actor.locale)
    permissions.check_appoints(invocation.actor)
    async with ctx.db.write() as tx:
        known = await permissions.named(tx, invocation.place)
        # One command adds a role and, used again, removes it.
        named = tuple(r for r in known if r != role) if role in known else (*known, role)
        await set_place_option(tx, invocation, ADMIN_ROLES, list(named) or None, now=ctx.clock.now())
    return cards.admin_role_card(invocation.names.get("role", role), invocation.actor.locale, named=role in named)


async def _timezone(ctx: AppContext, invocation: Invocation) -> Card:
    # The names are read from files.
    zone = await asyncio.to_thread(parse_zone, invocation.args["zone"])
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        await set_place_option(tx, invocation, TIMEZONE, zone, now=now)
    return cards.timezone_card(zone, now, invocation.actor.locale)


async def _changes(ctx: AppContext, invocation: Invocation) -> Card:
    lines = await service.list_changes(ctx, invocation.place)
    return cards.changes_card(
        lines, invocation.actor.locale, now=ctx.clock.now(), everywhere=invocation.place.guild is None
    )


async def _undo(ctx: AppContext, invocation: Invocation) -> Card:
    number = number_of(invocation.command, invocation.args, "number")
    line = await service.undo(ctx, invocation.actor, invocation.place, number)
    return cards.undone_card(line, invocation.actor.locale)


async def _service(ctx: AppContext, invocation: Invocation) -> Card:
    state = ServiceState(invocation.args["state"])
    await service.set_state(ctx, invocation.actor, state, invocation.place, action=invocation.command.name)
    return cards.service_card(state, invocation.actor.locale)


COMMANDS = (
    Command(
        name="easel preset",
        permission=Permission.ADMIN,
        handler=_preset,
        args=(Arg("preset", ArgType.CHOICE, choices=("open", "club", "strict", "paused")),),
        private=False,
        place_only=True,
    ),
    Command(name="easel pause", permission=Permission.ADMIN, handler=_pause, private=False, place_only=True),
    Command(name="easel resume", permission=Permission.ADMIN, handler=_resume, private=False, place_only=True),
    Command(name="easel admins", permission=Permission.ADMIN, handler=_admins, args=(ROLE,), place_only=True),
    Command(
        name="easel timezone",
        permission=Permission.ADMIN,
        handler=_timezone,
        args=(Arg("zone", ArgType.WORD),),
        place_only=True,
    ),
    Command(name="easel changes", permission=Permission.ADMIN, handler=_changes),
    Command(name="easel undo", permission=Permission.ADMIN, handler=_undo, args=(NUMBER,)),
    Command(
        name="owner service",
        permission=Permission.OWNER,
        handler=_service,
        args=(Arg("state", ArgType.CHOICE, choices=("run", "drain", "pause")),),
    ),
)
