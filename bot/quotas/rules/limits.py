"""Limits: what counts in a time window, what is left under the rules, and what credits pay for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bot.core.errors import Key, OverQuota
from bot.core.quotas import POINT, Allowance, Dimension, Limit, QuotaRule, Unit, Window
from bot.core.requests import DrawRequest, evaluations
from bot.quotas.rules.rule_resolution import EffectiveRules
from engine.contract import Profile


def time_zone(name: object) -> tzinfo:
    """Return the time zone of an IANA name; UTC for any other value."""
    if not isinstance(name, str):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def window_start(window: Window, now: float, zone: tzinfo) -> float:
    """Return the moment, in Unix seconds, after which usage counts."""
    if window is not Window.CALENDAR:
        return now - window.seconds
    # Usage at exactly midnight belongs to the new day.
    return math.nextafter(_midnight(now, zone, days=0), -math.inf)


def returns_at(window: Window, at: float, now: float, zone: tzinfo) -> float:
    """Return when usage counted at ``at`` leaves the window, in Unix seconds."""
    return _midnight(now, zone, days=1) if window is Window.CALENDAR else at + window.seconds


def _midnight(now: float, zone: tzinfo, *, days: int) -> float:
    day = datetime.fromtimestamp(now, zone).date() + timedelta(days=days)
    return datetime.combine(day, time(), zone).timestamp()


@dataclass(frozen=True, slots=True)
class UsageKey:
    """Whose usage is counted, and the place that it is counted for.

    Attributes:
        person_id: The person.
        place_id: The place of the decision; None outside of places.
        channel: Its channel; empty outside of places.
    """

    person_id: int
    place_id: int | None = None
    channel: str = ""

    def is_here(self, place_id: int | None, channel: str | None = None) -> bool:
        """Return whether a job belongs to this place and, if ``channel`` is given, to this channel."""
        return self.place_id is not None and self.place_id == place_id and channel in {None, self.channel}


@dataclass(frozen=True, slots=True)
class Measure:
    """Which usage a limit sums up.

    Attributes:
        since: Only usage after this moment, in Unix seconds.
        unit: Pictures, or thousandths of a point.
        in_place: Only usage in the place of the decision.
        in_channel: Only usage in its channel.
        by_owner: For an owner's rule: pictures paid by a place's credits count too.
    """

    since: float
    unit: Unit
    in_place: bool
    in_channel: bool
    by_owner: bool


@dataclass(frozen=True, slots=True)
class UsageEntry:
    """What one job, or one overdue loan, counts.

    Attributes:
        at: When it was counted, in Unix seconds.
        owner: Pictures that count against the owner's rules.
        place: Pictures that count against the place's own rules.
        cost_each: The cost of one of them, in thousandths of a point.
        here: Whether it belongs to the place of the decision.
        in_channel: Whether it belongs to the channel of the decision.
    """

    at: float
    owner: int
    place: int
    cost_each: int = POINT
    here: bool = False
    in_channel: bool = False

    def counts(self, measure: Measure) -> int:
        """Return how much it adds to a measure."""
        if self.at <= measure.since or (measure.in_place and not self.here):
            return 0
        if measure.in_channel and not self.in_channel:
            return 0
        pictures = self.owner if measure.by_owner else self.place
        return pictures * self.cost_each if measure.unit is Unit.POINTS else pictures


def measure_of(rule: QuotaRule, limit: Limit, now: float, zone: tzinfo) -> Measure:
    """Return what a limit of a rule counts. A rule for a place or a channel counts only the usage there."""
    return Measure(
        since=window_start(limit.window, now, zone),
        unit=limit.unit,
        in_place=rule.scope.place is not None,
        in_channel=rule.scope.channel is not None,
        by_owner=rule.by_owner,
    )


def measures_of(rules: EffectiveRules, now: float, zone: tzinfo) -> tuple[Measure, ...]:
    """Return the measures of every limit that applies; empty if nothing is limited."""
    return tuple(
        dict.fromkeys(
            measure_of(rule, limit, now, zone)
            for reason in rules.reasons
            if reason.dimension is Dimension.LIMITS
            for rule in reason.rules
            for limit in rule.terms.limits
            if limit.amount is not None
        )
    )


def sum_entries(measures: Iterable[Measure], entries: Iterable[UsageEntry]) -> Mapping[Measure, int]:
    """Return the sum of the entries for each measure, in the measure's unit."""
    known = tuple(entries)
    return {measure: sum(entry.counts(measure) for entry in known) for measure in measures}


def cost_each(request: DrawRequest, profile: Profile | None) -> int:
    """Return the cost of one picture of a request, in thousandths of a point; at least 1.

    Args:
        request: The request.
        profile: Its model's; None if the model is no longer served, then a picture costs one point.
    """
    if profile is None:
        return POINT
    usual = profile.side.default**2 * profile.steps.default
    work = request.seen_pixels * evaluations(request, request.steps)
    return max(1, round(POINT * profile.cost * work / usual))


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left under the rules of one side (the owner's, or the place's own).

    Attributes:
        pictures: How many more pictures of the given cost; infinite if nothing limits them.
        allowances: Each limit that applies, the tightest first.
        measures: What each of them counts; None for unlimited ones.
    """

    pictures: float
    allowances: tuple[Allowance, ...] = ()
    measures: tuple[Measure | None, ...] = ()


@dataclass(frozen=True, slots=True)
class CreditBalance:
    """Unspent credits: those of an owner lift every rule, those of the place lift the place's own rules."""

    owner: int = 0
    place: int = 0


