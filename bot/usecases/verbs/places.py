"""``easel ...``: options of the place where it is typed, its log of changes, and the whole service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from bot.model.cards import Card
from bot.model.errors import NotAllowed, OverQuota
from bot.model.quotas import Scope, Terms
from bot.model.service import State
from bot.model.verbs import Call
from bot.policy.quotas import parse_terms
from bot.policy.typed import number_of
from bot.policy.zones import parse_zone
from bot.present import changes as log
from bot.present import places as present
from bot.store import options
from bot.store.database import Tx
from bot.usecases import changes, limits, policies, rights, trail
from bot.usecases.gates import paused
from bot.usecases.house import House
from bot.usecases.options import put, set_here
from bot.usecases.rights import ADMIN_ROLES
from bot.usecases.standing import TIMEZONE

PRESETS: Mapping[str, str] = MappingProxyType({"club": "20/day at-once 2", "strict": "5/day at-once 1 count 1"})
"""What the place's own rule for everybody becomes. ``open`` takes all of its own rules away, ``paused`` pauses."""


async def _limits(house: House, call: Call) -> Card:
    found = await limits.show(house, call.actor, call.place)
    return present.limits_card(found, call.actor.locale)


async def _preset(house: House, call: Call) -> Card:
    preset = call.args["preset"]
    if call.place.guild is None:
        raise NotAllowed("refusal.rights.no_place")
    now, narrower = house.clock.now(), False
    async with house.db.write() as tx:
        await set_here(tx, call, paused.PAUSED, True if preset == "paused" else None, now=now)
        if preset == "open":
            for policy in await policies.own(tx, call.place):
                await _rule(tx, call, policy.scope, None, now)
        elif preset in PRESETS:
            scope, terms = Scope(call.place.platform, call.place.guild), parse_terms(PRESETS[preset])
            await _rule(tx, call, scope, terms, now)
            try:
                await policies.check_ceiling(tx, house, scope, terms)
            except OverQuota:
                # A preset says how a place is meant to be; in what the owner gives less of, that binds.
                narrower = True
    return present.preset_card(preset, call.actor.locale, narrower=narrower)


async def _rule(tx: Tx, call: Call, scope: Scope, terms: Terms | None, now: float) -> None:
    by = changes.by_of(call.actor)
    await policies.change(tx, scope, terms, by_owner=False, by=by, now=now, action=call.verb.name)


async def _pause(house: House, call: Call) -> Card:
    async with house.db.write() as tx:
        await set_here(tx, call, paused.PAUSED, True, now=house.clock.now())
    return present.paused_card(call.actor.locale, paused=True)


async def _resume(house: House, call: Call) -> Card:
    async with house.db.write() as tx:
        await set_here(tx, call, paused.PAUSED, None, now=house.clock.now())
    return present.paused_card(call.actor.locale, paused=False)


async def _admins(house: House, call: Call) -> Card:
    role = call.args.get("role")
    if role is None:
        async with house.db.read() as tx:
            known = await rights.named(tx, call.place)
        return present.admins_card(known, call.actor.locale)
    rights.check_appoints(call.actor)
    async with house.db.write() as tx:
        known = await rights.named(tx, call.place)
        # Naming a role once more takes it off the list: there is one verb for both.
        named = tuple(r for r in known if r != role) if role in known else (*known, role)
        await set_here(tx, call, ADMIN_ROLES, list(named) or None, now=house.clock.now())
    return present.admin_role_card(call.names.get("role", role), call.actor.locale, named=role in named)


async def _timezone(house: House, call: Call) -> Card:
    # The names are read from files.
    zone = await asyncio.to_thread(parse_zone, call.args["zone"])
    now = house.clock.now()
    async with house.db.write() as tx:
        await set_here(tx, call, TIMEZONE, zone, now=now)
    return present.timezone_card(zone, now, call.actor.locale)


async def _changes(house: House, call: Call) -> Card:
    lines = await trail.listed(house, call.place)
    return log.changes_card(lines, call.actor.locale, now=house.clock.now(), everywhere=call.place.guild is None)


async def _undo(house: House, call: Call) -> Card:
    number = number_of(call.verb, call.args, "number")
    line = await trail.undo(house, call.actor, call.place, number)
    return log.undone_card(line, call.actor.locale)


async def _service(house: House, call: Call) -> Card:
    state = State(call.args["state"])
    now = house.clock.now()
    async with house.db.write() as tx:
        if await options.service_state(tx) is not state:
            value = None if state is State.RUN else state.value
            by, verb = changes.by_of(call.actor), call.verb.name
            await put(tx, None, options.STATE, value, action=verb, place=call.place, by=by, now=now)
    house.backlog.hold(state is State.PAUSE)
    return present.service_card(state, call.actor.locale)


HANDLERS: Mapping[str, Callable[[House, Call], Awaitable[Card]]] = MappingProxyType(
    {
        "easel limits": _limits,
        "easel preset": _preset,
        "easel pause": _pause,
        "easel resume": _resume,
        "easel admins": _admins,
        "easel timezone": _timezone,
        "easel changes": _changes,
        "easel undo": _undo,
        "easel service": _service,
    }
)
