"""Whether a request fits into what is left, what credits pay for, and how a refusal says it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from decimal import Decimal

from bot.core.errors import Key, OverQuota
from bot.core.quotas import POINT, Allowance, Dimension, Unit
from bot.quotas.rules.counting import Measure, measure_of
from bot.quotas.rules.rule_resolution import Bindings
from bot.quotas.rules.terms import format_pixels


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left under the owner's rules, or under the place's own.

    Attributes:
        pictures: So many more of the cost that was asked about; infinite where nothing limits them.
        allowances: Each limit that binds, the tightest first.
        measures: What is counted for each of them; None for those that are unlimited.
    """

    pictures: float
    allowances: tuple[Allowance, ...] = ()
    measures: tuple[Measure | None, ...] = ()


@dataclass(frozen=True, slots=True)
class CreditBalance:
    """Credits that somebody may spend here: an owner's, which lift every rule, and the place's own, which lift its own."""

    owner: int = 0
    own: int = 0


@dataclass(frozen=True, slots=True)
class CreditSplit:
    """How many pictures of a request credits pay for: an owner's, and the place's own."""

    free: int = 0
    free_here: int = 0


def room(
    bindings: Bindings, used: Mapping[Measure, int], now: float, zone: tzinfo, *, by_owner: bool, cost_each: int = POINT
) -> Remaining:
    """Return what is left under one side's rules for pictures of a cost (in thousandths of a point)."""
    reason = bindings.of(Dimension.LIMITS, by_owner=by_owner)
    if reason is None:
        return Remaining(math.inf)
    rooms = []
    for policy in reason.rules:
        lines: list[tuple[float, Allowance, Measure | None]] = []
        for limit in policy.terms.limits:
            in_place = policy.scope.place is not None
            measure = None if limit.amount is None else measure_of(policy, limit, now, zone)
            spent = 0 if measure is None else used[measure]
            left = None if limit.total is None else max(0, limit.total - spent)
            each = cost_each if limit.unit is Unit.POINTS else 1
            allowance = Allowance(limit, spent, left, in_place=in_place, by_owner=by_owner)
            lines.append((math.inf if left is None else left // each, allowance, measure))
        lines.sort(key=lambda line: line[0])
        rooms.append(Remaining(lines[0][0], tuple(a for _, a, _ in lines), tuple(m for _, _, m in lines)))
    return max(rooms, key=lambda each: each.pictures)


def left(owner: Remaining, own: Remaining, purse: CreditBalance) -> float:
    """Return how many pictures may be asked for, credits included; infinite where nothing limits them."""
    return min(owner.pictures, own.pictures + purse.own) + purse.owner


def share(owner: Remaining, own: Remaining, purse: CreditBalance, wanted: int) -> CreditSplit | None:
    """Return what credits pay for of ``wanted`` pictures: no more than has to be. None where it does not fit.

    What goes beyond the owner's rule is an owner's credits'. What goes beyond the place's own is paid by the place's credits
    first, then by an owner's.
    """
    if wanted > left(owner, own, purse):
        return None
    free = max(0, wanted - _whole(owner.pictures, wanted))
    beyond = max(0, wanted - free - _whole(own.pictures, wanted))
    free_here = min(beyond, purse.own)
    return CreditSplit(free + beyond - free_here, free_here)


def tightest(owner: Remaining, own: Remaining, purse: CreditBalance) -> Remaining:
    """Return the side that is to blame where something does not fit; of two alike, the one that never opens."""
    here = own.pictures + purse.own
    closed = bool(own.allowances) and own.allowances[0].limit.amount == 0
    return own if here < owner.pictures or (closed and here == owner.pictures) else owner


def _whole(pictures: float, most: int) -> int:
    return int(min(pictures, most))


_SIDES = (True, False)
BY_OWNER, BY_PLACE = Key("quota.by.owner"), Key("quota.by.place")


@dataclass(frozen=True, slots=True)
class RequestedAmounts:
    """What one request asks for, as far as rules look at it.

    Attributes:
        count: Pictures.
        width: Pixels.
        height: Pixels.
        steps: Denoising steps.
        model: A profile's name.
    """

    count: int
    width: int
    height: int
    steps: int
    model: str


@dataclass(frozen=True, slots=True)
class WaitingJobs:
    """Requests of one person that wait or are being drawn: everywhere, in the place, and in its channel.

    Attributes:
        everywhere: How many.
        here: How many of them in the place.
        in_channel: How many of those in its channel.
        first: The oldest of them all, a job's id; None where there is none.
    """

    everywhere: int = 0
    here: int = 0
    in_channel: int = 0
    first: int | None = None


def check_request(bindings: Bindings, asked: RequestedAmounts) -> None:
    """Raise OverQuota, with what is allowed and who says so, where one request alone is more than a rule allows."""
    for by_owner in _SIDES:
        models = bindings.models(by_owner=by_owner)
        if models is not None and asked.model not in models:
            known = ", ".join(sorted(models))
            raise OverQuota("refusal.quota.models", model=asked.model, known=known, by=_by(by_owner=by_owner))
    pixels = asked.width * asked.height
    if over := _tightest(bindings, Dimension.PIXELS, pixels):
        size = f"{asked.width}x{asked.height}"
        raise OverQuota("refusal.quota.pixels", size=size, most=format_pixels(over[0]), by=over[1])
    if over := _tightest(bindings, Dimension.STEPS, asked.steps):
        raise OverQuota("refusal.quota.steps", wanted=asked.steps, most=over[0], by=over[1])
    if over := _tightest(bindings, Dimension.COUNT, asked.count):
        raise OverQuota("refusal.quota.count", wanted=asked.count, n=over[0], by=over[1])


def check_waiting(bindings: Bindings, waiting: WaitingJobs, eta: Callable[[int], float | None]) -> None:
    """Raise OverQuota where as many wait already as may.

    Args:
        bindings: What binds.
        waiting: How many there are, without the one that is asked for.
        eta: Returns in how many seconds a job is expected to be done; None: not known.
    """
    for by_owner in _SIDES:
        most = bindings.most(Dimension.AT_ONCE, by_owner=by_owner)
        n = waiting_of(bindings, waiting, by_owner=by_owner)
        if most is None or n < most:
            continue
        by = _by(by_owner=by_owner)
        wait = None if waiting.first is None else eta(waiting.first)
        if wait is None:
            raise OverQuota("refusal.quota.at_once", n=n, most=most, by=by)
        raise OverQuota("refusal.quota.at_once_eta", n=n, most=most, by=by, wait=wait)


def waiting_of(bindings: Bindings, waiting: WaitingJobs, *, by_owner: bool) -> int:
    """Return how many requests a rule on how many may wait counts."""
    reason = bindings.of(Dimension.AT_ONCE, by_owner=by_owner)
    scope = None if reason is None else reason.rules[0].scope
    if scope is None or scope.place is None:
        return waiting.everywhere
    return waiting.here if scope.channel is None else waiting.in_channel


def over(allowance: Allowance, *, left: int, wanted: int, cost_each: int, now: float) -> OverQuota:
    """Return the refusal of a request that does not fit.

    Args:
        allowance: The limit to blame, with what comes back of it and when.
        left: Pictures that may be asked for, credits included.
        wanted: Pictures that were.
        cost_each: What one of them costs, in thousandths of a point.
        now: Unix seconds.
    """
    amount, window = allowance.limit.amount, Key(f"window.{allowance.limit.window}")
    assert amount is not None
    here = "_here" if allowance.in_place else ""
    if amount == 0:
        return OverQuota(f"refusal.quota.closed{here}")
    wait = None if allowance.returns_at is None else max(0.0, allowance.returns_at - now)
    if allowance.limit.unit is Unit.POINTS:
        cost, rest = points(wanted * cost_each), points(allowance.left or 0)
        if wait is None:
            return OverQuota(f"refusal.quota.points_too_many{here}", cost=cost, limit=amount, window=window)
        returns = points(allowance.returns)
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
        return OverQuota(f"refusal.quota.too_many{here}", n=left, wanted=wanted, window=window)
    return OverQuota(
        f"refusal.quota.left{here}" if left else f"refusal.quota.used_up{here}",
        n=left,
        wanted=wanted,
        limit=amount,
        window=window,
        returns=allowance.returns,
        wait=wait,
    )


def points(thousandths: int) -> str:
    """Return points as people read them, such as ``1.5``."""
    return f"{(Decimal(thousandths) / POINT).normalize():f}"


def _tightest(bindings: Bindings, dimension: Dimension, asked: int) -> tuple[int, str] | None:
    """Return the smallest value that is allowed and who says so, where ``asked`` is more than it."""
    found = [(m, by) for by in _SIDES if (m := bindings.most(dimension, by_owner=by)) is not None and m < asked]
    return min(((most, _by(by_owner=by)) for most, by in found), default=None)


def _by(*, by_owner: bool) -> str:
    return BY_OWNER if by_owner else BY_PLACE