@dataclass(frozen=True, slots=True)
class CreditSplit:
    """How many pictures of a request credits pay for: ``free`` by an owner's, ``free_here`` by the place's own."""

    free: int = 0
    free_here: int = 0


def remaining(
    rules: EffectiveRules,
    used: Mapping[Measure, int],
    now: float,
    zone: tzinfo,
    *,
    by_owner: bool,
    cost_each: int = POINT,
) -> Remaining:
    """Return what is left under one side's rules for pictures of a cost (in thousandths of a point)."""
    reason = rules.reason(Dimension.LIMITS, by_owner=by_owner)
    if reason is None:
        return Remaining(math.inf)
    per_rule = []
    for rule in reason.rules:
        limits: list[tuple[float, Allowance, Measure | None]] = []
        for limit in rule.terms.limits:
            in_place = rule.scope.place is not None
            measure = None if limit.amount is None else measure_of(rule, limit, now, zone)
            spent = 0 if measure is None else used[measure]
            left = None if limit.total is None else max(0, limit.total - spent)
            unit_cost = cost_each if limit.unit is Unit.POINTS else 1
            allowance = Allowance(limit, spent, left, in_place=in_place, by_owner=by_owner)
            limits.append((math.inf if left is None else left // unit_cost, allowance, measure))
        limits.sort(key=lambda entry: entry[0])
        per_rule.append(Remaining(limits[0][0], tuple(a for _, a, _ in limits), tuple(m for _, _, m in limits)))
    return max(per_rule, key=lambda each: each.pictures)


def pictures_left(owner: Remaining, place: Remaining, balance: CreditBalance) -> float:
    """Return how many pictures may be requested, credits included; infinite if nothing limits them."""
    return min(owner.pictures, place.pictures + balance.place) + balance.owner


def split_credits(owner: Remaining, place: Remaining, balance: CreditBalance, count: int) -> CreditSplit | None:
    """Return the smallest number of credits that pay for ``count`` pictures; None if they do not fit.

    An owner's credits pay for what exceeds the owner's rules. What exceeds the place's own rules is paid by the place's
    credits first, then by an owner's.
    """
    if count > pictures_left(owner, place, balance):
        return None
    free = max(0, count - int(min(owner.pictures, count)))
    beyond = max(0, count - free - int(min(place.pictures, count)))
    free_here = min(beyond, balance.place)
    return CreditSplit(free + beyond - free_here, free_here)


def tightest(owner: Remaining, place: Remaining, balance: CreditBalance) -> Remaining:
    """Return the side to blame if a request does not fit; of two equal sides, the one whose limit is 0."""
    here = place.pictures + balance.place
    closed = bool(place.allowances) and place.allowances[0].limit.amount == 0
    return place if here < owner.pictures or (closed and here == owner.pictures) else owner


def over_quota(allowance: Allowance, *, left: int, count: int, cost_each: int, now: float) -> OverQuota:
    """Return the refusal of a request that does not fit.

    Args:
        allowance: The limit to blame, with its return time.
        left: Pictures that may still be requested, credits included.
        count: Pictures that were requested.
        cost_each: The cost of one of them, in thousandths of a point.
        now: Unix seconds.
    """
    amount, window = allowance.limit.amount, Key(f"window.{allowance.limit.window}")
    assert amount is not None
    here = "_here" if allowance.in_place else ""
    if amount == 0:
        return OverQuota(f"refusal.quota.closed{here}")
    wait = None if allowance.returns_at is None else max(0.0, allowance.returns_at - now)
    if allowance.limit.unit is Unit.POINTS:
        cost, rest = format_points(count * cost_each), format_points(allowance.left or 0)
        if wait is None:
            return OverQuota(f"refusal.quota.points_too_many{here}", cost=cost, limit=amount, window=window)
        returns = format_points(allowance.returns)
        return OverQuota(
            f"refusal.quota.points_left{here}",
            cost=cost,
            left=rest,
            limit=amount,
            window=window,
            returns=returns,
            wait=wait,
        )
    if wait is None:
        return OverQuota(f"refusal.quota.too_many{here}", n=left, wanted=count, window=window)
    return OverQuota(
        f"refusal.quota.left{here}" if left else f"refusal.quota.used_up{here}",
        n=left,
        wanted=count,
        limit=amount,
        window=window,
        returns=allowance.returns,
        wait=wait,
    )


def format_points(thousandths: int) -> str:
    """Return points as people read them, such as ``1.5``."""
    return f"{(Decimal(thousandths) / POINT).normalize():f}"
