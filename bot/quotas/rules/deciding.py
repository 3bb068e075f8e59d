"""Whether a request fits into what is left, and what credits have to pay for of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo

from bot.core.quotas import POINT, Allowance, Dimension, Unit
from bot.quotas.rules.counting import Measure, measure_of
from bot.quotas.rules.rule_resolution import Bindings


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
