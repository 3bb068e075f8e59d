"""Quota usage: what is left for a person in a place, and the reservation of a request's quota."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo

from bot.context import AdmissionContext, AppContext
from bot.core.jobs import Job
from bot.core.people import Actor, Place
from bot.core.quotas import POINT, Allowance, Credit, Dimension, QuotaRule, QuotaStatus, Window
from bot.core.requests import DrawRequest
from bot.quotas.rules import limits, rule_resolution
from bot.quotas.rules.limits import CreditBalance, CreditSplit, Remaining, UsageKey
from bot.quotas.rules.rule_resolution import EffectiveRules, RequestedAmounts
from bot.quotas.store import ledger
from bot.quotas.store import ledger as credit_rows
from bot.quotas.store import rules as rule_rows
from bot.storage import people
from bot.storage.database import Tx
from bot.storage.people import Options

TIMEZONE = "timezone"
"""Option of a place, or of the service: the IANA name of the time zone of its calendar days."""


@dataclass(frozen=True, slots=True)
class QuotaUsage:
    """A person's usage and credits, as a decision needs them.

    Attributes:
        key: Whose usage, and for which place.
        rules: The rules that apply.
        owner: What is left under the owner's rules.
        place: What is left under the place's own rules.
        credits: Unspent credits, the first to expire first.
        zone: The time zone of the place's calendar days.
        now: Unix seconds.
    """

    key: UsageKey
    rules: EffectiveRules
    owner: Remaining
    place: Remaining
    credits: tuple[Credit, ...]
    zone: tzinfo
    now: float

    @property
    def balance(self) -> CreditBalance:
        """The sum of the credits."""
        return CreditBalance(
            owner=sum(credit.left for credit in self.credits if credit.by_owner),
            place=sum(credit.left for credit in self.credits if not credit.by_owner),
        )

    @property
    def pictures_left(self) -> float:
        """How many pictures may be requested, credits included; infinite if nothing limits them."""
        return limits.pictures_left(self.owner, self.place, self.balance)


@dataclass(frozen=True, slots=True)
class Reservation:
    """The quota that a request may take.

    Attributes:
        key: Whose usage, and for which place.
        paid: The pictures that credits pay for.
        cost_each: The cost of one picture, in thousandths of a point.
        credits: Unspent credits, the first to expire first.
    """

    key: UsageKey
    paid: CreditSplit
    cost_each: int = POINT
    credits: tuple[Credit, ...] = ()


async def reserve(
    tx: Tx, ctx: AppContext, context: AdmissionContext, job: Job, quota_rules: Sequence[QuotaRule]
) -> None:
    """Check a stored job's quota and reserve it, in the transaction that queues the job.

    Owners are never refused, but their usage counts: each queued job has exactly one reservation.

    Args:
        tx: A writing transaction.
        ctx: The use cases' context.
        context: The request's context, with the roles of its actor.
        job: The job, without a reservation.
        quota_rules: Candidate rules of the person (``rules_of_person``).

    Raises:
        OverQuota: The job does not fit; says what is left or allowed, and when more comes back.
    """
    reservation = await check_quota(tx, ctx, context, job.request, quota_rules, job_id=job.id)
    now, paid = context.now, reservation.paid
    await credit_rows.spend_credits(tx, reservation.credits, job.id, paid.free, by_owner=True, now=now)
    await credit_rows.spend_credits(tx, reservation.credits, job.id, paid.free_here, by_owner=False, now=now)
    await ledger.reserve(
        tx,
        job_id=job.id,
        person_id=context.person.id,
        place_id=context.place_id,
        pictures=job.request.count,
        now=now,
        channel=reservation.key.channel,
        cost_each=reservation.cost_each,
        free=paid.free,
        free_here=paid.free_here,
    )


async def check_quota(
    tx: Tx,
    ctx: AppContext,
    context: AdmissionContext,
    request: DrawRequest,
    quota_rules: Sequence[QuotaRule],
    *,
    job_id: int = 0,
) -> Reservation:
    """Return the quota that a request may take. Owners are exempt.

    Args:
        tx: A transaction.
        ctx: The use cases' context.
        context: The request's context, with the roles of its actor.
        request: The request.
        quota_rules: Candidate rules of the person (``rules_of_person``).
        job_id: Its job, if it is stored: it does not count as waiting itself.

    Raises:
        OverQuota: The request does not fit; says what is left or allowed, and when more comes back.
    """
    profile = ctx.profile(request.model)
    cost = limits.cost_each(request, profile)
    key = UsageKey(context.person.id, context.place_id, channel_of(context.place))
    if context.actor.is_owner:
        return Reservation(key, CreditSplit(), cost)
    rules = resolve(ctx, context.actor, context.place, quota_rules)
    requested = RequestedAmounts(request.count, request.width, request.height, request.steps, request.model)
    rule_resolution.check_request(rules, requested)
    if rules.request_terms().at_once is not None:
        waiting = await ledger.count_waiting(tx, key, exclude=job_id)
        rule_resolution.check_waiting(rules, waiting, lambda job_id: _eta(ctx, job_id))
    usage = await load_usage(tx, key, rules, context.options, now=context.now, cost_each=cost)
    paid = limits.split_credits(usage.owner, usage.place, usage.balance, request.count)
    if paid is None:
        side = limits.tightest(usage.owner, usage.place, usage.balance)
        blamed = await with_return_time(tx, usage, side, 0)
        left = int(usage.pictures_left)
        raise limits.over_quota(blamed, left=left, count=request.count, cost_each=cost, now=context.now)
    return Reservation(key, paid, cost, usage.credits)


def _eta(ctx: AppContext, job_id: int) -> float | None:
    position = ctx.backlog.position(job_id)
    # The upper end: a promise must not be too early.
    return None if position is None or position.eta is None else position.eta.high


async def load_rules(tx: Tx, ctx: AppContext, actor: Actor, place: Place, person_id: int | None) -> EffectiveRules:
    """Return the rules that apply to a person in a place; ``person_id`` is None for an unknown person.

    Rules for a person apply to each of their accounts on this platform.
    """
    return resolve(ctx, actor, place, await rule_rows.rules_of_person(tx, actor, place.guild, person_id))


def resolve(ctx: AppContext, actor: Actor, place: Place, candidates: Sequence[QuotaRule]) -> EffectiveRules:
    """Return the rules that apply to a person in a place, out of the candidates (``rules_of_person``)."""
    ids = {rule.scope.person for rule in candidates if rule.scope.person is not None}
    return rule_resolution.resolve_rules(actor, place, candidates, ctx.default_quota, accounts=ids)


async def load_usage(
    tx: Tx, key: UsageKey, rules: EffectiveRules, place_options: Options, *, now: float, cost_each: int = POINT
) -> QuotaUsage:
    """Return what is left for pictures of a cost (in thousandths of a point); the options name the time zone."""
    zone = limits.time_zone(place_options.binding(TIMEZONE))
    measures = limits.measures_of(rules, now, zone)
    used, credits_ = await asyncio.gather(
        ledger.sum_used(tx, key, measures, now=now), credit_rows.available_credits(tx, key, now=now)
    )
    owner, own = (
        limits.remaining(rules, used, now, zone, by_owner=by_owner, cost_each=cost_each) for by_owner in (True, False)
    )
    # Without limits nothing spends credits.
    return QuotaUsage(key, rules, owner, own, credits_ if measures else (), zone, now)


async def with_return_time(tx: Tx, usage: QuotaUsage, side: Remaining, index: int) -> Allowance:
    """Return one limit of a side, with how much of it comes back next and when."""
    allowance, measure = side.allowances[index], side.measures[index]
    if measure is None or not allowance.used:
        return allowance
    first = await ledger.oldest_use(tx, usage.key, measure, now=usage.now)
    if first is None:
        return allowance
    at, returns = first
    if allowance.limit.window is Window.CALENDAR:
        returns = allowance.used
    returns_at = limits.returns_at(allowance.limit.window, at, usage.now, usage.zone)
    return replace(allowance, returns_at=returns_at, returns=returns)


async def quota_status(tx: Tx, ctx: AppContext, actor: Actor, place: Place) -> QuotaStatus:
    """Return a person's quota status in a place. Owners are unlimited."""
    now = ctx.clock.now()
    person = await people.find(tx, actor.platform, actor.user_id)
    place_id = await people.find_place(tx, place)
    if actor.is_owner:
        return QuotaStatus(None, (), now=now)
    key = UsageKey(0 if person is None else person.id, place_id, channel_of(place))
    rules = await load_rules(tx, ctx, actor, place, None if person is None else person.id)
    usage = await load_usage(tx, key, rules, await people.read_options(tx, place_id), now=now)
    allowances = []
    for side in sorted((usage.owner, usage.place), key=lambda side: side.pictures):
        allowances += [await with_return_time(tx, usage, side, index) for index in range(len(side.allowances))]
    left = usage.pictures_left
    waiting = await ledger.count_waiting(tx, key)
    return QuotaStatus(
        left=None if left == float("inf") else int(left),
        allowances=tuple(allowances),
        credits=usage.credits,
        terms=rules.request_terms(),
        waiting=rule_resolution.count_waiting(rules, waiting, by_owner=_owner_is_stricter(rules)),
        now=now,
    )


def _owner_is_stricter(rules: EffectiveRules) -> bool:
    """Return whether the owner's AT_ONCE rule is at least as tight as the place's own."""
    owner, own = (rules.maximum(Dimension.AT_ONCE, by_owner=by_owner) for by_owner in (True, False))
    return own is None or (owner is not None and owner <= own)


def channel_of(place: Place) -> str:
    """Return the channel that usage is counted for; empty outside of servers and groups."""
    return "" if place.guild is None else place.channel
