"""How somebody stands: the rules that bind them here, what counts, and the credits that they may spend."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo

from bot.context import AppContext
from bot.core.people import Actor, Place
from bot.core.quotas import POINT, Allowance, Credit, Dimension, QuotaRule, QuotaStatus, Window
from bot.quotas import rules
from bot.quotas.rules import Asker, Bindings, CreditBalance, Remaining
from bot.quotas.store import credits as credit_rows
from bot.quotas.store import ledger
from bot.quotas.store import rules as rule_rows
from bot.storage import options, people
from bot.storage.database import Tx
from bot.storage.options import Options

TIMEZONE = "timezone"
"""Option of a place, or of the service: the IANA name of the zone that its calendar days are in."""


@dataclass(frozen=True, slots=True)
class QuotaUsage:
    """What has to be known to decide.

    Attributes:
        asker: Whose, and where.
        bindings: The rules that bind.
        owner: What is left under the owner's rules.
        own: What is left under the place's own.
        credits: What may be spent, the first to expire first.
        zone: Of the place's calendar days.
        now: Unix seconds.
    """

    asker: Asker
    bindings: Bindings
    owner: Remaining
    own: Remaining
    credits: tuple[Credit, ...]
    zone: tzinfo
    now: float

    @property
    def purse(self) -> CreditBalance:
        """The credits, summed up."""
        return CreditBalance(
            owner=sum(credit.left for credit in self.credits if credit.by_owner),
            own=sum(credit.left for credit in self.credits if not credit.by_owner),
        )


async def bind(tx: Tx, ctx: AppContext, actor: Actor, place: Place, person_id: int | None) -> Bindings:
    """Return the rules that bind somebody in a place; ``person_id`` is None where nobody knows them yet.

    Rules for a person hold for each account that they have on this platform.
    """
    return bound(ctx, actor, place, await rule_rows.for_one(tx, actor, place.guild, person_id))


def bound(ctx: AppContext, actor: Actor, place: Place, found: Sequence[QuotaRule]) -> Bindings:
    """Return the rules that bind somebody in a place, out of those that may (``policies.for_one``)."""
    ids = {policy.scope.person for policy in found if policy.scope.person is not None}
    return rules.bind(actor, place, found, ctx.quota, accounts=ids)


async def quota_usage(
    tx: Tx, asker: Asker, bindings: Bindings, said: Options, *, now: float, cost_each: int = POINT
) -> QuotaUsage:
    """Return what is left for pictures of a cost (in thousandths of a point); ``said`` names the place's time zone."""
    zone = rules.zone_of(said.binding(TIMEZONE))
    measures = rules.measures(bindings, now, zone)
    used, credits_ = await asyncio.gather(
        ledger.used(tx, asker, measures, now=now), credit_rows.available(tx, asker, now=now)
    )
    owner, own = (
        rules.room(bindings, used, now, zone, by_owner=by_owner, cost_each=cost_each) for by_owner in (True, False)
    )
    # Where nothing limits anybody, nobody spends anything.
    return QuotaUsage(asker, bindings, owner, own, credits_ if measures else (), zone, now)


async def dated(tx: Tx, books: QuotaUsage, room: Remaining, index: int) -> Allowance:
    """Return one limit of a room with what comes back of it, and when."""
    allowance, measure = room.allowances[index], room.measures[index]
    if measure is None or not allowance.used:
        return allowance
    first = await ledger.oldest(tx, books.asker, measure, now=books.now)
    if first is None:
        return allowance
    at, returns = first
    if allowance.limit.window is Window.CALENDAR:
        returns = allowance.used
    back = rules.returns_at(allowance.limit.window, at, books.now, books.zone)
    return replace(allowance, returns_at=back, returns=returns)


async def quota_status(tx: Tx, ctx: AppContext, actor: Actor, place: Place) -> QuotaStatus:
    """Return how somebody stands in a place; an owner is free of every rule."""
    now = ctx.clock.now()
    person = await people.find(tx, actor.platform, actor.user_id)
    place_id = await people.find_place(tx, place)
    if actor.is_owner:
        return QuotaStatus(None, (), now=now)
    asker = asker_of(0 if person is None else person.id, place, place_id)
    bindings = await bind(tx, ctx, actor, place, None if person is None else person.id)
    books = await quota_usage(tx, asker, bindings, await options.read(tx, place_id), now=now)
    allowances = []
    for room in sorted((books.owner, books.own), key=lambda room: room.pictures):
        allowances += [await dated(tx, books, room, index) for index in range(len(room.allowances))]
    left = rules.left(books.owner, books.own, books.purse)
    by_owner = _tighter(bindings)
    waiting = rules.waiting_of(bindings, await ledger.waiting(tx, asker), by_owner=by_owner)
    return QuotaStatus(
        left=None if left == float("inf") else int(left),
        allowances=tuple(allowances),
        credits=books.credits,
        terms=bindings.terms(),
        waiting=waiting,
        now=now,
    )


def asker_of(person_id: int, place: Place, place_id: int | None) -> Asker:
    """Return whose uses are looked at; channels count in servers and groups alone."""
    return Asker(person_id, place_id, channel_of(place))


def channel_of(place: Place) -> str:
    """Return what is kept of where in a place something was asked for."""
    return "" if place.guild is None else place.channel


def _tighter(bindings: Bindings) -> bool:
    """Return whose rule on how many may wait is the tighter one: the owner's (True) or the place's own."""
    owner, own = (bindings.most(Dimension.AT_ONCE, by_owner=by_owner) for by_owner in (True, False))
    return own is None or (owner is not None and owner <= own)
