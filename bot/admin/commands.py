"""``easel ...``: options of the place where it is typed, its log of changes, and the whole service."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from bot.admin import audit_log, settings
from bot.admin import cards as log
from bot.admin import cards as present
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
from bot.places.options import parse_zone, set_option, set_place_option
from bot.quotas import changes as rule_changes
from bot.quotas.rules.terms import parse_terms
from bot.quotas.usage import TIMEZONE
from bot.storage import options
from bot.storage.database import Tx

PRESETS: Mapping[str, str] = MappingProxyType({"club": "20/day at-once 2", "strict": "5/day at-once 1 count 1"})
"""What the place's own rule for everybody becomes. ``open`` takes all of its own rules away, ``paused`` pauses."""


async def _limits(ctx: AppContext, call: Invocation) -> Card:
    found = await settings.effective_settings(ctx, call.actor, call.place)
    return present.limits_card(found, call.actor.locale)


async def _preset(ctx: AppContext, call: Invocation) -> Card:
    preset = call.args["preset"]
    if call.place.guild is None:
        raise NotAllowed("refusal.rights.no_place")
    now, narrower = ctx.clock.now(), False
    async with ctx.db.write() as tx:
        await set_place_option(tx, call, place_options.PAUSED, True if preset == "paused" else None, now=now)
        if preset == "open":
            for policy in await rule_changes.place_rules(tx, call.place):
                await _rule(tx, call, policy.scope, None, now)
        elif preset in PRESETS:
            scope, terms = Scope(call.place.platform, call.place.guild), parse_terms(PRESETS[preset])
            await _rule(tx, call, scope, terms, now)
            try:
                await rule_changes.check_owner_ceiling(tx, ctx, scope, terms)
            except OverQuota:
                # A preset says how a place is meant to be; in what the owner gives less of, that binds.
                narrower = True
    return present.preset_card(preset, call.actor.locale, narrower=narrower)


async def _rule(tx: Tx, call: Invocation, scope: Scope, terms: RuleTerms | None, now: float) -> None:
    by = changes.actor_label(call.actor)
    await rule_changes.change_rule(tx, scope, terms, by_owner=False, by=by, now=now, action=call.command.name)


async def _pause(ctx: AppContext, call: Invocation) -> Card:
    async with ctx.db.write() as tx:
        await set_place_option(tx, call, place_options.PAUSED, True, now=ctx.clock.now())
    return present.paused_card(call.actor.locale, paused=True)


async def _resume(ctx: AppContext, call: Invocation) -> Card:
    async with ctx.db.write() as tx:
        await set_place_option(tx, call, place_options.PAUSED, None, now=ctx.clock.now())
    return present.paused_card(call.actor.locale, paused=False)


async def _admins(ctx: AppContext, call: Invocation) -> Card:
    role = call.args.get("role")
    if role is None:
        async with ctx.db.read() as tx:
            known = await permissions.named(tx, call.place)
        return present.admins_card(known, call.actor.locale)
    permissions.check_appoints(call.actor)
    async with ctx.db.write() as tx:
        known = await permissions.named(tx, call.place)
        # Naming a role once more takes it off the list: there is one verb for both.
        named = tuple(r for r in known if r != role) if role in known else (*known, role)
        await set_place_option(tx, call, ADMIN_ROLES, list(named) or None, now=ctx.clock.now())
    return present.admin_role_card(call.names.get("role", role), call.actor.locale, named=role in named)


async def _timezone(ctx: AppContext, call: Invocation) -> Card:
    # The names are read from files.
    zone = await asyncio.to_thread(parse_zone, call.args["zone"])
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        await set_place_option(tx, call, TIMEZONE, zone, now=now)
    return present.timezone_card(zone, now, call.actor.locale)


async def _changes(ctx: AppContext, call: Invocation) -> Card:
    lines = await audit_log.list_changes(ctx, call.place)
    return log.changes_card(lines, call.actor.locale, now=ctx.clock.now(), everywhere=call.place.guild is None)


async def _undo(ctx: AppContext, call: Invocation) -> Card:
    number = number_of(call.command, call.args, "number")
    line = await audit_log.undo(ctx, call.actor, call.place, number)
    return log.undone_card(line, call.actor.locale)


async def _service(ctx: AppContext, call: Invocation) -> Card:
    state = ServiceState(call.args["state"])
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        if await options.service_state(tx) is not state:
            value = None if state is ServiceState.RUN else state.value
            by, verb = changes.actor_label(call.actor), call.command.name
            await set_option(tx, None, options.STATE, value, action=verb, place=call.place, by=by, now=now)
    ctx.backlog.set_paused(state is ServiceState.PAUSE)
    return present.service_card(state, call.actor.locale)


COMMANDS = (
    Command(name="easel limits", permission=Permission.ANYBODY, handler=_limits, listed=False),
    Command(
        name="easel preset",
        permission=Permission.ADMIN,
        handler=_preset,
        args=(Arg("preset", ArgType.CHOICE, choices=("open", "club", "strict", "paused")),),
        private=False,
    ),
    Command(name="easel pause", permission=Permission.ADMIN, handler=_pause, private=False),
    Command(name="easel resume", permission=Permission.ADMIN, handler=_resume, private=False),
    Command(name="easel admins", permission=Permission.ADMIN, handler=_admins, args=(ROLE,)),
    Command(name="easel timezone", permission=Permission.ADMIN, handler=_timezone, args=(Arg("zone", ArgType.WORD),)),
    Command(name="easel changes", permission=Permission.ADMIN, handler=_changes),
    Command(name="easel undo", permission=Permission.ADMIN, handler=_undo, args=(NUMBER,)),
    Command(
        name="easel service",
        permission=Permission.OWNER,
        handler=_service,
        args=(Arg("state", ArgType.CHOICE, choices=("run", "drain", "pause")),),
    ),
)
