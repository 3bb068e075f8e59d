"""What counts against a limit: time windows, uses, and the cost of a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bot.core.quotas import POINT, Dimension, Limit, QuotaRule, Unit, Window
from bot.core.requests import DrawRequest
from bot.quotas.rules.rule_resolution import Bindings
from engine.contract import Profile


def zone_of(name: object) -> tzinfo:
    """Return the time zone of an IANA name; UTC where it is none (any more)."""
    if not isinstance(name, str):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def since(window: Window, now: float, zone: tzinfo) -> float:
    """Return the moment after which uses count, in Unix seconds."""
    if window is not Window.CALENDAR:
        return now - window.seconds
    # What is counted on the stroke of midnight belongs to the new day.
    return math.nextafter(_midnight(now, zone, days=0), -math.inf)


def returns_at(window: Window, at: float, now: float, zone: tzinfo) -> float:
    """Return when a use of the moment ``at`` counts no more, in Unix seconds."""
    return _midnight(now, zone, days=1) if window is Window.CALENDAR else at + window.seconds


def _midnight(now: float, zone: tzinfo, *, days: int) -> float:
    day = datetime.fromtimestamp(now, zone).date() + timedelta(days=days)
    return datetime.combine(day, time(), zone).timestamp()


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose uses are looked at, and from where.

    Attributes:
        person_id: Whose.
        place_id: The place that is decided about; None for none.
        channel: Its channel; empty for none.
    """

    person_id: int
    place_id: int | None = None
    channel: str = ""

    def is_here(self, place_id: int | None, channel: str | None = None) -> bool:
        """Whether something was asked for in this place and, where it is given, in this channel of it."""
        return self.place_id is not None and self.place_id == place_id and channel in {None, self.channel}


@dataclass(frozen=True, slots=True)
class Measure:
    """What is summed up for a limit.

    Attributes:
        since: Only uses after this moment, in Unix seconds.
        unit: Pictures, or thousandths of a point.
        in_place: Only what was asked for in the place that is decided about.
        in_channel: Only what was asked for in its channel.
        by_owner: For an owner's rule: what a place's credits paid for counts.
    """

    since: float
    unit: Unit
    in_place: bool
    in_channel: bool
    by_owner: bool


@dataclass(frozen=True, slots=True)
class Use:
    """What one job, or something borrowed that is due, counts for.

    Attributes:
        at: When it was counted, in Unix seconds.
        owner: Pictures that count against the owner's rules.
        own: Pictures that count against the place's own.
        cost_each: What one of them costs, in thousandths of a point.
        here: Whether it was asked for in the place that is decided about.
        in_channel: Whether it was asked for in its channel.
    """

    at: float
    owner: int
    own: int
    cost_each: int = POINT
    here: bool = False
    in_channel: bool = False

    def counts(self, measure: Measure) -> int:
        """Return how much it adds to a measure."""
        if self.at <= measure.since or (measure.in_place and not self.here):
            return 0
        if measure.in_channel and not self.in_channel:
            return 0
        pictures = self.owner if measure.by_owner else self.own
        return pictures * self.cost_each if measure.unit is Unit.POINTS else pictures


def measure_of(policy: QuotaRule, limit: Limit, now: float, zone: tzinfo) -> Measure:
    """Return what a rule's limit counts; a rule for a place or channel counts what was asked for there alone."""
    return Measure(
        since=since(limit.window, now, zone),
        unit=limit.unit,
        in_place=policy.scope.place is not None,
        in_channel=policy.scope.channel is not None,
        by_owner=policy.by_owner,
    )


def measures(bindings: Bindings, now: float, zone: tzinfo) -> tuple[Measure, ...]:
    """Return everything that must be known to decide; nothing where no limit binds."""
    return tuple(
        dict.fromkeys(
            measure_of(policy, limit, now, zone)
            for reason in bindings.reasons
            if reason.dimension is Dimension.LIMITS
            for policy in reason.rules
            for limit in policy.terms.limits
            if limit.amount is not None
        )
    )


def counted(wanted: Iterable[Measure], uses: Iterable[Use]) -> Mapping[Measure, int]:
    """Sum up uses."""
    known = tuple(uses)
    return {measure: sum(use.counts(measure) for use in known) for measure in wanted}


def cost_each(request: DrawRequest, profile: Profile | None) -> int:
    """Return what one picture of a request costs, in thousandths of a point; at least 1.

    Args:
        request: Any.
        profile: Its model's; a usual picture's cost is taken where the model is not there any more.
    """
    if profile is None:
        return POINT
    usual = profile.side.default**2 * profile.steps.default
    return max(1, round(POINT * profile.cost * request.width * request.height * request.steps / usual))
